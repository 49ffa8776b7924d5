"""Every command of docs/runbook.md, typed in its order on a sandbox of its own."""

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from credit_pipeline.sandbox import lifecycle
from credit_pipeline_tests.cli.conftest import Ended, Run
from credit_pipeline_tests.conftest import in_memory

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
SECTIONS = [
    "Daily",
    "A quarantined plan",
    "A user has no credits",
    "Credits vanished",
    "Credits do not deduct",
    "After a webhook failure",
    "Before a deployment",
    "Rollback",
]
PLAN = re.compile(r"\b(?:wix_app|bestauth)-[0-9a-f]{8}\b")
EMAIL = (
    "SELECT u.email FROM bestauth_users AS u JOIN user_id_mapping AS m ON m.bestauth_user_id = u.id"
    " WHERE m.supabase_user_id::text = %s"
)
EVENT = "SELECT credit_pipeline.record_webhook('wix', 'evt', '{\"eventType\": \"x\"', now(), 'boom')"
DEAD = "UPDATE credit_pipeline.webhook_event SET state = 'dead' RETURNING id"


class Reader:
    """Somebody at a terminal with the runbook: what the words in capitals stand for, and how commands ended."""

    def __init__(self, run: Run, environment: dict[str, str], truths: dict[str, dict[str, Any]]) -> None:
        self._run, self._environment, self._truths = run, environment, truths
        self._plan = ""
        self.applied: list[str] = []
        self.ended: dict[str, list[Ended]] = {}

    def type(self, command: str) -> None:
        """One command. Exit status 2, a traceback, or a word nobody knows is the runbook's fault."""
        words = [self._meant(word) for word in shlex.split(command)[1:]]
        ended = self._run(*words)
        assert ended.status in {0, 1}, f"{command}: {ended.err}"
        assert "Traceback" not in ended.err
        if words[0] == "apply":
            self.applied.append(words[1])
        shown = [plan for plan in PLAN.findall(ended.out) if plan not in words]
        self._plan = shown[0] if words[0] in {"fix", "undo"} and shown else self._plan
        self.ended.setdefault(command, []).append(ended)

    def _meant(self, word: str) -> str:
        return self._names[word]() if word in self._names else word

    @property
    def _names(self) -> dict[str, Callable[[], str]]:
        return {
            "PLAN": lambda: self._plan,
            "DIGEST": self._digest,
            "APPLIED_PLAN": lambda: self.applied[0],
            "FREE_ACCOUNT": lambda: self._account("wix_app", "ended_days_ago"),
            "SHORT_ACCOUNT": lambda: self._account("wix_app", "paid_at_100"),
            "UNPROVEN_ACCOUNT": lambda: self._account("wix_app", "free_short"),
            "ROBBED_ACCOUNT": lambda: self._account("wix_app", "reset_to_allowance"),
            "LEDGER_ACCOUNT": lambda: self._account("bestauth", "add_failed"),
            "EMAIL": self._email,
            "RECORD": self._record,
            "YOU": lambda: "eva",
        }

    def _digest(self) -> str:
        plans = self._run("plans", "wix_app", "--format", "json").json["plans"]
        return next(str(one["digest"])[:8] for one in plans if one["plan_id"] == self._plan)

    def _account(self, system: str, kind: str) -> str:
        return next(str(one["account_id"]) for one in self._truths[system]["accounts"] if one["kind"] == kind)

    def _email(self) -> str:
        with psycopg.connect(self._environment["BESTAUTH_DATABASE_URL"]) as connection:
            account = self._account("bestauth", "add_failed")
            [(email,)] = connection.execute(EMAIL, (account,)).fetchall()
        return str(email)

    def _record(self) -> str:
        with psycopg.connect(self._environment["WIX_DATABASE_URL"]) as connection:
            connection.execute(EVENT)
            [(record,)] = connection.execute(DEAD).fetchall()
        return str(record)


@pytest.fixture(scope="module")
def ground() -> Iterator[tuple[dict[str, str], dict[str, dict[str, Any]]]]:
    """A sandbox that no other test uses, and what is right about it."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        try:
            environment = lifecycle.up(home, accounts=120, seed=11)
            yield environment, {name: lifecycle.truth(home, name) for name in ("wix_app", "bestauth")}
        finally:
            lifecycle.down(home)


def commands(section: str) -> list[str]:
    [text] = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def test_the_runbook_has_its_sections_and_all_its_commands_are_ours() -> None:
    assert re.findall(r"^## (.*)", RUNBOOK, re.MULTILINE) == SECTIONS
    assert all(command.startswith("credit-pipeline ") for section in SECTIONS for command in commands(section))


def test_every_command_of_the_runbook_works_in_its_order(
    run: Run,
    ground: tuple[dict[str, str], dict[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    environment, truths = ground
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    reader = Reader(run, environment, truths)
    run("check", "wix_app")
    for section in SECTIONS:
        for command in commands(section):
            reader.type(command)

    def statuses(words: str) -> list[int]:
        return [ended.status for ended in reader.ended[f"credit-pipeline {words}"]]

    assert statuses("apply PLAN --live") == [1, 0, 0, 0], "the first one leaves rows for a person"
    assert statuses("sync wix_app SHORT_ACCOUNT --live") == [0]
    assert statuses("sync bestauth LEDGER_ACCOUNT --live") == [0]
    assert statuses("audit wix_app verify") == [0, 0, 0]
    assert statuses("undo APPLIED_PLAN --live") == [0]
    assert (tmp_path / "balance.png").read_bytes().startswith(b"\x89PNG")
    again = run("undo", reader.applied[0], "--format", "json")
    assert json.loads(again.out)["rows"] == []
