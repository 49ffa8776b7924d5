"""The demo: plants broken balances in two products, finds them, repairs them after an approval, and checks again.

The runs are the real Dagster jobs, in this process. The result is the JSON object of `demo`.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.lifecycle import down, planted, sandbox_system, truth, up
from credit_pipeline.sandbox.scenarios.worlds import PRODUCTS
from credit_pipeline.services.collect.ports import Progress
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline.services.report.report import Report

if TYPE_CHECKING:
    import dagster as dg

    from credit_pipeline.orchestration.runs.system_runs import RunResult

APPROVER = "demo-approver"
REASON = "the demo's plan was shown, and it agrees with what was planted"
DONE = frozenset({"changed", "noop_already_applied"})

Say = Callable[[str], None]


def run_demo(
    home: Path, *, accounts: int = 2_000, seed: int = 1, say: Say = lambda _: None, progress: Progress | None = None
) -> dict[str, Any]:
    """Plants, then for each system: dry run, refused live run, approval, apply, second live run.

    Returns the JSON object of `demo`. The servers stop at the end, at errors and at signals.
    """
    with _stopping(home):
        say(f"Planting {accounts:,} accounts in each of {' and '.join(PRODUCTS)}, with five weeks of past.")
        environment = up(home, accounts=accounts, seed=seed, fresh=True, progress=progress)
        with _exported(environment), _dagster(home, environment) as instance:
            return {"systems": {name: _run_system(home, instance, name, say, progress) for name in planted(home)}}


def _run_system(
    home: Path, instance: "dg.DagsterInstance", name: str, say_for_all: Say, progress: Progress | None
) -> dict[str, Any]:
    from credit_pipeline.orchestration.runs.system_runs import apply_run, reconcile_run

    system = sandbox_system(name)

    def say(sentence: str) -> None:
        say_for_all(f"{name}: {sentence}")

    with PRODUCTS[name](os.environ[system.store.url_env]) as app:
        before = app.last_change()
        dry = reconcile_run(system, instance, progress=progress)
        report = _report(dry)
        say(f"Dry run: {len(report.mismatches):,} of {report.population:,} accounts are wrong; nothing was written.")
        refused = reconcile_run(system, instance, dry_run=False, attended=True, progress=progress)
        applied = refused
        if refused.plan["state"] == "quarantined":
            say(f"Live run: plan {refused.plan_id} is quarantined: {'; '.join(refused.plan['failures'])}.")
            _approve(system, home, str(refused.plan_id), say)
            applied = apply_run(system, instance, str(refused.plan_id), attended=True)
        outcomes = Counter(applied.plan["outcomes"])
        say(f"Applied: {outcomes['changed']:,} accounts changed, {applied.plan['totals']['credits']:,} credits given.")
        again = reconcile_run(system, instance, dry_run=False, attended=True, progress=progress)
        changed_again = again.plan["outcomes"].get("changed", 0)
        say(f"Second live run: {changed_again:,} accounts changed, {len(_report(again).mismatches):,} left for people.")
        return _result(truth(home, name), report, applied.plan) | {
            "second_run_changed": changed_again,
            "credits_lost": app.credits_lost(before),
            "runs": [run.run_id for run in (dry, refused, applied, again)],
            "plan_id": applied.plan_id,
            "quarantined": list(refused.plan["failures"]),
        }


def _approve(system: CreditSystem, home: Path, plan_id: str, say: Say) -> None:
    with open_gateways(system, home, os.environ) as gateways:
        released = gateways.plans.approve(plan_id, Selection(lane="auto"), APPROVER, REASON)
    say(f"Approved by {APPROVER}: {released:,} rows of lane auto. Rows that a person must approve by name stay held.")


def _result(planted: Mapping[str, Any], report: Report, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Compares planted with found, and counts outcomes by the account's code."""
    right = {account["billing_id"] or account["account_id"]: account["code"] for account in planted["accounts"]}
    found = {str(mismatch.account_id or mismatch.billing_id): mismatch.code for mismatch in report.mismatches}
    corrected, held = Counter[str](), Counter[str]()
    for row in plan["rows"]:
        (corrected if row["outcome"] in DONE else held)[found[row["account_id"]]] += 1
    return {
        "population": report.population,
        "planted": planted["planted"],
        "found": dict(report.classes),
        "corrected": dict(sorted(corrected.items())),
        "held_by_code": dict(sorted(held.items())),
        "changed": plan["outcomes"].get("changed", 0),
        "held": held.total(),
        "missed": sorted(account for account, code in right.items() if found.get(account) != code),
        "healthy_reported": sorted(found.keys() - right.keys()),
    }


def _report(run: "RunResult") -> Report:
    assert run.report is not None
    return run.report


@contextmanager
def _dagster(home: Path, environment: Mapping[str, str]) -> Iterator["dg.DagsterInstance"]:
    from credit_pipeline.orchestration.instance import instance, prepare_home

    prepare_home(home, environment["CREDIT_PIPELINE_DAGSTER_URL"])
    with instance() as opened:
        yield opened


@contextmanager
def _exported(environment: Mapping[str, str]) -> Iterator[None]:
    """Sets the sandbox's variables. Restores the former environment at the end."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _stopping(home: Path) -> Iterator[None]:
    """Stops the servers at the end, at an error, at Ctrl-C and at SIGTERM, which would end the process at once."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _ended) if mine else None
    try:
        yield
    finally:
        down(home)
        if mine:
            signal.signal(signal.SIGTERM, before)


def _ended(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
