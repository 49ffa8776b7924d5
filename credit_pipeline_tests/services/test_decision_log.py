"""The log lines that people grep (architecture §5), literally. A changed line is a changed contract."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.decision_log import DecisionLog, pseudonym
from credit_pipeline.services.plans.ports import RowOutcome
from credit_pipeline_tests.domain.builders import an_account, rules

ID = "5f0c7a52-0000-4000-8000-000000000001"
WHO = pseudonym("wix_app", ID)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines of logger credit_pipeline.wix_app, in order."""
    caplog.set_level(logging.INFO, logger="credit_pipeline.wix_app")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "credit_pipeline.wix_app"]


def log() -> DecisionLog:
    return DecisionLog("wix_app")


def an_outcome(outcome: str, *, failure: str | None = None, before: int = 100, after: int = 5000) -> RowOutcome:
    changed = outcome == "changed"
    return RowOutcome(
        seq=1,
        account_id=AccountId(ID),
        outcome=outcome,
        failure=failure,
        before={"available": before} if changed else None,
        after={"available": after} if changed else None,
        delta=after - before if changed else 0,
        granted=800 if changed else 0,
    )


def test_the_pseudonym_is_stable_and_tells_nothing() -> None:
    assert WHO == pseudonym("wix_app", ID) != pseudonym("bestauth", ID)
    assert WHO.startswith("acct_")
    assert len(WHO) == len("acct_") + 8
    assert ID[:8] not in WHO


def test_a_run_begins_and_ends_with_a_line(said: Callable[[], list[str]]) -> None:
    log().started()
    log().all_correct(2000)
    log().failed("wix_app: set WIX_DATABASE_URL to the credit store's Postgres URL")
    assert said() == [
        "sync started",
        "all 2000 accounts correct",
        "sync failed: wix_app: set WIX_DATABASE_URL to the credit store's Postgres URL",
    ]


def test_an_account_in_order_is_a_line(said: Callable[[], list[str]]) -> None:
    log().judged(classify(an_account(account_id=ID), rules()))
    assert said() == [f"{WHO}: same plan: no change"]


def test_a_missed_upgrade_names_what_billing_and_store_say(said: Callable[[], list[str]]) -> None:
    account = an_account(account_id=ID, label="free", total=100, used=0, installed=False)
    log().judged(classify(account, rules()))
    assert said() == [
        f"{WHO}: billing says pro, store says free",
        f"{WHO}: [auto] billing says pro, store says free",
        f"{WHO}: [auto] upgrade free -> pro: available 100 + new 5000 = 5100",
    ]


def test_the_arithmetic_of_an_upgrade_is_shown(said: Callable[[], list[str]]) -> None:
    account = an_account(account_id=ID, label="starter", total=1000, used=0, installed=False)
    log().judged(classify(account, rules()))
    assert f"{WHO}: [auto] upgrade starter -> pro: available 1000 + new 5000 = 6000" in said()


def test_what_a_person_must_do_is_marked(said: Callable[[], list[str]]) -> None:
    account = an_account(account_id=ID, label="free", total=5000, used=3000, installed=False)
    log().judged(classify(account, rules()))
    (line,) = [line for line in said() if line.startswith("MANUAL ACTION: ")]
    assert line.startswith(f"MANUAL ACTION: {WHO}: plan_mismatch (approve): apply the correction plan")


def test_a_changed_row_is_two_lines(said: Callable[[], list[str]]) -> None:
    log().applied(an_outcome("changed"))
    assert said() == [f"synced {WHO}: 100 -> 5000", f"{WHO}: granted 800 credits"]


def test_a_prevented_loss_is_a_warning(said: Callable[[], list[str]], caplog: pytest.LogCaptureFixture) -> None:
    failure = "credit loss prevented: would fall 1200 -> 1000"
    log().applied(an_outcome("blocked_by_guard", failure=failure))
    assert said() == [f"{WHO}: credit loss prevented: would fall 1200 -> 1000"]
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_held_row_says_why(said: Callable[[], list[str]]) -> None:
    log().applied(an_outcome("stale_skipped", failure="billing now says free"))
    log().applied(an_outcome("noop_already_applied"))
    assert said() == [f"{WHO}: stale_skipped: billing now says free", f"{WHO}: noop_already_applied"]


def test_a_batch_tells_how_far_the_apply_is(said: Callable[[], list[str]]) -> None:
    log().progress(1_205, 30_000, "198 changed, 2 stale_skipped")
    assert said() == ["applied 1,205 of 30,000 rows: 198 changed, 2 stale_skipped"]


def test_no_line_holds_the_account_id(said: Callable[[], list[str]]) -> None:
    for label, total, used in (("free", 100, 0), ("free", 5000, 3000), ("pro", 100, 0), ("pro", 5000, 9000)):
        account = an_account(account_id=ID, label=label, total=total, used=used, installed=False)
        log().judged(classify(account, rules()))
    log().applied(an_outcome("changed"))
    assert said()
    assert not [line for line in said() if ID in line]
