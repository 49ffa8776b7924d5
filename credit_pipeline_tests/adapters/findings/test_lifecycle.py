"""Decisions about findings, exemptions and the kill switch on a real Postgres: what changes, what is on record."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.domain.errors import DecisionError, NotInstalled, PlanError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.findings.ports import Chosen, Decided
from credit_pipeline_tests.adapters.history.test_memory import HOUR, A, B, Remembering, a_finding, an_event, at, seen
from credit_pipeline_tests.adapters.plans.test_write_path_races import GATE, GATED_TRIGGER, WAITING, until
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    Product,
    a_copied_product,
    an_upgrade,
    apply_all,
    chain_faults,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases

EVA = Decided(who="eva", reason="I looked at it")
ALL = Chosen()
EVERY_STATE = ("open", "acknowledged", "accepted", "resolved")


class Deciding(Remembering):
    """A memory with people beside it, whose clock a test sets."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        self.now = at(1)
        self.life_of = PostgresLifecycle(product.url, product.system, clock=lambda: self.now)

    def acts(self) -> list[tuple[Any, ...]]:
        """(what, subject, who, reason) of every act, oldest first."""
        rows = self.product.run("SELECT what, subject, who, reason FROM credit_pipeline.act ORDER BY id")
        return [tuple(row.values()) for row in rows]

    def detail(self) -> dict[str, Any]:
        """What else the newest act says."""
        detail: dict[str, Any] = self.product.run("SELECT detail FROM credit_pipeline.act ORDER BY id DESC")[0][
            "detail"
        ]
        return detail


@pytest.fixture
def story(databases: Databases) -> Iterator[Deciding]:
    told = Deciding(a_copied_product(databases))
    with closing(told.memory), closing(told.life_of):
        yield told


def test_the_longest_open_are_listed_first_with_their_life(story: Deciding) -> None:
    story.collect(0, found=(a_finding("old"), an_event("event")))
    story.collect(1, found=(a_finding("old"), a_finding("new", B, delta=None)))
    listed = story.life_of.mismatches(("open",), ALL)
    assert [(one.fingerprint, one.account_id, one.opened_at, one.seen_count, one.delta) for one in listed] == [
        ("event", A, at(0), 1, 4900),
        ("old", A, at(0), 2, 4900),
        ("new", B, at(1), 1, None),
    ]
    assert (listed[0].is_event, listed[0].last_seen, listed[1].last_seen) == (True, at(0), at(1))
    assert (listed[0].evidence, listed[0].expected, listed[0].actual) == (
        {"proof": "floor"},
        {"plan": "pro"},
        {"plan": "free"},
    )
    assert (listed[0].decided_by, listed[0].decided_at, listed[0].reason) == (None, None, None)
    assert (listed[1].first_seen, listed[2].first_seen) == (at(0), at(1))


def test_a_closed_finding_says_why(story: Deciding) -> None:
    story.collect(0, found=(an_event("closed"),))
    story.collect(1, closed=(("closed", "restored"),))
    [one] = story.life_of.mismatches(("resolved",), ALL)
    assert (one.fingerprint, one.state, one.closed_why) == ("closed", "resolved", "restored")


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (ALL, ["e", "f", "g"]),
        (Chosen(codes=("plan_mismatch",)), ["f", "g"]),
        (Chosen(accounts=(B,)), ["g"]),
        (Chosen(codes=("plan_mismatch",), accounts=(A,)), ["f"]),
        (Chosen(fingerprints=("g", "e")), ["e", "g"]),
        (Chosen(codes=("dunning",)), []),
    ],
)
def test_findings_are_chosen_by_every_word_given(story: Deciding, chosen: Chosen, found: list[str]) -> None:
    story.collect(0, found=(an_event("e"), a_finding("f"), a_finding("g", B)))
    assert [one.fingerprint for one in story.life_of.named(chosen)] == found
    assert [one.fingerprint for one in story.life_of.mismatches(EVERY_STATE, chosen)] == found
    assert story.life_of.counts(chosen) == ({"open": len(found)} if found else {})


def test_another_systems_findings_are_not_seen_or_decided(story: Deciding) -> None:
    story.collect(0, found=(a_finding("f"),))
    story.product.run("UPDATE credit_pipeline.mismatch SET system = 'other'")
    assert story.life_of.named(ALL) == []
    assert story.life_of.accept(["f"], EVA, until=None) == []
    assert story.acts() == []


