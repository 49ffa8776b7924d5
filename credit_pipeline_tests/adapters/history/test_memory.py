"""The memory on a real Postgres: versions and their log, the life of findings, and what is remembered of an account."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import NotInstalled, StoreError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, YearlyMode
from credit_pipeline.domain.subjects.account import GrantRecord, Mark, Memory, ObservedState, StateKind
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    Product,
    a_copied_product,
    an_adjustment,
    an_upgrade,
    apply_all,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B = AccountId("acct-a"), AccountId("acct-b")


def at(number: int) -> datetime:
    """When the collection of that number was read; they are six hours apart."""
    return T0 + 6 * number * HOUR


def seen(account: str, number: int, **overrides: Any) -> dict[str, Any]:
    """One answered account of a collection."""
    return {
        "account": account,
        "label": "pro",
        "total": 5000,
        "used": 0,
        "billed_plan": "pro",
        "billed_period_start": T0 - 24 * HOUR,
        "billed_status": "active",
        "mark": "adopted",
        "as_of": at(number),
        "unanswered_since": None,
        "gap": None,
    } | overrides


def a_finding(fingerprint: str, account: str = A, **overrides: Any) -> Mismatch:
    healthy = Mismatch(
        fingerprint=fingerprint,
        account_id=AccountId(account),
        billing_id=BillingId(account),
        code="plan_mismatch",
        severity="error",
        lane="auto",
        is_event=False,
        expected={"plan": "pro"},
        actual={"plan": "free"},
        evidence={"proof": "floor"},
        delta=4900,
        first_seen=T0,
        opened_at=T0,
    )
    return replace(healthy, **overrides)


def an_event(fingerprint: str, account: str = A, **overrides: Any) -> Mismatch:
    return a_finding(fingerprint, account, **({"code": "unexplained_decrease", "is_event": True} | overrides))


class Remembering:
    """A memory with the collections of a story, told by number."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.memory = PostgresMemory(product.system, product.url)

    def collect(
        self,
        number: int,
        *rows: dict[str, Any],
        found: tuple[Mismatch, ...] = (),
        closed: tuple[tuple[str, str], ...] = (),
        **overrides: Any,
    ) -> None:
        facts = {"run_id": f"run-{number}", "as_of": at(number), "answered": 2, "population": 2, "audit_seq": 0}
        table = pa.Table.from_pylist(list(rows), schema=OBSERVATIONS)
        collection = CollectionRecord(**(facts | overrides))
        self.memory.record(collection, changed=table, mismatches=found, closed=closed)

    def of(self, account: AccountId, now: datetime) -> Memory:
        return self.memory.remembered([account], now)[account]

    def spans(self, account: AccountId, now: datetime) -> list[tuple[int, datetime, datetime]]:
        """(used, first seen, last seen) of every remembered state."""
        return [(s.used, s.as_of, s.seen_until) for s in self.of(account, now).states]

    def life(self, fingerprint: str, *names: str) -> tuple[Any, ...]:
        columns = ", ".join(names)
        query = f"SELECT {columns} FROM credit_pipeline.mismatch WHERE fingerprint = %s"
        [row] = self.product.run(query, fingerprint)
        return tuple(row.values())


@pytest.fixture
def story(databases: Databases) -> Iterator[Remembering]:
    told = Remembering(a_copied_product(databases))
    yield told
    told.memory.close()


def test_nothing_is_installed_in_an_empty_database(database: str) -> None:
    memory = PostgresMemory(PUBLIC, database)
    assert memory.installed() is False
    for ask in (memory.last_collection, memory.watched, memory.observations):
        with pytest.raises(NotInstalled, match="run `credit-pipeline init wix_app`"):
            ask()
    memory.close()


def test_another_system_of_the_same_database_is_not_this_one(story: Remembering) -> None:
    assert story.memory.installed() is True
    story.collect(0, seen(A, 0), found=(a_finding("f"),))
    other = PostgresMemory(replace(PUBLIC, name="other"), story.product.url)
    assert other.installed() is False
    assert other.last_collection() is None
    assert other.observations().num_rows == 0
    assert other.watched() == frozenset()
    assert other.remembered([A], at(1))[A] == Memory()
    with pytest.raises(NotInstalled, match=r"^other: not installed in this database"):
        other.record(
            CollectionRecord(run_id="r", as_of=at(1), answered=0, population=0, audit_seq=0),
            changed=OBSERVATIONS.empty_table(), mismatches=(), closed=(),
        )  # fmt: skip
    other.close()


