"""`audit SYSTEM verify` and `export` on a real audit: what an operator and an auditor get, tampered with or not."""

import csv
import hashlib
import json
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_pipeline.adapters.audit.anchors import Anchors
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_correction,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
)
from credit_pipeline_tests.adapters.products.tampering import (
    CUT_AND_REWOUND,
    EDITED_COLUMN,
    EDITED_PAYLOAD,
    rechain,
    tamper,
)
from credit_pipeline_tests.cli.conftest import Run
from credit_pipeline_tests.conftest import Databases

FORMULA = '=HYPERLINK("http://evil")'


@pytest.fixture
def product(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Product:
    """Two upgrades and an approved claw-back with an odd reason; no variable of billing is set."""
    made = a_copied_product(databases)
    for account in ("a", "b"):
        made.add(account, "starter", 1000)
    made.add("c", "pro", 9000, 100)
    taken = a_correction(
        "c", an_adjustment(-3000, "clawback:f"), seen=("pro", 9000, 100), lane=Lane.APPROVE, reasons=(FORMULA,)
    )
    with made.plans() as plans:
        plan_id = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"), taken)).plan_id
        plans.approve(plan_id, Selection(lane="approve"), "ann", "-2 reviewed")
        plans.approve(plan_id, Selection(lane="auto"), "ann", "the first plan")
        plans.set_state(plan_id, "applying")
        apply_all(plans, plan_id)
    monkeypatch.setenv("WIX_DATABASE_URL", made.url)
    return made


def note(product: Product) -> str:
    """Notes the head as a run does; returns it as --anchor takes it."""
    with product.plans() as plans:
        seq, head = plans.audit_head()
    anchors = Anchors(Path(os.environ["CREDIT_PIPELINE_HOME"]), "wix_app")
    anchors.append(seq, head, run_id="run-1", at=datetime.now(UTC))
    return f"{seq}:{head}"


def plan_of(product: Product) -> str:
    return str(product.run("SELECT plan_id FROM credit_pipeline.correction_plan")[0]["plan_id"])


# verify


def test_a_true_audit_is_one_line_with_the_head_to_note_elsewhere(run: Run, product: Product) -> None:
    head = note(product)
    ended = run("audit", "wix_app", "verify")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"wix_app: audit verified: 3 rows, head {head}, 1 noted head\n"
    again = run("audit", "wix_app", "verify", "--anchor", head.upper(), "--format", "json")
    assert again.status == 0
    seq, digest = head.split(":")
    assert again.json == {
        "system": "wix_app",
        "verified": True,
        "rows": 3,
        "head": {"seq": int(seq), "hash": digest},
        "anchors": 1,
        "faults": [],
        "found": 0,
        "truncated": False,
    }


def test_without_a_noted_head_the_line_says_what_would_not_be_seen(run: Run, product: Product) -> None:
    ended = run("audit", "wix_app", "verify")
    assert ended.out.rstrip().endswith("no noted head: a cut end would not be seen")


def test_faults_follow_the_line_and_the_status_is_1(run: Run, product: Product) -> None:
    tamper(product.url, EDITED_PAYLOAD)
    tamper(product.url, EDITED_COLUMN)
    ended = run("audit", "wix_app", "verify")
    assert ended.status == 1
    first, *faults = ended.out.splitlines()
    assert first.startswith("wix_app: audit NOT VERIFIED, 2 faults: 3 rows, head 3:")
    assert faults == [
        "  payload_edited: wix_app: audit row 2 was edited: its hash is of another text",
        "  column_edited: wix_app: after_available of audit row 2 differs from the text it is made of",
    ]
    told = run("--format", "json", "audit", "wix_app", "verify").json
    assert (told["verified"], [(one["kind"], one["seq"]) for one in told["faults"]]) == (
        False,
        [("payload_edited", 2), ("column_edited", 2)],
    )


def test_a_cut_and_rewound_end_is_found_by_the_working_folder_or_by_the_argument(run: Run, product: Product) -> None:
    with product.plans() as plans:
        seq, head = plans.audit_head()
    tamper(product.url, CUT_AND_REWOUND)
    assert run("audit", "wix_app", "verify").status == 0, "the database alone cannot show it"
    given = run("audit", "wix_app", "verify", "--anchor", f"{seq}:{head}")
    assert given.status == 1
    assert "anchor_missing: wix_app: row 3 was the head (given with --anchor) and is gone" in given.out
    anchors = Anchors(Path(os.environ["CREDIT_PIPELINE_HOME"]), "wix_app")
    anchors.append(seq, head, run_id="run-1", at=datetime.now(UTC))
    assert "anchor_missing" in run("audit", "wix_app", "verify").out


def test_a_chain_made_anew_is_found_by_an_older_noted_head(run: Run, product: Product) -> None:
    note(product)
    rechain(product.url, {1: ("upgrade", "a gift")})
    ended = run("audit", "wix_app", "verify", "--format", "json")
    assert ended.status == 1
    assert [(one["kind"], one["seq"]) for one in ended.json["faults"]] == [("anchor_differs", 3)]


def test_a_line_of_noted_heads_that_was_spoilt_is_a_fault(run: Run, product: Product) -> None:
    note(product)
    path = Path(os.environ["CREDIT_PIPELINE_HOME"]) / "anchors" / "wix_app.jsonl"
    path.write_text("gone\n")
    ended = run("audit", "wix_app", "verify", "--format", "json")
    assert ended.status == 1
    assert [one["kind"] for one in ended.json["faults"]] == ["anchor_unreadable"]


@pytest.mark.parametrize("head", ["3", "3:abc", "x:" + "0" * 64, "-1:" + "0" * 64, "3:" + "g" * 64])
def test_a_head_typed_wrong_is_a_sentence(run: Run, product: Product, head: str) -> None:
    ended = run("audit", "wix_app", "verify", f"--anchor={head}")
    assert (ended.status, ended.out) == (2, "")
    assert "a noted head is SEQ:HASH, the row's number and 64 hexadecimal digits" in ended.err


def test_what_could_not_be_read_is_2_and_a_sentence(
    run: Run, database: str, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = run("audit", "wix_app", "verify")
    assert (unset.status, "WIX_DATABASE_URL" in unset.sentence, "WIX_APP" in unset.err) == (2, True, False)
    monkeypatch.setenv("WIX_DATABASE_URL", database)
    for command in ("verify", "export"):
        ended = run("audit", "wix_app", command)
        assert ended.status == 2
        assert "credit-pipeline init wix_app" in ended.sentence
    assert run("audit", "nobody", "verify").status == 2
    assert not list(Path(os.environ["CREDIT_PIPELINE_HOME"]).glob("reports/*"))


# export


def pack(ended: Any) -> Path:
    assert ended.status == 0, ended.err
    return Path(ended.json["folder"])


def rows_of(folder: Path, name: str = "audit.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_pack_holds_every_change_with_before_after_and_who_approved(run: Run, product: Product) -> None:
    note(product)
    folder = pack(run("audit", "wix_app", "export", "--format", "json"))
    assert folder.parent == Path(os.environ["CREDIT_PIPELINE_HOME"]).resolve() / "reports"
    assert folder.name.startswith("audit-wix_app-2")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == dict.fromkeys(
        ["README.txt", "approvals.csv", "audit.csv", "audit.jsonl", "control.json", "plans.csv"], 0o600
    )
    first, _, last = rows_of(folder)
    expected = {
        "seq": "1", "account": "a", "lane": "auto", "codes": "grant_missing", "key": "a/pro/1772323200",
        "delta": "5000", "plan_before": "starter", "plan_after": "pro", "total_before": "1000", "total_after": "6000",
        "used_before": "0", "used_after": "0", "available_before": "1000", "available_after": "6000", "approver": "ann",
        "prev_hash": "0" * 64,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert (last["account"], last["delta"], last["approver"]) == ("c", "-3000", "ann")
    assert last["reasons"] == f"'{FORMULA}"
    (plan,) = rows_of(folder, "plans.csv")
    assert (plan["plan_id"], plan["state"]) == (plan_of(product), "applying")
    approval, limits = rows_of(folder, "approvals.csv")
    assert (approval["approver"], approval["decision"], approval["rows"]) == ("ann", "approve", "1")
    assert (limits["lane"], limits["rows"]) == ("auto", "2")
    assert approval["reason"] == "'-2 reviewed", "a person's text is no formula either"


def test_the_control_file_has_totals_head_verdict_and_a_hash_of_each_file(run: Run, product: Product) -> None:
    head = note(product)
    folder = pack(run("audit", "wix_app", "export", "--format", "json"))
    control = json.loads((folder / "control.json").read_text())
    plan_id = plan_of(product)
    assert (control["system"], control["rows"], control["first_seq"], control["last_seq"]) == ("wix_app", 3, 1, 3)
    assert control["credits"] == {"up": 10000, "down": 3000, "net": 7000}
    assert control["by_code"] == {"grant_missing": {"rows": 3, "up": 10000, "down": 3000, "net": 7000}}
    assert control["by_plan"] == {plan_id: {"rows": 3, "up": 10000, "down": 3000, "net": 7000}}
    assert control["head"] == {"seq": 3, "hash": head.split(":")[1]}
    assert (control["chain"]["verified"], control["chain"]["anchors"]) == (True, 1)
    assert control["filters"] == {"since": None, "until": None, "plan": None, "accounts": []}
    assert set(control["files"]) == {"README.txt", "approvals.csv", "audit.csv", "audit.jsonl", "plans.csv"}
    for name, told in control["files"].items():
        data = (folder / name).read_bytes()
        assert told == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def test_anybody_can_recompute_the_chain_from_the_texts(run: Run, product: Product) -> None:
    folder = pack(run("audit", "wix_app", "export", "--format", "json"))
    prev = "0" * 64
    for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert row["prev_hash"] == prev
        prev = hashlib.sha256((prev + row["payload"]).encode()).hexdigest()
        assert row["hash"] == prev
    assert prev == json.loads((folder / "control.json").read_text())["head"]["hash"]


@pytest.mark.parametrize("row", [1, 3])
def test_the_three_lines_of_the_readme_work_as_they_stand(run: Run, product: Product, row: int) -> None:
    folder = pack(run("audit", "wix_app", "export", "--format", "json"))
    lines = (folder / "README.txt").read_text().splitlines()
    start = lines.index("row=1")
    script = "\n".join([f"row={row}", *lines[start + 1 : start + 3]])
    told = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    computed, stored = told.stdout.splitlines()
    assert computed.split()[0] == stored
    assert stored == rows_of(folder)[row - 1]["hash"]


def test_filters_choose_rows_and_the_whole_chain_is_verified_all_the_same(run: Run, product: Product) -> None:
    def seqs(*words: str) -> list[str]:
        return [row["seq"] for row in rows_of(pack(run("audit", "wix_app", "export", "--format", "json", *words)))]

    now, plan_id = datetime.now(UTC), plan_of(product)
    since, today = (f"{day:%Y-%m-%d}" for day in (now - timedelta(minutes=10), now))  # the rows are minutes old
    assert seqs("--account", "b", "--account", "c") == ["2", "3"]
    assert seqs("--since", since, "--until", today, "--plan", plan_id) == ["1", "2", "3"]
    assert seqs("--until", "2026-01-01") == []
    assert seqs("--since", "2999-01-01") == []
    folders = list((Path(os.environ["CREDIT_PIPELINE_HOME"]) / "reports").iterdir())
    assert len(folders) == 4, "a pack of the same second gets a name of its own"
    controls = [json.loads((folder / "control.json").read_text()) for folder in folders]
    assert {control["chain"]["rows"] for control in controls} == {3}
    assert sorted(control["rows"] for control in controls) == [0, 0, 2, 3]
    assert {"since": None, "until": "2026-01-01", "plan": None, "accounts": []} in [c["filters"] for c in controls]


def test_a_pack_of_a_chain_that_does_not_verify_is_written_and_says_so(run: Run, product: Product) -> None:
    tamper(product.url, EDITED_PAYLOAD)
    ended = run("audit", "wix_app", "export", "--format", "json")
    assert ended.status == 1
    chain = json.loads((Path(ended.json["folder"]) / "control.json").read_text())["chain"]
    assert (chain["verified"], chain["faults"][0]["kind"]) == (False, "payload_edited")


def test_a_text_that_nobody_can_read_is_in_the_pack_as_it_is(run: Run, product: Product) -> None:
    tamper(product.url, """UPDATE credit_pipeline.audit SET payload = '{"odd": 1}' WHERE seq = 2""")
    ended = run("audit", "wix_app", "export", "--format", "json", "--account", "a")
    assert (ended.status, ended.json["rows"], ended.json["unreadable"]) == (1, 2, 1)
    texts = [json.loads(line) for line in (Path(ended.json["folder"]) / "audit.jsonl").read_text().splitlines()]
    assert [text["seq"] for text in texts] == [1, 2]
    assert texts[1]["payload"] == '{"odd": 1}'


def test_the_text_says_totals_folder_and_verdict(run: Run, product: Product, tmp_path: Path) -> None:
    ended = run("audit", "wix_app", "export", "--out", str(tmp_path / "deep" / "pack"))
    totals, folder, verdict = ended.out.splitlines()
    assert totals == "wix_app: evidence pack: 3 changes, 10,000 credits given, 3,000 taken"
    assert folder == str(tmp_path / "deep" / "pack")
    assert verdict.startswith("wix_app: audit verified: 3 rows")
    assert len(rows_of(tmp_path / "deep" / "pack")) == 3


def test_an_empty_folder_may_be_named_and_nothing_is_overwritten(run: Run, product: Product, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    assert run("audit", "wix_app", "export", "--out", str(folder)).status == 0
    kept = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = run("audit", "wix_app", "export", "--out", str(folder))
    assert again.status == 2
    assert again.sentence == f"{folder} exists already and is not overwritten: name a new folder"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == kept
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_in_its_place_is_refused(run: Run, product: Product, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "pack"
    if kind == "file":
        target.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    ended = run("audit", "wix_app", "export", "--out", str(target))
    assert (ended.status, "is not overwritten" in ended.sentence) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == sorted(
        ["pack"] if kind == "file" else ["pack", "elsewhere"]
    ), "no draft is left"


def test_a_misspelt_plan_or_an_address_is_refused_before_a_folder_exists(
    run: Run, product: Product, tmp_path: Path
) -> None:
    plan = run("audit", "wix_app", "export", "--plan", "wix_app-nope", "--out", str(tmp_path / "pack"))
    assert (plan.status, "wix_app-nope" in plan.sentence) == (2, True)
    address = run("audit", "wix_app", "export", "--account", "ann@example.com", "--out", str(tmp_path / "pack"))
    assert (address.status, "ann@example.com" in address.sentence) == (2, False)
    assert not (tmp_path / "pack").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(run: Run, product: Product, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("audit", "wix_app", "export", "--out", str(tmp_path / "file" / "pack"))
    assert (ended.status, "cannot be written" in ended.sentence) == (2, True)
