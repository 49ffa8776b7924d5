"""`check` on planted accounts: what is found, how it is said, how it ends."""

import os
from collections import Counter

import pytest

from credit_pipeline.cli.cells import plain
from credit_pipeline_tests.cli.conftest import Run, Sandbox
from credit_pipeline_tests.cli.shapes import CHECK, differences


def test_the_json_has_the_contracts_shape_and_finds_what_was_planted(run: Run, sandbox: Sandbox) -> None:
    before = sandbox.rows()
    ended = run("check", "wix_app", "--format", "json")
    assert ended.status == 1
    found = ended.json
    assert differences(found, CHECK) == []
    assert found["classes"] == sandbox.truth["planted"]
    assert found["in_sync"] + found["exempt"] + sum(found["classes"].values()) == found["population"] == 120
    assert Counter(mismatch["code"] for mismatch in found["mismatches"]) == found["classes"]
    assert {m["account_id"] for m in found["mismatches"]} == {a["account_id"] for a in sandbox.truth["accounts"]}
    assert found["identities"] == {"by_layer": {"same_id": 120}, "unmapped": 0, "conflicts": 0}
    assert ended.err == ""
    assert sandbox.rows() == before, "check writes nothing to the product's tables"


def test_accounts_in_order_end_with_0(run: Run, sandbox: Sandbox) -> None:
    chosen = sandbox.healthy[:3]
    ended = run("check", "wix_app", *(word for account in chosen for word in ("--account", account)))
    assert ended.status == 0
    assert ended.out.startswith("wix_app: all 3 accounts correct\n")
    assert "next:" not in ended.out


def test_the_text_says_what_is_wrong_and_what_to_type_next(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("upgrade_missed_unused")
    ended = run("check", "wix_app", "--account", account)
    assert ended.status == 1
    assert ended.out.startswith("wix_app: 1 of 1 account to act on")
    assert "the product's plan label" in ended.out
    assert account in ended.out, "the id is not broken: it is copied from here"
    assert ended.out.rstrip().endswith("next: credit-pipeline fix wix_app")
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert "\x1b" not in ended.out


def test_what_is_only_information_is_nothing_to_act_on(run: Run, sandbox: Sandbox) -> None:
    ended = run("check", "wix_app", "--account", sandbox.of_kind("uninstalled"))
    assert ended.status == 0
    assert "nothing to act on; 1 account is listed for information" in ended.out


def test_all_adds_every_plan_and_every_account(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.healthy[0]
    found = run("check", "wix_app", "--all", "--account", account, "--format", "json").json
    assert [(plan["name"], plan["credits"], plan["product_credits"]) for plan in found["plans"]] == [
        ("free", 100, 100),
        ("starter", 1000, 1000),
        ("pro", 5000, 5000),
        ("pro_plus", 15000, 15000),
    ]
    assert [row["account_id"] for row in found["accounts"]] == [account]
    text = run("check", "wix_app", "--all", "--account", account).out
    assert "94d0be17-2c5a-4f6b-8e39-c07a61d5f2b8" in text.replace("\n", "").replace(" ", "")
    assert any(line.startswith(f"{account}  ") for line in text.splitlines())


def test_an_account_that_is_not_in_the_store_is_one_sentence(run: Run, sandbox: Sandbox) -> None:
    ended = run("check", "wix_app", "--account", "00000000-0000-4000-8000-000000000000")
    assert ended.status == 2
    assert ended.sentence == (
        "wix_app: the store has no account `00000000-0000-4000-8000-000000000000`: compare the id with "
        "`app_instances.instance_id`"
    )


def test_an_id_of_another_kind_is_one_sentence_too(run: Run, sandbox: Sandbox) -> None:
    ended = run("check", "wix_app", "--account", "acct_1")
    assert ended.status == 2
    assert ended.sentence.startswith("wix_app: ")


def test_an_address_is_not_repeated(run: Run, sandbox: Sandbox) -> None:
    ended = run("check", "wix_app", "--account", "eva@example.com")
    assert ended.status == 2
    assert "eva@example.com" not in ended.sentence


def test_the_sandbox_is_used_where_nothing_is_exported_and_that_is_said(
    run: Run, planted: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(planted.home))
    ended = run("check", "wix_app", "--account", planted.healthy[0], "--format", "json")
    assert ended.status == 0
    assert ended.err == f"wix_app: none of its variables is set, so the sandbox in {planted.home} is used.\n"
    assert ended.json["population"] == 1
    assert "WIX_DATABASE_URL" not in os.environ, "it is exported for the command's length"


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    assert plain("pro\x1b[31m\n") == "pro�[31m�"