def test_what_was_recorded_is_observed(story: Remembering) -> None:
    rows = [seen(A, 0), seen(B, 0, label=None, billed_plan=None, billed_period_start=None, mark=None, used=-3)]
    story.collect(0, *rows, audit_seq=7, files={"balances": "a.parquet#00"})
    table = story.memory.observations()
    assert table.schema.equals(OBSERVATIONS, check_metadata=True)
    assert table.sort_by("account").to_pylist() == rows
    assert story.memory.last_collection() == CollectionRecord(
        run_id="run-0", as_of=at(0), answered=2, population=2, audit_seq=7, files={"balances": "a.parquet#00"}
    )


def test_the_newest_collection_is_the_last_one(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    story.collect(1)
    last = story.memory.last_collection()
    assert last is not None
    assert last.run_id == "run-1"


def test_a_change_moves_the_old_version_to_the_log(story: Remembering) -> None:
    """An account not sent was seen unchanged: the old version lasts until the collection before the change."""
    story.collect(0, seen(A, 0))
    story.collect(1)
    story.collect(2, seen(A, 2, used=300))
    story.collect(3)
    assert story.spans(A, at(4)) == [(0, at(0), at(1)), (300, at(2), at(3))]
    assert story.of(A, at(4)).complete_runs == (at(0), at(1), at(2), at(3))


def test_a_ledger_s_gap_is_remembered_with_its_state(story: Remembering) -> None:
    story.collect(0, seen(A, 0, gap=0), seen("user:7", 0, gap=None))
    story.collect(1, seen(A, 1, gap=-200))
    story.collect(2, seen(A, 2, gap=-200, unanswered_since=at(1)))
    assert [one.gap for one in story.of(A, at(3)).states] == [0, -200]
    assert [one.gap for one in story.of(AccountId("user:7"), at(3)).states] == [None]
    assert story.memory.observations().sort_by("account")["gap"].to_pylist() == [-200, None]


def test_a_row_that_says_nothing_new_is_no_new_version(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    story.collect(1, seen(A, 1))
    assert story.spans(A, at(2)) == [(0, at(0), at(1))]


@pytest.mark.parametrize(
    "change",
    [
        {"label": None},
        {"total": 1},
        {"used": 1},
        {"billed_plan": None},
        {"billed_period_start": None},
        {"billed_status": "ended"},
        {"mark": None},
        {"gap": 0},
    ],
)
def test_every_column_counts_as_a_change(story: Remembering, change: dict[str, Any]) -> None:
    story.collect(0, seen(A, 0))
    story.collect(1, seen(A, 1, **change))
    story.collect(2, seen(A, 2))
    assert [s.as_of for s in story.of(A, at(3)).states] == [at(0), at(1), at(2)]


def test_an_account_without_an_answer_keeps_its_old_row(story: Remembering) -> None:
    """Its state was last seen when it last answered, however many collections pass without it."""
    story.collect(0, seen(A, 0))
    story.collect(1, seen(A, 1, used=999, label="free", unanswered_since=at(0)))
    story.collect(2, seen(A, 2, used=999, unanswered_since=at(1)))
    assert story.memory.observations().to_pylist() == [seen(A, 0, unanswered_since=at(0))]
    assert story.spans(A, at(3)) == [(0, at(0), at(0))]


def test_an_answer_after_silence_is_a_new_version_even_if_it_says_the_same(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    story.collect(1, seen(A, 1, unanswered_since=at(0)))
    story.collect(2, seen(A, 2))
    assert story.spans(A, at(3)) == [(0, at(0), at(0)), (0, at(2), at(2))]
    assert story.memory.observations()["unanswered_since"].to_pylist() == [None]


def test_an_account_that_never_answered_is_not_remembered(story: Remembering) -> None:
    story.collect(0, seen(A, 0, unanswered_since=at(0)))
    assert story.memory.observations().num_rows == 0


def test_the_same_collection_twice_is_remembered_once(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    for _ in range(2):
        story.collect(1, seen(A, 1, used=5), found=(a_finding("f"),))
    assert story.spans(A, at(2)) == [(0, at(0), at(0)), (5, at(1), at(1))]
    assert story.life("f", "seen_count") == (1,)
    assert story.of(A, at(2)).complete_runs == (at(0), at(1))


@pytest.mark.parametrize("as_of", [at(0), at(1)])
def test_a_collection_that_was_read_before_the_last_one_is_refused_whole(story: Remembering, as_of: datetime) -> None:
    story.collect(0, seen(A, 0))
    story.collect(1)
    with pytest.raises(StoreError) as caught:
        story.collect(2, seen(A, 2, used=1), found=(a_finding("f"),), as_of=as_of)
    assert str(caught.value) == (
        f"wix_app: this collection was read at {as_of:%Y-%m-%d %H:%M:%S} UTC, not after the last one recorded "
        "(2026-03-01 18:00:00 UTC): check this machine's clock, then collect again"
    )
    assert story.spans(A, at(2)) == [(0, at(0), at(1))]
    assert story.memory.watched() == frozenset()


def test_a_refused_row_undoes_the_whole_collection_and_is_not_repeated(story: Remembering) -> None:
    with pytest.raises(StoreError) as caught:
        story.collect(0, seen(A, 0), seen(B, 0, mark="someone@example.com"))
    assert "SQLSTATE 23514" in str(caught.value)
    assert "example.com" not in str(caught.value)
    assert story.memory.last_collection() is None
    assert story.memory.observations().num_rows == 0


def test_a_new_finding_opens(story: Remembering) -> None:
    story.collect(0, found=(a_finding("f"),))
    names = ("state", "opened_at", "first_seen", "last_seen", "seen_count", "expected", "actual", "evidence", "delta")
    facts = ({"plan": "pro"}, {"plan": "free"}, {"proof": "floor"}, 4900)
    assert story.life("f", *names) == ("open", at(0), at(0), at(0), 1, *facts)


@pytest.mark.parametrize("state", ["open", "acknowledged"])
def test_a_finding_seen_again_keeps_its_state_and_opening(story: Remembering, state: str) -> None:
    story.collect(0, found=(a_finding("f"),))
    story.product.run("UPDATE credit_pipeline.mismatch SET state = %s", state)
    story.collect(1, found=(a_finding("f", severity="critical", lane="review", delta=1, evidence={"proof": "none"}),))
    names = ("state", "opened_at", "first_seen", "last_seen", "seen_count", "severity", "lane", "delta", "evidence")
    again = (at(0), at(0), at(1), 2, "critical", "review", 1, {"proof": "none"})
    assert story.life("f", *names) == (state, *again)


def test_a_finding_that_is_not_found_any_more_is_resolved(story: Remembering) -> None:
    story.collect(0, seen(A, 0), found=(a_finding("f"),))
    story.collect(1)
    assert story.life("f", "state", "closed_at", "closed_why") == ("resolved", at(1), "not found any more")


def test_a_resolved_finding_that_returns_opens_anew(story: Remembering) -> None:
    story.collect(0, found=(a_finding("f"),))
    story.collect(1)
    story.collect(2, found=(a_finding("f"),))
    names = ("state", "opened_at", "first_seen", "seen_count", "closed_at", "closed_why")
    assert story.life("f", *names) == ("open", at(2), at(0), 2, None, None)


def test_silence_about_an_account_resolves_nothing_of_it(story: Remembering) -> None:
    """Not the account without an answer now, nor one that was never observed, nor one still without an answer."""
    story.collect(0, seen(A, 0), found=(a_finding("a"), a_finding("b", B), a_finding("c", "acct-c")))
    story.collect(
        1,
        seen(A, 1, unanswered_since=at(0)),
        seen(B, 1, unanswered_since=at(0)),
        found=(a_finding("lookup", "acct-c", code="source_lookup_error"),),
    )
    assert [story.life(one, "state") for one in ("a", "b", "c")] == [("open",)] * 3
    story.collect(2)
    assert [story.life(one, "state") for one in ("a", "b", "c")] == [("open",), ("resolved",), ("resolved",)]


def test_an_event_stays_open_until_it_is_closed_by_name(story: Remembering) -> None:
    story.collect(0, seen(A, 0), found=(an_event("e"),))
    for number in range(1, 11):
        story.collect(number)
    assert story.life("e", "state", "seen_count") == ("open", 1)
    story.collect(11, closed=(("e", "restored"), ("unknown", "never was")))
    assert story.life("e", "state", "closed_at", "closed_why") == ("resolved", at(11), "restored")


def test_what_became_an_event_stays_one(story: Remembering) -> None:
    story.collect(0, found=(a_finding("f"),))
    story.collect(1, found=(a_finding("f", is_event=True),))
    story.collect(2, found=(a_finding("f"),))
    story.collect(3)
    assert story.life("f", "state", "is_event") == ("open", True)


@pytest.mark.parametrize(
    ("until", "state", "opened"), [(None, "accepted", at(0)), (at(2), "accepted", at(0)), (at(1), "open", at(1))]
)
def test_an_accepted_finding_opens_anew_only_once_its_time_is_over(
    story: Remembering, until: datetime | None, state: str, opened: datetime
) -> None:
    story.collect(0, found=(an_event("e"),))
    story.product.run("UPDATE credit_pipeline.mismatch SET state = 'accepted', accepted_until = %s", until)
    story.collect(1, found=(an_event("e"),))
    assert story.life("e", "state", "opened_at", "seen_count") == (state, opened, 2)
    assert story.life("e", "accepted_until") == (until if state == "accepted" else None,)


def test_a_payload_that_jsonb_refuses_does_not_stop_the_collection(story: Remembering) -> None:
    evidence = {"raw": "a\0b\ud800", "since": at(0), "pair": [1, {"\0": None}]}
    story.collect(0, found=(a_finding("f", evidence=evidence),))
    [kept] = story.life("f", "evidence")
    assert kept == {"raw": "a\ufffdb?", "since": "2026-03-01T12:00:00+00:00", "pair": [1, {"\ufffd": None}]}


def test_every_account_asked_for_is_in_the_answer(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    answer = story.memory.remembered([A, B, A], at(1))
    assert set(answer) == {A, B}
    assert answer[B] == Memory(complete_runs=(at(0),))
    assert story.memory.remembered([], at(1)) == {}


def test_more_accounts_than_one_portion_are_all_answered(story: Remembering) -> None:
    accounts = [AccountId(f"acct-{number}") for number in range(5_001)]
    story.collect(0, *(seen(account, 0) for account in accounts))
    answer = story.memory.remembered(accounts, at(1))
    assert len(answer) == 5_001
    assert {len(memory.states) for memory in answer.values()} == {1}


def test_states_are_remembered_for_62_days_and_the_current_one_always(story: Remembering) -> None:
    story.collect(0, seen(A, 0), seen(B, 0))
    story.collect(1, seen(A, 1, used=1))
    story.collect(2, seen(A, 2, used=2))
    now = at(1) + timedelta(days=62, hours=1)
    assert story.spans(A, now) == [(2, at(2), at(2))]
    assert story.spans(B, now) == [(0, at(0), at(2))]
    assert story.of(B, now).complete_runs == (at(2),)
    assert [used for used, _, _ in story.spans(A, now - 2 * HOUR)] == [1, 2]


def test_the_mark_of_a_yearly_up_front_plan_is_remembered_for_its_term(databases: Databases) -> None:
    yearly = Plan(name="pro", credits=60_000, rank=1, label="pro", yearly=YearlyMode.UPFRONT)
    free = Plan(name="free", credits=100, rank=0, label="free", free=True)
    product = a_copied_product(databases)
    product.system = replace(PUBLIC, catalogue=Catalogue(plans=(free, yearly)))
    story = Remembering(product)
    story.collect(0, seen(A, 0), seen(B, 0, billed_plan="starter"))
    story.collect(1, seen(A, 1, billed_plan=None, mark=None), seen(B, 1, billed_plan=None, mark=None))
    later = at(0) + timedelta(days=390)
    assert [s.mark for s in story.of(A, later).states] == [Mark.ADOPTED, None]
    assert [s.mark for s in story.of(B, later).states] == [None]
    assert [s.mark for s in story.of(A, later + timedelta(days=31)).states] == [None]
    story.memory.close()


def test_our_own_corrections_are_remembered_from_both_sides(story: Remembering) -> None:
    product = story.product
    product.add(A, "starter", 1000, 800)
    story.collect(0, seen(A, 0, label="starter", total=1000, used=800, billed_plan="starter"))
    with product.plans() as plans:
        restored = an_upgrade(A, seen=("starter", 1000, 800))
        steps = (*restored.steps, an_adjustment(50, "restore:e"))
        restored = replace(restored, steps=steps, lane=Lane.APPROVE)
        [outcome] = apply_all(plans, started(plans, restored, lanes=("approve",)))
        assert outcome.outcome == "changed", outcome.failure
    now = datetime.now(UTC) + HOUR
    product.run("UPDATE credit_pipeline.snapshot SET as_of = now() - interval '3 hours'")
    product.run("UPDATE credit_pipeline.observation SET as_of = now() - interval '3 hours'")
    memory = story.of(A, now)
    observed, before, after = memory.states
    assert observed.kind is StateKind.OBSERVED
    assert observed.billed_plan == "starter"
    expected = {"billed_plan": None, "billed_period_start": None, "billed_status": None}
    assert before == ObservedState(
        as_of=before.as_of, seen_until=before.as_of, kind=StateKind.BEFORE,
        label="starter", total=1000, used=800, **expected,  # type: ignore[arg-type]
    )  # fmt: skip
    assert (after.kind, after.as_of, after.label) == (StateKind.AFTER, before.as_of, "pro")
    assert after.available == 200 + 5000 + 50
    assert memory.applied_keys == {str(restored.grant and restored.grant.grant_key), "restore:e"}
    assert memory.grants == (
        GrantRecord(plan="pro", period_start=restored.grant.grant_key.period_start, credits=5000),  # type: ignore[union-attr]
    )


def test_a_correction_is_watched_until_a_collection_has_seen_it(story: Remembering) -> None:
    """Which collection saw it is told by the chain's number, not by clocks."""
    story.product.add(A, "starter", 1000)
    story.collect(0, seen(A, 0, billed_plan="starter"), seen(B, 0))
    with story.product.plans() as plans:
        assert names_of(apply_all(plans, started(plans, an_upgrade(A)))) == ["changed"]
        head = plans.audit_head()[0]
    assert story.memory.watched() == {A}
    story.collect(1, audit_seq=head)
    assert story.memory.watched() == frozenset()


def test_accounts_with_open_findings_are_watched(story: Remembering) -> None:
    found = (a_finding("f", A), a_finding("g", B), an_event("h", "acct-c"))
    story.collect(0, found=found)
    story.product.run("UPDATE credit_pipeline.mismatch SET state = 'acknowledged' WHERE fingerprint = 'g'")
    story.product.run("UPDATE credit_pipeline.mismatch SET state = 'accepted' WHERE fingerprint = 'h'")
    assert story.memory.watched() == {A, B}


def test_open_and_accepted_findings_are_remembered_apart(story: Remembering) -> None:
    found = tuple(an_event(name) for name in ("open", "acknowledged", "for_ever", "until", "over", "resolved"))
    story.collect(0, found=found, closed=(("resolved", "explained"),))
    accept = "UPDATE credit_pipeline.mismatch SET state = 'accepted', accepted_until = %s WHERE fingerprint = %s"
    for name, until in (("for_ever", None), ("until", at(9)), ("over", at(1))):
        story.product.run(accept, until, name)
    story.product.run("UPDATE credit_pipeline.mismatch SET state = fingerprint WHERE fingerprint = 'acknowledged'")
    memory = story.of(A, at(1))
    assert [one.fingerprint for one in memory.open_mismatches] == ["acknowledged", "open", "over"]
    assert memory.open_mismatches[2].opened_at == at(1), "open again since its acceptance ran out"
    assert memory.open_mismatches[1].evidence == {"proof": "floor"}
    assert (memory.open_mismatches[1].opened_at, memory.open_mismatches[1].is_event) == (at(0), True)
    assert memory.accepted == {"for_ever", "until"}


def test_a_reversed_grant_keeps_its_key(story: Remembering) -> None:
    story.product.run(
        'INSERT INTO credit_pipeline."grant" VALUES (%s, %s, %s, %s, %s, 5000, %s, now(), now())',
        "wix_app", A, "pro", T0, T0 + 720 * HOUR, "plan-1",
    )  # fmt: skip
    [grant] = story.of(A, at(1)).grants
    assert grant == GrantRecord(plan="pro", period_start=T0, credits=5000, reversed=True)


def test_an_exemption_ends_on_its_day(story: Remembering) -> None:
    exempt = (
        "INSERT INTO credit_pipeline.exemption (system, account, reason, until, set_by) VALUES (%s, %s, '', %s, '')"
    )
    for account, until in (("for_ever", None), ("until", at(2)), ("over", at(1))):
        story.product.run(exempt, "wix_app", account, until)
    story.product.run(exempt, "other", "not_ours", None)
    assert story.memory.exempt(at(1)) == {"for_ever", "until"}


def test_times_are_utc_whatever_the_databases_zone(story: Remembering) -> None:
    [name] = story.product.run("SELECT current_database()")[0].values()
    with psycopg.connect(story.product.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Kathmandu'")
    story.collect(0, seen(A, 0))
    [observed_state] = story.of(A, at(1)).states
    assert observed_state.as_of.isoformat() == "2026-03-01T12:00:00+00:00"
    assert story.memory.observations()["as_of"].to_pylist() == [at(0)]
