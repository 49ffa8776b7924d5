"""`mismatches list`, `ack`, `accept`: naming findings, and what becomes of them."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from credit_pipeline.services.report.aging import STEPS, spoken
from credit_pipeline_tests.cli.conftest import Ended, Run, Sandbox
from credit_pipeline_tests.cli.shapes import FLAG, MISMATCH, NUMBER, WORD, Maybe, differences

LISTED = {
    "system": WORD,
    "mismatches": [
        {name: shape for name, shape in MISMATCH.items() if name != "secondary"}
        | {
            "state": {"open", "acknowledged", "accepted", "resolved"},
            "is_event": FLAG,
            "age_seconds": NUMBER,
            "age": set(STEPS),
            "opened_at": WORD,
            "last_seen": WORD,
            "seen_count": NUMBER,
            "decided_by": Maybe(WORD),
            "decided_at": Maybe(WORD),
            "reason": Maybe(WORD),
            "accepted_until": Maybe(WORD),
        }
    ],
    "counts": {"open": NUMBER, "acknowledged": NUMBER, "accepted": NUMBER, "resolved": NUMBER},
    "ages": dict.fromkeys(STEPS, NUMBER),
}
MEMORY = ("observation", "observation_log", "snapshot", "mismatch", "exemption")
"""What an accepted finding has effects on: who counts as in order is held to have its grant."""
EVA = ("--as", "eva", "--reason", "I looked at it")


@pytest.fixture(scope="module")
def checks() -> list[Ended]:
    """The complete check that the first of these tests makes for all of them."""
    return []


@pytest.fixture
def watched(run: Run, sandbox: Sandbox, checks: list[Ended]) -> Iterator[Sandbox]:
    """The sandbox after a complete check; what people decide about it is taken back at the end."""
    if not checks:
        checks.append(run("check", "wix_app", "--format", "json"))
    assert checks[0].json["source"]["complete"]
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        connection.execute("CREATE SCHEMA kept")
        for table in MEMORY:
            connection.execute(f"CREATE TABLE kept.{table} AS TABLE credit_pipeline.{table}".encode())
    yield sandbox
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        for table in MEMORY:
            connection.execute(f"DELETE FROM credit_pipeline.{table}".encode())
            connection.execute(f"INSERT INTO credit_pipeline.{table} SELECT * FROM kept.{table}".encode())
        connection.execute("DROP SCHEMA kept CASCADE")


def listed(run: Run, *words: str) -> list[dict]:  # type: ignore[type-arg]
    found: list[dict] = run("mismatches", "wix_app", "list", *words, "--format", "json").json["mismatches"]  # type: ignore[type-arg]
    return found


def refused(ended: Ended) -> str:
    assert ended.status == 2
    return ended.sentence


def acts(sandbox: Sandbox) -> int:
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT count(*) FROM credit_pipeline.act").fetchone()
    assert found is not None
    return int(found[0])


def test_the_list_is_of_the_contracts_shape_and_oldest_first(run: Run, watched: Sandbox) -> None:
    ended = run("mismatches", "wix_app", "list", "--format", "json")
    assert ended.status == 0
    assert differences(ended.json, LISTED) == []
    found = ended.json["mismatches"]
    assert [one["opened_at"] for one in found] == sorted(one["opened_at"] for one in found)
    assert {one["state"] for one in found} == {"open"}
    assert ended.json["counts"]["open"] == len(found) > 10
    assert sum(ended.json["ages"].values()) == len(found)


def test_findings_are_sorted_by_how_long_they_waited(run: Run, watched: Sandbox) -> None:
    """The sandbox has five weeks of past, and what was planted lately is among it."""
    ended = run("mismatches", "wix_app", "list", "--format", "json")
    steps = Counter(one["age"] for one in ended.json["mismatches"])
    assert ended.json["ages"] == dict.fromkeys(STEPS, 0) | steps
    assert len(steps) > 1, steps
    text = run("mismatches", "wix_app", "list").out
    assert f"waiting: {spoken(ended.json['ages'])}" in text
    checked = run("check", "wix_app", "--format", "json").json
    to_act_on = [one for one in checked["mismatches"] if one["lane"] != "none"]
    assert sum(checked["ages"].values()) == len(to_act_on)
    assert all(one["opened_at"] for one in to_act_on)
    assert f"to act on: {spoken(checked['ages'])}" in run("check", "wix_app").out


def test_the_list_is_narrowed_by_code_account_and_state(run: Run, watched: Sandbox) -> None:
    account = watched.of_kind("reset_to_allowance")
    assert {one["code"] for one in listed(run, "--code", "unexplained_decrease")} == {"unexplained_decrease"}
    assert {one["account_id"] for one in listed(run, "--account", account)} == {account}
    assert listed(run, "--state", "accepted") == []
    assert listed(run, "--code", "dunning", "--account", account) == []


def test_the_text_has_ages_fingerprints_and_what_to_type(run: Run, watched: Sandbox) -> None:
    ended = run("mismatches", "wix_app", "list", "--all")
    assert ended.status == 0
    first = listed(run)[0]
    assert first["fingerprint"] in ended.out
    assert f"{first['code']}: {first['lane']}" in ended.out
    table, _, hint = ended.out.rpartition("if it is right as it is: ")
    assert " ".join(hint.split()).startswith(
        f"credit-pipeline mismatches wix_app accept --fingerprint {first['fingerprint']} --as YOU"
    )
    assert max(len(line) for line in table.splitlines()) <= 80


def test_a_long_list_is_cut_unless_all_is_asked_for(run: Run, watched: Sandbox) -> None:
    count = len(listed(run))
    if count > 30:
        assert f"{count - 30} more" in run("mismatches", "wix_app", "list").out
    assert "--all lists every one" not in run("mismatches", "wix_app", "list", "--all").out


def test_acknowledged_findings_say_who_looks_after_them_and_hide_nothing(run: Run, watched: Sandbox) -> None:
    before = run("check", "wix_app", "--format", "json").json
    account = watched.of_kind("reset_to_allowance")
    ended = run("mismatches", "wix_app", "ack", "--account", account, *EVA, "--format", "json")
    assert (ended.status, ended.json["decision"], ended.json["changed"]) == (
        0,
        "ack",
        len(listed(run, "--account", account)),
    )
    found = listed(run, "--account", account)
    assert {(one["state"], one["decided_by"], one["reason"]) for one in found} == {
        ("acknowledged", "eva", "I looked at it")
    }
    assert "by eva: I looked at it" in " ".join(run("mismatches", "wix_app", "list", "--all").out.split())
    after = run("check", "wix_app", "--format", "json")
    assert after.status == 1
    assert after.json["classes"] == before["classes"]


def test_a_code_is_accepted_in_bulk_with_its_number_said_first(run: Run, watched: Sandbox) -> None:
    found = listed(run, "--code", "balance_missing")
    before = run("check", "wix_app", "--format", "json").json
    ended = run("mismatches", "wix_app", "accept", "--code", "balance_missing", *EVA, "--format", "json")
    assert ended.status == 0
    assert ended.err.startswith(f"wix_app: accept names {len(found)} finding")
    assert (ended.json["changed"], ended.json["codes"]) == (len(found), {"balance_missing": len(found)})
    assert ended.json["fingerprints"] == sorted(one["fingerprint"] for one in found)
    after = run("check", "wix_app", "--format", "json").json
    assert "balance_missing" not in after["classes"]
    assert after["in_sync"] == before["in_sync"] + before["classes"]["balance_missing"]
    assert {code: n for code, n in before["classes"].items() if code != "balance_missing"} == after["classes"]


def test_everything_accepted_leaves_what_could_not_be_told(run: Run, watched: Sandbox) -> None:
    """First-run findings of a product that was never in order: opening balances. Unknown is never in sync."""
    run("check", "wix_app")  # what other tests made of the findings is not what a run finds
    found = listed(run)
    unknown = [one for one in found if one["code"] in {"plan_unmapped", "source_lookup_error", "pending_settlement"}]
    ended = run("mismatches", "wix_app", "accept", "--all", *EVA)
    assert ended.status == 0
    assert "plan_unmapped" in ended.err.splitlines()[0]
    assert ended.err.splitlines()[0].endswith("unchanged: what could not be judged cannot be accepted")
    assert f"{len(found) - len(unknown)} findings accepted" in ended.out
    assert "no credits moved" in " ".join(ended.out.split())
    report = run("check", "wix_app", "--format", "json").json
    assert set(report["classes"]) == {one["code"] for one in unknown}
    assert report["in_sync"] + report["exempt"] + len(unknown) == report["population"]


def test_what_could_not_be_told_is_never_accepted(run: Run, watched: Sandbox) -> None:
    before = acts(watched)
    one = listed(run, "--code", "plan_unmapped")[0]
    for words in (("--code", "plan_unmapped"), ("--fingerprint", one["fingerprint"]), ("--account", one["account_id"])):
        sentence = refused(run("mismatches", "wix_app", "accept", *words, *EVA))
        assert sentence.startswith("wix_app: plan_unmapped says that something could not be told")
        assert "credit-pipeline exempt wix_app ID" in sentence
    assert acts(watched) == before


def test_accepted_until_a_past_day_is_open_again(run: Run, watched: Sandbox) -> None:
    one = listed(run, "--code", "unexplained_decrease")[0]
    named = ("mismatches", "wix_app", "accept", "--fingerprint", one["fingerprint"], *EVA)
    assert run(*named).status == 0
    assert one["fingerprint"] not in [other["fingerprint"] for other in listed(run)]
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    ended = run(*named, "--until", yesterday)
    assert f"{yesterday} is past: the next run reopens them" in " ".join(ended.out.split())
    report = run("check", "wix_app", "--format", "json")
    assert one["account_id"] in [found["account_id"] for found in report.json["mismatches"]]
    assert one["fingerprint"] in [other["fingerprint"] for other in listed(run)]


def today() -> str:
    """A day that does not end before the next commands have."""
    while (now := datetime.now(UTC)) + timedelta(minutes=1) > now.replace(hour=0, minute=0, second=0) + timedelta(
        days=1
    ):
        time.sleep(1)
    return f"{now:%Y-%m-%d}"


def test_until_counts_the_whole_day(run: Run, watched: Sandbox) -> None:
    one = listed(run, "--code", "unexplained_decrease")[0]["fingerprint"]
    for day in (today(), "9999-12-31"):
        ended = run("mismatches", "wix_app", "accept", "--fingerprint", one, "--until", day, *EVA, "--format", "json")
        assert (ended.json["until"], ended.json["over"]) == (day, False)
        [found] = listed(run, "--state", "accepted")
        assert found["accepted_until"] == f"{day}T23:59:59.999999+00:00"
    assert "until 9999-12-31" in " ".join(run("mismatches", "wix_app", "list", "--state", "accepted").out.split())


@pytest.mark.parametrize("decision", ["ack", "accept"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "wix_app: no finding is named: give --fingerprint, --code or --account, or --all for all of them"),
        (("--code", "plan_mismatsch"), "wix_app: there is no code `plan_mismatsch`: did you mean `plan_mismatch`?"),
        (("--code", "x"), "wix_app: there is no code `x`: `credit-pipeline mismatches wix_app list` shows codes"),
        (
            ("--fingerprint", "f00"),
            "wix_app: no finding has the fingerprint `f00`: `credit-pipeline mismatches wix_app list` shows them",
        ),
        (
            ("--fingerprint", "f00", "--all"),
            "wix_app: a fingerprint names one finding: leave out --code, --account and --all",
        ),
    ],
)
def test_words_that_name_nothing_are_one_sentence_and_change_nothing(
    run: Run, watched: Sandbox, decision: str, words: tuple[str, ...], sentence: str
) -> None:
    before = acts(watched)
    assert refused(run("mismatches", "wix_app", decision, *words, *EVA)) == sentence
    assert acts(watched) == before


def test_an_account_without_a_finding_is_refused_with_the_others(run: Run, watched: Sandbox) -> None:
    short, healthy = watched.of_kind("reset_to_allowance"), watched.healthy[0]
    words = ("--account", short, "--account", healthy, *EVA)
    sentence = refused(run("mismatches", "wix_app", "accept", *words))
    assert sentence.startswith(f"wix_app: no open or acknowledged finding of account `{healthy}`")
    assert {one["state"] for one in listed(run, "--account", short)} == {"open"}


def test_an_address_is_not_repeated(run: Run, watched: Sandbox) -> None:
    for words in (("list",), ("ack", *EVA)):
        sentence = refused(run("mismatches", "wix_app", *words, "--account", "eva@example.com"))
        assert "eva@" not in sentence
        assert "credit-pipeline account wix_app" in sentence


def test_what_is_accepted_cannot_be_acknowledged(run: Run, watched: Sandbox) -> None:
    one = listed(run, "--code", "unexplained_decrease")[0]["fingerprint"]
    run("mismatches", "wix_app", "accept", "--fingerprint", one, *EVA)
    sentence = refused(run("mismatches", "wix_app", "ack", "--fingerprint", one, *EVA))
    assert sentence == f"wix_app: the finding {one} is accepted: this is for one that is open or acknowledged"


@pytest.mark.parametrize("words", [("--as", "eva"), ("--reason", "why")])
def test_a_decision_needs_a_name_and_a_reason(run: Run, watched: Sandbox, words: tuple[str, ...]) -> None:
    ended = run("mismatches", "wix_app", "accept", "--all", *words)
    assert (ended.status, ended.out) == (2, "")
    assert "Missing option" in ended.err


def test_blanks_are_no_name(run: Run, watched: Sandbox) -> None:
    assert refused(run("mismatches", "wix_app", "ack", "--all", "--as", " ", "--reason", "why")) == (
        "wix_app: a decision needs a name and a reason: give both --as WHO and --reason TEXT"
    )


@pytest.mark.parametrize("day", ["tomorrow", "2026-02-30", "31.12.2026"])
def test_a_day_that_is_none(run: Run, watched: Sandbox, day: str) -> None:
    ended = run("mismatches", "wix_app", "accept", "--all", "--until", day, *EVA)
    assert (ended.status, ended.out) == (2, "")
    assert "Invalid value for '--until'" in ended.err


def test_a_system_without_a_word_after_it_is_told_what_there_is(run: Run) -> None:
    ended = run("mismatches", "wix_app")
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: credit-pipeline mismatches" in ended.err
