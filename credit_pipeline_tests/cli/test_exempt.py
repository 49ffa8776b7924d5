"""`exempt`: accounts that are left alone, and what cannot be said."""

from collections.abc import Iterator

import psycopg
import pytest

from credit_pipeline_tests.cli.conftest import Run, Sandbox

EVA = ("--as", "eva", "--reason", "staff")


@pytest.fixture
def unspoilt(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox; exemptions that a test makes are gone afterwards."""
    yield sandbox
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM credit_pipeline.exemption")


def exemptions(run: Run) -> list[tuple[str, str, str | None]]:
    """(account, reason, until) of all that are listed."""
    found = run("exempt", "wix_app", "--list", "--format", "json").json["exemptions"]
    return [(one["account_id"], one["reason"], one["until"]) for one in found]


def test_an_exempt_account_is_counted_apart_and_judged_again_once_that_ends(run: Run, unspoilt: Sandbox) -> None:
    account = unspoilt.of_kind("upgrade_missed_unused")
    run("check", "wix_app")  # what is information is told once
    before = run("check", "wix_app", "--format", "json").json
    made = run("exempt", "wix_app", account, *EVA, "--format", "json")
    assert (made.status, made.json["accounts"], made.json["renewed"], made.json["until"]) == (0, [account], [], None)
    after = run("check", "wix_app", "--format", "json").json
    assert after["exempt"] == before["exempt"] + 1
    assert account not in [found["account_id"] for found in after["mismatches"]]
    assert after["in_sync"] + after["exempt"] + sum(after["classes"].values()) == after["population"]
    ended = run("exempt", "wix_app", account, "--end", "--as", "ann", "--reason", "left us")
    assert ended.status == 0
    assert "no longer exempt" in ended.out
    assert run("check", "wix_app", "--format", "json").json["classes"] == before["classes"]


def test_said_again_it_replaces_reason_and_end(run: Run, unspoilt: Sandbox) -> None:
    account, other = unspoilt.healthy[:2]
    run("exempt", "wix_app", account, *EVA)
    words = ("--as", "ann", "--reason", "comped", "--until", "2099-12-31")
    made = run("exempt", "wix_app", account, other, *words, "--format", "json").json
    assert (made["renewed"], made["until"]) == ([account], "2099-12-31")
    end = "2099-12-31T23:59:59.999999+00:00"
    assert exemptions(run) == sorted([(account, "comped", end), (other, "comped", end)])
    text = run("exempt", "wix_app", "--list").out
    assert "2099-12-31" in text
    assert "comped" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_nobody_is_exempt_at_first(run: Run, unspoilt: Sandbox) -> None:
    ended = run("exempt", "wix_app", "--list")
    assert ended.status == 0
    assert ended.out.startswith("wix_app: no account is exempt; credit-pipeline exempt wix_app ID --as YOU")


def test_an_id_the_store_does_not_have_is_refused_with_the_others(run: Run, unspoilt: Sandbox) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    ended = run("exempt", "wix_app", unspoilt.healthy[0], nobody, *EVA)
    assert ended.status == 2
    assert ended.sentence == (
        f"wix_app: the store has no account `{nobody}`: compare the id with `app_instances.instance_id`"
    )
    assert exemptions(run) == []


def test_an_address_is_refused_and_not_repeated(run: Run, unspoilt: Sandbox) -> None:
    ended = run("exempt", "wix_app", "eva@example.com", *EVA)
    assert ended.status == 2
    assert "eva@" not in ended.sentence


def test_ending_what_is_not_exempt_is_one_sentence(run: Run, unspoilt: Sandbox) -> None:
    account = unspoilt.healthy[0]
    ended = run("exempt", "wix_app", account, "--end", *EVA)
    assert ended.status == 2
    assert ended.sentence == (
        f"wix_app: `{account}` is not exempt: `credit-pipeline exempt wix_app --list` shows who is"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--as", "eva", "--reason", "staff"),
        ("some-account",),
        ("some-account", "--as", "eva"),
        ("some-account", "--reason", "staff"),
        ("some-account", "--end", "--until", "2099-01-01", *EVA),
        ("some-account", "--until", "2020-01-01", *EVA),
        ("some-account", "--list"),
        ("--list", "--end"),
    ],
)
def test_words_that_do_not_fit_together(run: Run, unspoilt: Sandbox, words: tuple[str, ...]) -> None:
    ended = run("exempt", "wix_app", *words)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: credit-pipeline exempt" in ended.err
    assert exemptions(run) == []
