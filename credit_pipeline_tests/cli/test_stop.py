"""`stop` and `resume`: the kill switch as a person sets it, and where it shows."""

from collections.abc import Iterator

import psycopg
import pytest

from credit_pipeline_tests.cli.conftest import Run, Sandbox

EVA = ("--as", "eva", "--reason", "odd grants")


@pytest.fixture
def switch(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, which is not stopped any more afterwards."""
    yield sandbox
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        connection.execute("UPDATE credit_pipeline.control SET stopped_at = NULL, stop_reason = NULL")


def shown(run: Run) -> tuple[bool, bool, str]:
    """(ready, stopped, readiness) of the system."""
    found = run("systems", "--format", "json").json["systems"]
    [system] = [one for one in found if one["name"] == "wix_app"]
    return system["ready"], system["stopped"], system["readiness"]


def test_stopped_shows_in_systems_until_it_is_resumed(run: Run, switch: Sandbox) -> None:
    ended = run("stop", "wix_app", *EVA, "--format", "json")
    assert ended.status == 0
    told = ended.json
    assert (told["stopped"], told["changed"], told["by"], told["reason"]) == (True, True, "eva", "odd grants")
    ready, stopped, readiness = shown(run)
    assert (ready, stopped) == (False, True)
    assert readiness.startswith("stopped by eva since ")
    assert readiness.endswith(" UTC: odd grants")
    assert "stopped by eva" in run("systems").out
    ended = run("resume", "wix_app", "--as", "ann", "--reason", "found it", "--format", "json")
    assert (ended.status, ended.json["stopped"], ended.json["changed"]) == (0, False, True)
    assert shown(run) == (True, False, "ready")


def test_saying_it_twice_changes_nothing(run: Run, switch: Sandbox) -> None:
    first = run("stop", "wix_app", *EVA, "--format", "json").json
    again = run("stop", "wix_app", "--as", "ann", "--reason", "me too", "--format", "json")
    assert again.status == 0
    assert again.json == first | {"changed": False}
    assert "was stopped before, and remains so" in run("stop", "wix_app", *EVA).out
    run("resume", "wix_app", *EVA)
    ended = run("resume", "wix_app", *EVA)
    assert ended.status == 0
    assert "wix_app: was not stopped" in ended.out


def test_looking_and_planning_go_on_while_stopped(run: Run, switch: Sandbox) -> None:
    run("stop", "wix_app", *EVA)
    account = switch.of_kind("renewal_missed_lately")
    assert run("check", "wix_app", "--account", account).status == 1
    assert run("fix", "wix_app", "--account", account).status == 1


@pytest.mark.parametrize("command", ["stop", "resume"])
def test_a_name_and_a_reason_are_needed(run: Run, switch: Sandbox, command: str) -> None:
    for words in ((), ("--as", "eva"), ("--reason", "why")):
        ended = run(command, "wix_app", *words)
        assert (ended.status, ended.out) == (2, "")
        assert "Missing option" in ended.err
    assert "a decision needs a name and a reason" in run(command, "wix_app", "--as", "", "--reason", "").sentence
