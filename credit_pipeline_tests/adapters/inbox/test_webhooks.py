"""Failed webhooks on a real Postgres: claimed by one worker each, tried again, given up, never lost and never twice."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.adapters.postgres import claims
from credit_pipeline.adapters.postgres.transactions import Transactions
from credit_pipeline.domain.retry_schedule import WEBHOOKS
from credit_pipeline.services.sync.ports import OPEN, Claim, RecordState, UndeliveredEvent
from credit_pipeline_tests.adapters.products.inbox_product import (
    MAPPED,
    WithDoors,
    fail_until,
    failed,
    repaired,
    with_doors,
)
from credit_pipeline_tests.conftest import Databases


@pytest.fixture
def product(databases: Databases) -> WithDoors:
    return with_doors(databases)


@pytest.fixture
def inbox(product: WithDoors) -> Iterator[PostgresInbox]:
    with product.inbox() as opened:
        yield opened


@pytest.fixture
def own(databases: Databases) -> WithDoors:
    """A product with a table of its own."""
    return with_doors(databases, MAPPED)


def waits(product: WithDoors, event: str) -> timedelta:
    row = product.event(event)
    [now] = product.run("SELECT clock_timestamp() AS now")
    found: timedelta = row["next_attempt_at"] - now["now"]
    return found


def test_a_record_is_claimed_with_its_hint_and_settled(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("evt", {"eventType": "PaidPlanPurchased", "instanceId": "site-1"})
    [claim] = inbox.claim("worker")
    assert claim.attempt == 1
    [record] = inbox.hold([claim])
    assert (record.event_id, record.hint.type, record.hint.names) == ("evt", "PaidPlanPurchased", ("site-1",))
    assert inbox.settle(claim, repaired("in order")) is RecordState.REPAIRED
    row = product.event("evt")
    assert (row["state"], row["last_error"], row["claimed_by"]) == ("repaired", "in order", None)
    assert row["finished_at"] is not None
    assert inbox.claim("worker") == []


def test_records_come_in_batches_longest_due_first(product: WithDoors, inbox: PostgresInbox) -> None:
    for number in range(60):
        product.record(f"evt_{number}", b"%d" % number)
    first = inbox.claim("worker")
    assert len(first) == 50
    second = inbox.claim("worker")
    assert len(second) == 10
    assert max(one.record for one in first) < min(one.record for one in second)
    assert inbox.claim("worker") == []


def test_two_workers_never_get_the_same_record(product: WithDoors) -> None:
    product.run("INSERT INTO credit_pipeline.webhook_event (system, provider, event_id)"
                " SELECT 'wix_app', 'wix', 'e' || n FROM generate_series(1, 300) AS n")  # fmt: skip
    taken: list[Claim] = []

    def work() -> None:
        with product.inbox() as mine:
            while batch := mine.claim("worker", 7):
                taken.extend(batch)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len({claim.record for claim in taken}) == 300


def test_a_row_somebody_holds_is_left_alone_and_not_waited_for(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("held", b"1")
    product.record("free", b"2")
    with psycopg.connect(product.url) as other:
        other.execute("SELECT FROM credit_pipeline.webhook_event WHERE event_id = 'held' FOR UPDATE")
        [claim] = inbox.claim("worker")
    assert product.event("free")["attempts"] == claim.attempt == 1
    assert len(inbox.claim("worker")) == 1


def test_after_a_failure_it_waits_longer_each_time_and_is_dead_after_eight(
    product: WithDoors, inbox: PostgresInbox
) -> None:
    product.record("evt")
    for attempt, minutes in enumerate((1, 5, 30, 120, 300, 600, 840), 1):
        product.wait("25 hours")
        [claim] = inbox.claim("worker")
        assert claim.attempt == attempt
        assert inbox.settle(claim, failed()) is RecordState.FAILED
        assert timedelta(minutes=minutes - 0.2) < waits(product, "evt") <= timedelta(minutes=minutes * 1.1)
        assert inbox.claim("worker") == []
    product.wait("25 hours")
    [claim] = inbox.claim("worker")
    assert inbox.settle(claim, failed("still no answer")) is RecordState.DEAD
    row = product.event("evt")
    assert (row["state"], row["attempts"], row["last_error"]) == ("dead", WEBHOOKS.most, "still no answer")
    product.wait("25 hours")
    assert inbox.claim("worker") == []


def test_waits_are_spread(product: WithDoors, inbox: PostgresInbox) -> None:
    for number in range(20):
        product.record(f"evt_{number}", b"%d" % number)
    for claim in inbox.claim("worker"):
        inbox.settle(claim, failed())
    rows = product.run("SELECT DISTINCT round(extract(epoch FROM next_attempt_at - now())) AS s"
                       " FROM credit_pipeline.webhook_event")  # fmt: skip
    assert len(rows) > 2


def test_a_claim_of_a_worker_that_died_is_taken_over_with_another_attempt(
    product: WithDoors, inbox: PostgresInbox
) -> None:
    product.record("evt")
    [lost] = inbox.claim("died")
    product.wait("9 minutes")
    assert inbox.claim("worker") == []
    product.wait("2 minutes")
    [again] = inbox.claim("worker")
    assert (again.record, again.attempt) == (lost.record, 2)
    assert again.key == f"{lost.record}:2", "a run key that Dagster has not seen"
    assert inbox.hold([lost]) == []
    assert inbox.settle(lost, repaired()) is None, "the dead worker came back too late"
    assert product.event("evt")["state"] == "claimed"
    assert inbox.settle(again, repaired()) is RecordState.REPAIRED


def test_a_claim_that_is_worked_on_is_not_taken_over(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("evt")
    [claim] = inbox.claim("worker")
    product.wait("9 minutes")
    assert len(inbox.hold([claim])) == 1
    product.wait("9 minutes")
    assert inbox.claim("other") == []


def test_a_record_that_kills_its_workers_is_dead_in_the_end(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("evt")
    for _ in range(WEBHOOKS.most):
        assert len(inbox.claim("worker")) == 1
        product.wait("11 minutes")
    assert inbox.claim("worker") == []
    row = product.event("evt")
    assert (row["state"], row["last_error"]) == ("dead", "the worker stopped during the attempt")


def test_replay_gives_all_attempts_back_under_numbers_of_their_own(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("evt")
    used = fail_until(product, inbox, WEBHOOKS.most)
    record = used[0].record
    assert product.event("evt")["state"] == "dead"
    [claim] = inbox.replay([record, 999], "eva")
    assert claim.record == record
    assert claim.key not in {one.key for one in used}, "a run key that Dagster has seen starts no run"
    assert inbox.replay([record], "eva") == [], "it is being worked on"
    assert inbox.settle(claim, failed()) is RecordState.FAILED
    assert waits(product, "evt") < timedelta(minutes=2), "the first wait again"


def test_discard_is_a_persons_and_on_record(product: WithDoors, inbox: PostgresInbox) -> None:
    product.record("evt")
    [row] = product.run("SELECT id FROM credit_pipeline.webhook_event")
    assert inbox.discard([row["id"], 999], "eva", "a test event") == [row["id"]]
    assert inbox.discard([row["id"]], "eva", "again") == []
    assert product.event("evt")["state"] == "discarded"
    [act] = product.run("SELECT what, subject, who, reason, detail ->> 'event_id' AS event FROM credit_pipeline.act")
    assert tuple(act.values()) == ("webhook_discard", f"webhook:{row['id']}", "eva", "a test event", "evt")


def test_counts_tell_waiting_stuck_and_dead_apart(product: WithDoors, inbox: PostgresInbox) -> None:
    states = ["('wait', 'failed', now(), NULL)", "('late', 'failed', now() - interval '2 h', NULL)",
              "('work', 'claimed', now(), now())", "('lost', 'claimed', now(), now() - interval '11 min')",
              "('dead', 'dead', now(), NULL)", "('done', 'repaired', now(), NULL)"]  # fmt: skip
    product.run(
        "INSERT INTO credit_pipeline.webhook_event (system, provider, event_id, state, next_attempt_at, claimed_at)"
        f" SELECT 'wix_app', 'wix', v.* FROM (VALUES {', '.join(states)}) AS v"
    )
    assert inbox.counts() == {"webhook_failed": 2, "webhook_stuck": 2, "webhook_dead": 1}


def test_a_person_sees_the_newest_first(product: WithDoors, inbox: PostgresInbox) -> None:
    for number in range(4):
        product.record(f"evt_{number}", b"%d" % number, verified=datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    for claim in inbox.claim("worker", 2):
        inbox.settle(claim, repaired("done"))
    assert [one.event_id for one in inbox.records(OPEN, 10)] == ["evt_3", "evt_2"]
    every = inbox.records(list(RecordState), 3)
    assert [(one.event_id, one.state.value, one.said) for one in every] == [
        ("evt_3", "failed", None),
        ("evt_2", "failed", None),
        ("evt_1", "repaired", "done"),
    ]
    assert every[0].verified


def test_records_of_another_system_are_not_ours(product: WithDoors, inbox: PostgresInbox) -> None:
    product.run("INSERT INTO credit_pipeline.control (system, environment, config_hash, provider)"
                " VALUES ('other', 'test', '', 'stripe')")  # fmt: skip
    product.record("evt", provider="stripe")
    [row] = product.run("SELECT id FROM credit_pipeline.webhook_event")
    assert inbox.claim("worker") == []
    assert inbox.counts() == {"webhook_failed": 0, "webhook_stuck": 0, "webhook_dead": 0}
    assert inbox.replay([row["id"]], "eva") == inbox.discard([row["id"]], "eva", "no") == []


@pytest.mark.parametrize("before", ["DROP TABLE credit_pipeline.webhook_event", "DROP SCHEMA credit_pipeline CASCADE"])
def test_an_older_or_absent_installation_keeps_no_webhooks(product: WithDoors, before: str) -> None:
    with product.inbox() as inbox:
        assert inbox.installed()
    product.run(before)
    with product.inbox() as inbox:
        assert not inbox.installed()


def test_a_tick_reads_the_failed_ones_alone_however_many_are_done(product: WithDoors) -> None:
    """Over a million rows the tick of 200 failed ones is timed in the benchmarks."""
    product.run(
        "INSERT INTO credit_pipeline.webhook_event (system, provider, event_id, state)"
        " SELECT 'wix_app', 'wix', 'e' || n, CASE WHEN n % 250 = 0 THEN 'failed' ELSE 'repaired' END"
        " FROM generate_series(1, 50000) AS n"
    )
    product.run("ANALYZE credit_pipeline.webhook_event")
    words = {"system": "wix_app", "by": "w", "limit": 50, "most": 8, "stale": claims.STALE}
    queue = claims.Queue(table="webhook_event", waiting="failed", ended="dead", retrying=WEBHOOKS)
    with closing(Transactions(product.url, "wix_app")) as transactions, transactions.begin() as cursor:
        for query, index in ((claims._TAKE_OVER, "webhook_event_claimed"), (claims._CLAIM, "webhook_event_due")):
            rows: list[Any] = cursor.execute("EXPLAIN " + queue._formatted(query).as_string(None), words).fetchall()
            plan = "\n".join(row["QUERY PLAN"] for row in rows)
            assert index in plan
            assert "Seq Scan" not in plan


def failing(own: WithDoors, count: int = 1, **words: Any) -> list[str]:
    given = {"kind": "PaidPlanPurchased", "instance": "site-1", "payload": "{}", "status": "failed"} | words
    rows = own.run(
        "INSERT INTO failed_webhooks (kind, instance, payload, status, received_at)"
        " SELECT %s, %s, %s::jsonb, %s::webhook_status, now() - n * interval '1 s' FROM generate_series(1, %s) AS n"
        " RETURNING id::text AS id",
        given["kind"], given["instance"], given["payload"], given["status"], count,
    )  # fmt: skip
    return [row["id"] for row in rows]


def in_own(own: WithDoors, row: str) -> tuple[Any, ...]:
    [found] = own.run("SELECT status::text, tries, why FROM failed_webhooks WHERE id = %s", row)
    return tuple(found.values())


def test_the_products_own_failed_rows_are_brought_over_once(own: WithDoors) -> None:
    failing(own, 60)
    failing(own, 3, status="error", instance=None, payload='{"instanceId": "site-2"}')
    failing(own, 5, status="processed")
    with own.inbox() as inbox:
        taken = [claim for _ in range(3) for claim in inbox.claim("worker")]
        assert len(taken) == 63
        records = inbox.hold(taken)
        assert {record.hint.names for record in records} == {("site-1",), ("site-2",)}
        assert inbox.claim("worker") == []


def test_the_product_is_told_in_its_own_words(own: WithDoors) -> None:
    [mended] = failing(own, instance="mended")
    [lost] = failing(own, instance="lost")
    with own.inbox() as inbox:
        claimed = inbox.claim("worker")
        by_name = {record.hint.names[0]: record.claim for record in inbox.hold(claimed)}
        inbox.settle(by_name["mended"], repaired("account in order"))
        inbox.settle(by_name["lost"], failed("billing did not answer"))
        assert in_own(own, mended) == ("processed", 1, "account in order")
        assert in_own(own, lost) == ("failed", 1, "billing did not answer")
        fail_until(own, inbox, 7)
    assert in_own(own, lost) == ("given_up", 8, "billing did not answer")


def test_a_row_that_the_product_mended_itself_keeps_its_word(own: WithDoors) -> None:
    [row] = failing(own)
    with own.inbox() as inbox:
        [claim] = inbox.claim("worker")
        own.run("UPDATE failed_webhooks SET status = 'processed', why = 'by us'")
        assert inbox.settle(claim, failed()) is RecordState.FAILED
    assert in_own(own, row) == ("processed", 0, "by us")


def test_a_product_that_refuses_to_be_told_loses_no_record(own: WithDoors) -> None:
    failing(own)
    own.run("ALTER TABLE failed_webhooks ADD CONSTRAINT no CHECK (status <> 'processed')")
    with own.inbox() as inbox:
        [claim] = inbox.claim("worker")
        assert inbox.settle(claim, repaired("in order")) is RecordState.REPAIRED
    [row] = own.run("SELECT state, last_error FROM credit_pipeline.webhook_event")
    assert row["state"] == "repaired"
    assert row["last_error"] == "in order (`failed_webhooks` could not be updated: SQLSTATE 23514)"


def test_events_that_never_arrived_are_kept_once_in_the_order_in_which_they_happened(product: WithDoors) -> None:
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    events = [
        UndeliveredEvent(event_id=f"evt_{number}", created=at + timedelta(minutes=number), body=body)
        for number, body in enumerate([b"\x00 bytes", b'{"a": 1}', b"x" * 262_145])
    ]
    product.record("evt_1", b"handed over")
    with product.inbox() as inbox:
        assert inbox.keep(events, at + timedelta(days=1)) == 2
        assert inbox.keep([*events, *events], at + timedelta(days=2)) == 0
    rows = product.run("SELECT * FROM credit_pipeline.webhook_event ORDER BY id")
    assert [row["event_id"] for row in rows] == ["evt_1", "evt_0", "evt_2"]
    assert [row["state"] for row in rows] == ["failed", "failed", "dead"], "one that is too large is seen by a person"
    assert bytes(rows[0]["raw"]) == b"handed over"
    assert (bytes(rows[1]["raw"]), rows[1]["verified_at"], rows[1]["account"]) == (
        b"\x00 bytes",
        at + timedelta(days=1),
        None,
    )
    assert rows[1]["error"] == "never delivered by the provider, for which it happened at 2026-11-20 09:00 UTC"
