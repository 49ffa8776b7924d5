"""`account`: the eight checks and the story, for support."""

from pathlib import Path

import pytest

from credit_pipeline_tests.cli.conftest import Run, Sandbox
from credit_pipeline_tests.cli.shapes import ACCOUNT, EIGHT, differences


def answers(told: dict) -> dict[str, bool | None]:
    return {check["name"]: check["ok"] for check in told["checks"]}


def test_a_healthy_paid_account_passes_what_can_be_asked(run: Run, sandbox: Sandbox) -> None:
    ended = run("account", "wix_app", sandbox.healthy[0], "--format", "json")
    told = ended.json
    assert differences(told, ACCOUNT) == []
    assert [check["name"] for check in told["checks"]] == EIGHT
    assert told["failed"] == 0
    assert told["passed"] + told["failed"] + list(answers(told).values()).count(None) == 8
    assert ended.status == 0
    assert told["summary"].endswith("That is in order.")


def test_what_a_counter_cannot_answer_is_null(run: Run, sandbox: Sandbox) -> None:
    found = answers(run("account", "wix_app", sandbox.healthy[0], "--format", "json").json)
    assert [name for name in ("mapping_exists", "metadata_resolved", "ledger_explains_balance") if found[name]] == []
    assert found["mapping_exists"] is found["metadata_resolved"] is found["ledger_explains_balance"] is None


def test_a_broken_account_says_why_and_what_mends_it(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("upgrade_missed_unused")
    ended = run("account", "wix_app", account, "--format", "json")
    assert ended.status == 1
    assert answers(ended.json)["balance_reasonable_for_plan"] is False
    assert "(plan_mismatch)" in ended.json["summary"]
    assert f"credit-pipeline fix wix_app --account {account} would leave" in ended.json["summary"]
    observed = [entry["text"] for entry in ended.json["timeline"] if entry["kind"] == "observed"]
    assert observed[0].startswith("first seen: label ")


def test_the_text_reads_from_the_answer_to_the_story(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("row_made_anew")
    ended = run("account", "wix_app", account)
    assert ended.status == 1
    places = [ended.out.index(word) for word in (account, "credits are available", "can_deduct", "what happened")]
    assert places == sorted(places)
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert "balance_reasonable_for_plan  FAILS" in ended.out


def test_billings_silence_is_not_an_answer(run: Run, sandbox: Sandbox) -> None:
    ended = run("account", "wix_app", sandbox.of_kind("no_answer"), "--format", "json")
    assert ended.status == 2
    found = answers(ended.json)
    assert found["subscription_exists"] is found["balance_reasonable_for_plan"] is None
    assert ended.err == "wix_app: billing did not answer about this account: run the command again\n"


def test_an_id_nobody_knows_fails_the_first_check(run: Run, sandbox: Sandbox) -> None:
    ended = run("account", "wix_app", "00000000-0000-4000-8000-000000000000", "--format", "json")
    assert ended.status == 1
    assert answers(ended.json)["user_exists"] is False
    assert answers(ended.json)["can_deduct"] is None


def test_the_balance_over_time_is_drawn_into_a_new_file(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    account, picture = sandbox.of_kind("row_made_anew"), tmp_path / "balance.png"
    ended = run("account", "wix_app", account, "--plot", str(picture), "--format", "json")
    assert ended.json["account_id"] == account
    assert ended.err == f"wix_app: balance over time in {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run("account", "wix_app", account, "--plot", str(picture))
    assert (again.status, again.sentence) == (2, f"{picture} exists already and is not overwritten: name a new file")
    nowhere = run("account", "wix_app", account, "--plot", str(tmp_path / "no" / "balance.png"), "--format", "json")
    assert nowhere.status == 2
    assert nowhere.err.endswith("cannot be written (No such file or directory): name another file\n")


def test_an_account_without_a_balance_is_not_drawn(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    picture = tmp_path / "balance.png"
    ended = run("account", "wix_app", "00000000-0000-4000-8000-000000000000", "--plot", str(picture))
    assert ended.err == "wix_app: this account has no balance to draw\n"
    assert not picture.exists()


@pytest.mark.parametrize("address", ["eva@example.com", "EVA@EXAMPLE.COM"])
def test_an_address_cannot_be_looked_up_in_this_layout(run: Run, sandbox: Sandbox, address: str) -> None:
    ended = run("account", "wix_app", address)
    assert ended.status == 2
    assert ended.sentence == (
        "wix_app: accounts cannot be found by e-mail, the store has no such column: give the id of "
        "`app_instances.instance_id`"
    )
