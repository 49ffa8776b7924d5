"""The outbox on a real Postgres: what gets into it and when, whom it is handed to, and when it lets go."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.domain.errors import NotInstalled, StoreError
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.services.alerts.ports import AlertKind
from credit_pipeline_tests.adapters.alerts.alert_product import EVA, HOUR, Alerting, a_finding, an_alerting
from credit_pipeline_tests.adapters.products.counter_product import Product, a_plan, an_installed_product, an_upgrade
from credit_pipeline_tests.conftest import Databases

DAY = timedelta(hours=24)


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres, _databases: Databases) -> str:
    """One installed product for all tests of this file, which is emptied before each."""

    def fill(url: str) -> None:
        an_installed_product(url)

    return postgres.url(_databases.template("alerts", fill))


@pytest.fixture
def story(url: str) -> Iterator[Alerting]:
    with closing(Alerting(Product(url))) as told:
        told.empty()
        yield told


def test_one_collection_is_one_alert_with_counts_and_nobody_in_it(story: Alerting) -> None:
    lost = {"code": "unexplained_decrease", "severity": "critical", "lane": "approve", "is_event": True}
    found = [a_finding("a"), a_finding("b"), a_finding("n", lane="none"), a_finding("l", **lost, delta=200)]
    story.collect(*found)
    [row] = story.rows()
    assert (row["kind"], row["subject"], row["system"]) == ("findings", "run-1", "wix_app")
    assert row["content"] == {
        "how": {"new": 3},
        "codes": {"grant_missing": 2, "unexplained_decrease": 1},
        "severities": {"critical": 3},
        "lost": 200,
    }
    assert "site-" not in str(row)


def test_a_collection_without_news_leaves_no_alert(story: Alerting) -> None:
    story.collect()
    story.collect(a_finding(lane="none"))
    story.collect(a_finding(lane="none"))
    assert story.rows() == []


Change = Callable[[Alerting], None]


def collected(**overrides: Any) -> Change:
    return lambda story: story.collect(a_finding(**overrides))


def acknowledged(story: Alerting) -> None:
    with story.lifecycle() as lifecycle:
        lifecycle.acknowledge(["f"], EVA)


def accepted(days: int | None) -> Change:
    def accept(story: Alerting) -> None:
        until = None if days is None else story.now + timedelta(days=days)
        with story.lifecycle() as lifecycle:
            lifecycle.accept(["f"], EVA, until=until)
        if until is not None:  # the store's own clock is a month ahead of the story's
            story.product.run("UPDATE credit_pipeline.mismatch SET accepted_until = %s", until)

    return accept


def gone(story: Alerting) -> None:
    story.collect()


SAME, PENDING = collected(), collected(lane="none")
WORTH_NO_MORE = [
    pytest.param([SAME] * 8, id="found again and again"),
    pytest.param([collected(actual={"plan": "pro", "total": 100, "used": n}) for n in (1, 2, 3)], id="spending"),
    pytest.param([collected(evidence={"seen": n}) for n in (1, 2)], id="other evidence"),
    pytest.param([PENDING, SAME, PENDING, SAME], id="looked at while it settles and without settling, in turns"),
    pytest.param([acknowledged, SAME, collected(lane="approve"), collected(severity="error")], id="acknowledged"),
    pytest.param([collected(expected={"plan": None, "credits": None}), SAME] * 3, id="no answer of billing in turns"),
    pytest.param([accepted(None), SAME, collected(delta=1), SAME], id="accepted for ever"),
    pytest.param([accepted(30), SAME, collected(delta=1)], id="accepted for a month"),
    pytest.param([acknowledged, accepted(None), SAME], id="acknowledged, then accepted"),
    pytest.param([gone, gone], id="gone"),
]


@pytest.mark.parametrize("changes", WORTH_NO_MORE)
def test_a_finding_that_is_as_it_was_told_is_never_told_again(story: Alerting, changes: list[Change]) -> None:
    story.collect(a_finding())
    for change in changes:
        change(story)
    assert story.told() == [{"new": 1}]


WORTH_ONE_MORE = [
    pytest.param([collected(lane="approve")], "changed", id="another lane"),
    pytest.param([collected(severity="error")], "changed", id="another severity"),
    pytest.param([collected(expected={"plan": "starter", "credits": 1000})], "changed", id="billed another plan"),
    pytest.param([collected(delta=900)], "changed", id="another amount"),
    pytest.param(
        [collected(expected={"plan": None, "credits": None}, severity="error"), collected(severity="error")],
        "changed",
        id="another severity, and no answer about the plan at first",
    ),
    pytest.param([gone, SAME], "reopened", id="gone and back"),
    pytest.param([accepted(1), *[SAME] * 6], "reopened", id="the acceptance ran out"),
]


@pytest.mark.parametrize(("changes", "how"), WORTH_ONE_MORE)
def test_a_change_is_told_once(story: Alerting, changes: list[Change], how: str) -> None:
    story.collect(a_finding())
    for change in changes:
        change(story)
    for _ in range(3):  # the last collection again
        last = changes[-1]
        last(story)
    assert story.told() == [{"new": 1}, {how: 1}]


def test_what_waits_for_nobody_at_first_is_told_when_it_does(story: Alerting) -> None:
    story.collect(a_finding(lane="none"))
    story.collect(a_finding())
    story.collect(a_finding())
    assert story.told() == [{"changed": 1}]


def test_the_same_collection_again_is_told_once(story: Alerting) -> None:
    story.collect(a_finding())
    story.number -= 1
    story.collect(a_finding())
    assert story.told() == [{"new": 1}]


def test_a_collection_that_is_not_recorded_tells_nobody(story: Alerting) -> None:
    story.product.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space left'; END $$;"
        "CREATE CONSTRAINT TRIGGER when_full AFTER INSERT ON credit_pipeline.snapshot INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    try:
        with pytest.raises(StoreError, match="SQLSTATE P0001"):
            story.collect(a_finding())
    finally:
        story.product.run("DROP FUNCTION full_disk CASCADE")
    assert story.rows() == []


def test_an_install_of_an_older_version_is_said_to_be_one_when_a_collection_comes(databases: Databases) -> None:
    with closing(an_alerting(databases)) as older:
        older.product.run("DROP TABLE credit_pipeline.outbox; ALTER TABLE credit_pipeline.mismatch DROP COLUMN told")
        with pytest.raises(NotInstalled, match="an older version of the schema is installed: run `credit-pipeline"):
            older.collect(a_finding())


def test_through_a_day_exactly_those_that_waited_it_out_are_told_and_once(story: Alerting) -> None:
    """Opened at hour 6 and 12; looked at each hour for two days. `waits` 24 h means from 24 h on."""
    others = {
        "none": a_finding("none", lane="none"),
        "acknowledged": a_finding("acknowledged"),
        "accepted": a_finding("accepted"),
        "exempt": a_finding("exempt"),
        "gone": a_finding("gone"),
    }
    story.collect(a_finding("first"), *others.values())
    first = story.now
    with story.lifecycle() as lifecycle:
        lifecycle.acknowledge(["acknowledged"], EVA)
        lifecycle.accept(["accepted"], EVA, until=None)
    story.product.run("INSERT INTO credit_pipeline.exemption VALUES ('wix_app', 'site-exempt', 'staff', NULL, 'eva')")
    others.pop("gone")
    second = a_finding("second", code="plan_mismatch", severity="error")
    story.collect(a_finding("first"), second, *others.values())
    aged = [(hour, count) for hour in range(49) if (count := story.outbox.age(DAY, first + hour * HOUR))]
    assert aged == [(24, 1), (30, 1)]
    contents = [row["content"] for row in story.rows("aged")]
    assert contents == [
        {"hours": 24, "codes": {"grant_missing": 1}, "severities": {"critical": 1}},
        {"hours": 24, "codes": {"plan_mismatch": 1}, "severities": {"error": 1}},
    ]


def test_an_opening_ages_once_and_the_next_opening_again(story: Alerting) -> None:
    story.collect(a_finding())
    assert [story.outbox.age(DAY, story.now + n * DAY) for n in (1, 2, 3)] == [1, 0, 0]
    story.collect(a_finding(delta=1))
    assert story.outbox.age(DAY, story.now + 3 * DAY) == 0
    story.collect()
    story.collect(a_finding())
    assert [story.outbox.age(DAY, story.now + n * HOUR) for n in (23, 24, 25)] == [0, 1, 0]


def test_many_that_age_at_once_are_one_alert_and_two_who_look_at_once_tell_it_once(story: Alerting) -> None:
    story.collect(*(a_finding(str(number)) for number in range(300)))
    later = story.now + DAY

    def look(_: int) -> int:
        with closing(PostgresOutbox(story.product.url, story.product.system)) as outbox:
            return outbox.age(DAY, later)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(look, range(4))) == [0, 0, 0, 300]
    assert [row["content"]["codes"] for row in story.rows("aged")] == [{"grant_missing": 300}]


def test_the_databases_clock_is_asked_where_no_time_is_given(story: Alerting) -> None:
    story.collect(a_finding())
    assert story.outbox.age(timedelta(days=365)) == 0
    assert story.outbox.age(DAY) == 1


def test_what_was_corrected_since_the_last_collection_does_not_age_before_the_next_has_looked(story: Alerting) -> None:
    story.collect(a_finding("corrected"), a_finding("open"))
    with story.product.plans() as plans:
        saved = plans.save(a_plan(an_upgrade("site-corrected")))
    story.product.run(
        "UPDATE credit_pipeline.correction SET outcome = 'changed', audit_seq = 1,"
        " content = content || jsonb_build_object('codes', jsonb_build_array('grant_missing')) WHERE plan_id = %s",
        saved.plan_id,
    )
    assert story.outbox.age(DAY, story.now + DAY) == 1
    story.product.run("UPDATE credit_pipeline.snapshot SET audit_seq = 1")
    assert story.outbox.age(DAY, story.now + DAY) == 1, "the next look has found it again"


def test_a_quarantined_plan_is_told_once_with_what_it_would_have_moved(story: Alerting) -> None:
    with story.product.plans() as plans:
        saved = plans.save(a_plan(an_upgrade("a"), an_upgrade("b")))
        assert story.rows() == []
        for limit in (1, 2):
            plans.set_state(saved.plan_id, "quarantined", [f"would change 2/2 accounts, limit {limit}: review"])
    [row] = story.rows()
    assert (row["kind"], row["subject"]) == ("plan_quarantined", saved.plan_id)
    expected = {"rows": 2, "credits": 10_000, "failures": ["would change 2/2 accounts, limit 1: review"]}
    assert row["content"] == expected


DIE = "UPDATE credit_pipeline.webhook_event SET state = 'dead', attempts = 8 WHERE event_id = 'evt_1'"
RECORD = "SELECT credit_pipeline.record_webhook('wix', %s, %s, NULL, '')"


def test_a_dead_webhook_is_told_once_an_end_wherever_it_dies(story: Alerting) -> None:
    story.product.run(RECORD, "evt_1", b"{}")
    assert story.rows() == []
    for _ in range(2):
        story.product.run(DIE)
    assert [row["subject"].partition(":")[2] for row in story.rows("webhook_dead")] == ["8"]
    story.product.run(
        "UPDATE credit_pipeline.webhook_event SET state = 'claimed', attempts = 9, claimed_at = now() - interval '1 h',"
        " forgiven = 1 WHERE event_id = 'evt_1'"
    )
    with closing(PostgresInbox(story.product.url, story.product.system)) as inbox:
        assert inbox.claim("worker") == []  # its worker died in the last attempt
    assert [row["subject"].partition(":")[2] for row in story.rows("webhook_dead")] == ["8", "9"]
    story.product.run(RECORD, "too large", b"x" * 262_145)
    assert len(story.rows("webhook_dead")) == 3
    assert {str(row["content"]) for row in story.rows()} == {"{}"}


def note(outbox: PostgresOutbox, subject: str) -> bool:
    return outbox.note(AlertKind.RUN_FAILED, subject, {"job": "wix_app_reconcile"})


def test_an_alert_is_kept_once_and_claimed_by_one(story: Alerting) -> None:
    outbox = story.outbox
    assert [note(outbox, "run-1"), note(outbox, "run-1"), note(outbox, "run-2")] == [True, False, True]
    assert [one.subject for one in outbox.claim("first")] == ["run-1", "run-2"]
    assert outbox.claim("second") == []
    later = story.rows()[0]["claimed_at"] + timedelta(minutes=11)
    again = outbox.claim("third", now=later)
    assert [(one.subject, one.attempts) for one in again] == [("run-1", 2), ("run-2", 2)]
    assert outbox.claim("fourth", everything=True, now=later) == []


def test_many_workers_at_once_share_the_alerts_without_a_double(story: Alerting) -> None:
    for number in range(60):
        note(story.outbox, f"run-{number}")

    def take(_: int) -> list[int]:
        with closing(PostgresOutbox(story.product.url, story.product.system)) as outbox:
            return [one.id for _ in range(3) for one in outbox.claim("worker", limit=7)]

    with ThreadPoolExecutor(4) as pool:
        taken = [one for part in pool.map(take, range(4)) for one in part]
    assert len(taken) == len(set(taken)) == 60


def test_waits_grow_to_half_an_hour_and_never_end(story: Alerting) -> None:
    note(story.outbox, "run-1")
    now, waits = story.rows()[0]["created_at"] + timedelta(seconds=1), []
    for _ in range(8):
        [alert] = story.outbox.claim("worker", now=now)
        story.outbox.settle([alert], ["log", "webhook"], {"webhook": "it is away"}, now)
        due = story.rows()[0]["next_attempt_at"]
        waits.append(int((due - now).total_seconds() // 60))
        assert story.outbox.claim("worker", now=due - timedelta(seconds=1)) == []
        now = due
    assert waits == [1, 2, 5, 10, 30, 30, 30, 30]
    assert (story.outbox.unheard().late, story.outbox.unheard().last_error) == (1, "it is away")


def test_it_is_done_when_every_sink_has_it_and_who_comes_late_lets_nothing_go(story: Alerting) -> None:
    note(story.outbox, "run-1")
    [early] = story.outbox.claim("slow", now=story.rows()[0]["created_at"] + timedelta(seconds=1))
    [late] = story.outbox.claim("next", now=early.created_at + timedelta(minutes=11))
    story.outbox.delivered([early], "log")
    story.outbox.settle([early], ["log"], {})
    assert story.rows()[0]["done_at"] is None, "another holds it"
    story.outbox.settle([late], ["log", "webhook"], {"webhook": "away"})
    assert (story.rows()[0]["delivered"], story.rows()[0]["last_error"]) == (["log"], "away")
    [again] = story.outbox.claim("next", everything=True)
    assert again.delivered == {"log"}
    for _ in range(2):
        story.outbox.delivered([again], "webhook")
    story.outbox.settle([again], ["log", "webhook"], {})
    assert story.rows()[0]["delivered"] == ["log", "webhook"]
    assert story.rows()[0]["done_at"] is not None
    assert story.outbox.claim("next", everything=True) == []
    assert story.outbox.unheard().waiting == 0


def test_an_alert_that_nobody_delivers_is_late_after_an_hour(story: Alerting) -> None:
    note(story.outbox, "run-1")
    created = story.rows()[0]["created_at"]
    late = [story.outbox.unheard(created + minutes * timedelta(minutes=1)).late for minutes in (0, 59, 61)]
    assert late == [0, 0, 1]
    assert story.outbox.unheard().oldest == created


def test_a_tick_reads_what_is_due_by_its_index(story: Alerting) -> None:
    story.product.run(
        "INSERT INTO credit_pipeline.outbox (system, kind, subject, done_at) SELECT 'wix_app', 'aged', n::text, now()"
        " FROM generate_series(1, 20000) AS n"
    )
    story.product.run("ANALYZE credit_pipeline.outbox")
    plan = story.product.run(
        "EXPLAIN SELECT w.id FROM credit_pipeline.outbox AS w WHERE w.system = 'wix_app' AND w.done_at IS NULL"
        " AND w.next_attempt_at <= now() ORDER BY w.next_attempt_at, w.id LIMIT 500 FOR UPDATE SKIP LOCKED"
    )
    assert "outbox_due" in str(plan)