def test_acknowledged_is_noted_with_who_and_why_and_stays_what_it_was(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"), a_finding("f")))
    assert story.life_of.acknowledge(["e"], EVA) == ["e"]
    [one] = story.life_of.mismatches(("acknowledged",), ALL)
    assert (one.fingerprint, one.opened_at, one.decided_by, one.reason) == ("e", at(0), "eva", "I looked at it")
    assert story.acts() == [("ack", "e", "eva", "I looked at it")]
    assert story.detail() == {"account": A, "code": "unexplained_decrease", "was": "open"}
    assert [one.fingerprint for one in story.of(A, at(1)).open_mismatches] == ["e", "f"]


def test_acknowledging_twice_changes_and_records_nothing_more(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"),))
    story.life_of.acknowledge(["e"], EVA)
    assert story.life_of.acknowledge(["e"], Decided(who="ann", reason="me too")) == []
    assert len(story.acts()) == 1


def test_accepted_counts_no_more_and_is_not_watched(story: Deciding) -> None:
    story.collect(0, seen(A, 0), found=(an_event("e"), a_finding("f", B)))
    assert story.life_of.accept(["e"], EVA, until=None) == ["e"]
    assert story.life("e", "state", "closed_at", "closed_why", "accepted_until") == (
        "accepted",
        at(1),
        "I looked at it",
        None,
    )
    assert story.of(A, at(2)).accepted == {"e"}
    assert story.of(A, at(2)).open_mismatches == ()
    assert story.memory.watched() == {B}
    assert story.detail() == {"account": A, "code": "unexplained_decrease", "was": "open", "until": None}


def test_accepting_again_changes_the_end_and_is_on_record_twice(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"),))
    story.life_of.accept(["e"], EVA, until=None)
    assert story.life_of.accept(["e"], Decided(who="ann", reason="for a day"), until=at(4)) == ["e"]
    [one] = story.life_of.mismatches(("accepted",), ALL)
    assert (one.accepted_until, one.decided_by, one.reason) == (at(4), "ann", "for a day")
    assert story.acts() == [("accept", "e", "eva", "I looked at it"), ("accept", "e", "ann", "for a day")]
    assert story.detail()["was"] == "accepted"


def test_what_is_resolved_cannot_be_decided(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"),), closed=(("e", "restored"),))
    assert story.life_of.accept(["e", "unknown"], EVA, until=None) == []
    assert story.life_of.acknowledge(["e", "unknown"], EVA) == []
    assert story.life("e", "state", "closed_why") == ("resolved", "restored")
    assert story.acts() == []


def test_an_acceptance_that_ran_out_is_open_before_any_run_says_so(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"), a_finding("f")))
    story.life_of.accept(["e", "f"], EVA, until=at(2))
    story.now = at(2) - timedelta(microseconds=1)
    assert story.life_of.counts(ALL) == {"accepted": 2}
    story.now = at(2)
    assert story.life_of.counts(ALL) == {"open": 2}
    [one, _] = story.life_of.mismatches(("open",), ALL)
    assert (one.opened_at, one.accepted_until, one.decided_by) == (at(2), None, None)
    assert story.memory.watched() == {A}
    assert [one.fingerprint for one in story.of(A, at(2)).open_mismatches] == ["e"], "the other is found anew"


def test_an_acceptance_that_ran_out_can_be_acknowledged(story: Deciding) -> None:
    story.collect(0, found=(an_event("e"),))
    story.life_of.accept(["e"], EVA, until=at(2))
    story.now = at(3)
    assert story.life_of.acknowledge(["e"], EVA) == ["e"]
    names = ("state", "opened_at", "accepted_until", "closed_at", "closed_why")
    assert story.life("e", *names) == ("acknowledged", at(2), None, None, None)
    story.collect(4, found=(an_event("e"),))
    assert story.life("e", "state", "opened_at") == ("acknowledged", at(2))


def test_what_mended_itself_while_accepted_is_resolved_once_that_is_over(story: Deciding) -> None:
    story.collect(0, seen(A, 0), found=(an_event("e"), a_finding("f"), a_finding("for_ever")))
    story.life_of.accept(["e", "f"], EVA, until=at(3))
    story.life_of.accept(["for_ever"], EVA, until=None)
    story.collect(2, closed=(("e", "restored"),))
    assert [story.life(one, "state") for one in ("e", "f", "for_ever")] == [("accepted",)] * 3
    story.collect(4, closed=(("e", "restored"),))
    assert [story.life(one, "state") for one in ("e", "f", "for_ever")] == [("resolved",), ("resolved",), ("accepted",)]


def test_thousands_are_accepted_in_one_go(story: Deciding) -> None:
    names = [f"f{number:05}" for number in range(20_000)]
    story.collect(0, found=tuple(a_finding(name, f"acct-{name}") for name in names))
    assert story.life_of.accept(names, EVA, until=None) == names
    assert story.life_of.counts(ALL) == {"accepted": 20_000}
    assert len(story.acts()) == 20_000


def test_two_people_who_decide_at_once_decide_each_finding_once(story: Deciding) -> None:
    names = [f"f{number:04}" for number in range(2_000)]
    story.collect(0, found=tuple(a_finding(name) for name in names))
    done: list[int] = []

    def decide(order: list[str]) -> None:
        with closing(PostgresLifecycle(story.product.url, PUBLIC)) as mine:
            done.append(len(mine.acknowledge(order, EVA)))

    people = [threading.Thread(target=decide, args=(order,)) for order in (names, names[::-1])]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(done) == [0, 2_000]
    assert len(story.acts()) == 2_000


# Exemptions


def test_an_exemption_is_kept_with_who_why_and_its_end(story: Deciding) -> None:
    assert story.life_of.exempt([B, A, A], EVA, until=at(9)) == []
    kept = [(one.account_id, one.reason, one.until, one.set_by) for one in story.life_of.exemptions()]
    assert kept == [(A, "I looked at it", at(9), "eva"), (B, "I looked at it", at(9), "eva")]
    assert story.memory.exempt(at(8)) == {A, B}
    assert story.memory.exempt(at(9)) == frozenset()
    assert [act[:2] for act in story.acts()] == [("exempt", A), ("exempt", B)]
    assert datetime.fromisoformat(story.detail()["until"]) == at(9)
    assert story.detail()["was"] is None


def test_said_again_it_replaces_the_words_and_the_old_ones_are_on_record(story: Deciding) -> None:
    story.life_of.exempt([A], EVA, until=at(9))
    assert story.life_of.exempt([A, B], Decided(who="ann", reason="staff"), until=None) == [A]
    kept = {one.account_id: (one.reason, one.until, one.set_by) for one in story.life_of.exemptions()}
    assert kept == {A: ("staff", None, "ann"), B: ("staff", None, "ann")}
    [was] = [
        row["detail"]["was"]
        for row in story.product.run("SELECT detail FROM credit_pipeline.act WHERE subject = %s AND who = 'ann'", A)
    ]
    assert (was["reason"], was["set_by"]) == ("I looked at it", "eva")


def test_an_exemption_is_ended_and_its_words_are_on_record(story: Deciding) -> None:
    story.life_of.exempt([A, B], EVA, until=None)
    story.life_of.end_exemptions([A], Decided(who="ann", reason="left us"))
    assert [one.account_id for one in story.life_of.exemptions()] == [B]
    assert story.acts()[-1] == ("exempt_end", A, "ann", "left us")
    assert story.detail()["was"]["reason"] == "I looked at it"


def test_ending_what_is_not_exempt_ends_nothing(story: Deciding) -> None:
    story.life_of.exempt([A], EVA, until=None)
    with pytest.raises(DecisionError, match="`acct-b` is not exempt"):
        story.life_of.end_exemptions([A, B], EVA)
    assert [one.account_id for one in story.life_of.exemptions()] == [A]
    assert len(story.acts()) == 1


# The kill switch


def test_stop_and_resume_are_on_record_and_can_be_repeated(story: Deciding) -> None:
    life_of = story.life_of
    assert life_of.stopped() is None
    assert life_of.stop(EVA) is True
    first = life_of.stopped()
    assert first is not None
    assert (first.by, first.reason) == ("eva", "I looked at it")
    assert life_of.stop(Decided(who="ann", reason="me too")) is False
    assert life_of.stopped() == first
    assert life_of.resume(Decided(who="ann", reason="found it")) is True
    assert life_of.resume(Decided(who="ann", reason="found it")) is False
    assert life_of.stopped() is None
    assert [act[0] for act in story.acts()] == ["stop", "resume"]
    assert story.detail()["stop_reason"] == "I looked at it"
    assert datetime.fromisoformat(story.detail()["stopped_at"]) == first.since


def test_a_switch_set_past_the_command_is_seen_without_a_name(story: Deciding) -> None:
    story.life_of.stop(EVA)
    story.life_of.resume(EVA)
    story.product.run("UPDATE credit_pipeline.control SET stopped_at = now() + interval '1 s'")
    stopped = story.life_of.stopped()
    assert stopped is not None
    assert (stopped.by, stopped.reason) == (None, None)


def test_stop_takes_effect_within_the_batch_under_way_and_the_plan_goes_on_after_resume(story: Deciding) -> None:
    """Batches of two; the second waits in the middle while somebody types `stop`."""
    product = story.product
    accounts = [f"a{number}" for number in range(8)]
    for account in accounts:
        product.add(account, "starter", 1000)
    product.run(GATED_TRIGGER.replace("{", "{{").replace("}", "}}"))
    refusals: list[str] = []
    stops: list[bool] = []
    with product.plans() as plans:
        plan_id = started(plans, *map(an_upgrade, accounts))

        def apply() -> None:
            try:
                apply_all(plans, plan_id, size=2)
            except PlanError as refusal:
                refusals.append(str(refusal))

        applier = threading.Thread(target=apply)
        stopper = threading.Thread(target=lambda: stops.append(story.life_of.stop(EVA)))
        with psycopg.connect(product.url, autocommit=True) as gate:

            def waiting(number: int) -> bool:
                return len(gate.execute(WAITING).fetchall()) == number

            gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            applier.start()
            until(lambda: waiting(1))
            stopper.start()
            until(lambda: waiting(2))
            gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
        for thread in (applier, stopper):
            thread.join(30)
        assert stops == [True]
        [refusal] = refusals
        assert refusal.startswith("wix_app: stopped since ")
        assert refusal.endswith("(I looked at it): `credit-pipeline resume wix_app` lets it write again")
        labels = [product.balance(account)[0] for account in accounts]
        assert labels == ["pro"] * 4 + ["starter"] * 4
        assert [row.outcome for row in plans.load(plan_id).rows] == ["changed"] * 4 + [None] * 4

        story.life_of.resume(EVA)
        assert names_of(apply_all(plans, plan_id, size=2)) == ["changed"] * 4
        assert {product.balance(account) for account in accounts} == {("pro", 6000, 0)}
        assert chain_faults(plans) == []


# The record


@pytest.mark.parametrize(
    "statement",
    ["UPDATE credit_pipeline.act SET who = 'x'", "DELETE FROM credit_pipeline.act", "TRUNCATE credit_pipeline.act"],
)
def test_the_record_is_append_only(story: Deciding, statement: str) -> None:
    story.life_of.stop(EVA)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="act is append-only"):
        story.product.run(statement)
    assert len(story.acts()) == 1


def test_the_record_names_the_databases_login_beside_the_person(story: Deciding) -> None:
    story.life_of.stop(EVA)
    [row] = story.product.run("SELECT login = session_user AS mine, system, now() - at AS ago FROM credit_pipeline.act")
    assert (row["mine"], row["system"]) == (True, "wix_app")
    assert timedelta(0) <= row["ago"] < HOUR


@pytest.mark.parametrize("blank", [Decided(who=" ", reason="why"), Decided(who="eva", reason="")])
def test_without_a_record_nothing_is_changed(story: Deciding, blank: Decided) -> None:
    """The change and its row are one transaction: where the row is refused, so is the change."""
    story.collect(0, found=(an_event("e"),))
    attempts = (
        lambda: story.life_of.accept(["e"], blank, until=None),
        lambda: story.life_of.exempt([A], blank, until=None),
        lambda: story.life_of.stop(blank),
    )
    for attempt in attempts:
        with pytest.raises(Exception, match="23514"):
            attempt()
    assert story.life("e", "state") == ("open",)
    assert story.life_of.exemptions() == []
    assert story.life_of.stopped() is None


def test_a_database_without_our_schema_says_what_to_run(database: str) -> None:
    with closing(PostgresLifecycle(database, PUBLIC)) as lifecycle:
        for attempt in (lifecycle.stopped, lambda: lifecycle.stop(EVA), lambda: lifecycle.named(ALL)):
            with pytest.raises(NotInstalled, match="run `credit-pipeline init wix_app`"):
                attempt()


def test_a_system_that_is_not_installed_here_can_neither_be_stopped_nor_exempted(story: Deciding) -> None:
    with closing(PostgresLifecycle(story.product.url, replace(PUBLIC, name="other"))) as other:
        for attempt in (lambda: other.stop(EVA), lambda: other.exempt([AccountId("a")], EVA, until=None)):
            with pytest.raises(NotInstalled, match="run `credit-pipeline init other`"):
                attempt()
        assert other.exemptions() == []
