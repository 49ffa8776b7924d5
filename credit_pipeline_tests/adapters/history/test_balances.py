"""Balances over time on a real Postgres, against a sum by hand; and the findings that wait, less what was corrected."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.errors import StoreError
from credit_pipeline_tests.adapters.history.test_memory import HOUR, A, B, Remembering, a_finding, an_event, at, seen
from credit_pipeline_tests.adapters.products.counter_product import (
    a_copied_product,
    an_upgrade,
    apply_all,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def story(databases: Databases) -> Iterator[Remembering]:
    told = Remembering(a_copied_product(databases))
    yield told
    told.memory.close()


def points(story: Remembering, most: int = 100) -> list[BalancePoint]:
    memory = story.memory
    return memory.balances_at(memory.collections(LONG_AGO, most))


def test_nothing_was_seen_before_the_first_collection(story: Remembering) -> None:
    assert points(story) == []


def test_an_account_counts_with_what_it_held_until_the_collection_that_saw_it_change(story: Remembering) -> None:
    story.collect(0, seen(A, 0, total=5000, used=100), seen(B, 0, total=300, used=0))
    story.collect(1)
    story.collect(2, seen(A, 2, total=5000, used=900))
    story.collect(3, seen("late", 3, total=10, used=20))
    held = [(p.at, p.accounts, p.available, p.granted) for p in points(story)]
    assert held == [
        (at(0), 2, 5200, 5300),
        (at(1), 2, 5200, 5300),
        (at(2), 2, 4400, 5300),
        (at(3), 3, 4390, 5310),
    ]


def test_an_account_that_gave_no_answer_is_no_fall_of_the_sum(story: Remembering) -> None:
    story.collect(0, seen(A, 0), seen(B, 0))
    story.collect(1, seen(A, 1, unanswered_since=at(0)))
    story.collect(2)
    story.collect(3, seen(A, 3, used=1))
    assert [p.available for p in points(story)] == [10_000, 10_000, 10_000, 9_999]


def test_the_sum_agrees_with_a_replay_of_random_months(story: Remembering) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    held: dict[str, tuple[int, int]] = {}
    replayed = []
    for number in range(25):
        changed = {f"acct-{n}": (chance.randrange(9000), chance.randrange(9000)) for n in range(30)}
        changed = {name: what for name, what in changed.items() if chance.random() < 0.2}
        story.collect(number, *(seen(name, number, total=t, used=u) for name, (t, u) in changed.items()))
        held |= changed
        total, used = (sum(what[place] for what in held.values()) for place in (0, 1))
        replayed.append((at(number), len(held), total - used, total))
    every = [(p.at, p.accounts, p.available, p.granted) for p in points(story)]
    assert every == replayed, f"seed {seed}"
    some = [(p.at, p.accounts, p.available, p.granted) for p in points(story, most=7)]
    assert some == replayed[::4], f"seed {seed}"


@pytest.mark.parametrize(("most", "numbers"), [(1, [9]), (3, [1, 5, 9]), (9, [1, 3, 5, 7, 9]), (10, list(range(10)))])
def test_at_most_so_many_collections_evenly_and_always_the_newest(
    story: Remembering, most: int, numbers: list[int]
) -> None:
    for number in range(10):
        story.collect(number)
    assert story.memory.collections(LONG_AGO, most) == [at(number) for number in numbers]
    assert story.memory.collections(at(8), 100) == [at(8), at(9)]


def test_a_sum_that_has_to_wait_is_given_up_in_a_sentence(story: Remembering) -> None:
    story.collect(0, seen(A, 0))
    with psycopg.connect(story.product.url) as other:
        other.execute("LOCK TABLE credit_pipeline.observation_log IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="wix_app: "):
            points(story)


def test_our_corrections_are_summed_into_the_collection_that_saw_them(story: Remembering) -> None:
    story.product.add(A, "starter", 1000)
    story.collect(0, seen(A, 0, label="starter", total=1000, billed_plan="starter"))
    with story.product.plans() as plans:
        assert names_of(apply_all(plans, started(plans, an_upgrade(A)))) == ["changed"]
    now = datetime.now(UTC)
    story.collect(1, seen(A, 1, label="pro", total=6000, as_of=now + HOUR), as_of=now + HOUR)
    assert [(p.available, p.corrected) for p in points(story)] == [(1000, 0), (6000, 5000)]


def test_what_waits_is_open_or_acknowledged_and_of_no_exempt_account(story: Remembering) -> None:
    names = ("open", "acknowledged", "accepted", "resolved")
    story.collect(0, found=(*map(an_event, names), a_finding("exempt", B)))
    for name in names:
        story.product.run("UPDATE credit_pipeline.mismatch SET state = fingerprint WHERE fingerprint = %s", name)
    assert {one.fingerprint for one in story.memory.waiting(at(1))} == {"open", "acknowledged", "exempt"}
    story.product.run(
        "INSERT INTO credit_pipeline.exemption (system, account, reason, until, set_by) "
        "VALUES ('wix_app', %s, 'staff', %s, 'eva')",
        B,
        at(2),
    )
    (one, _) = story.memory.waiting(at(1))
    assert (one.account_id, one.code, one.expected, one.actual) == (
        A, "unexplained_decrease", {"plan": "pro"}, {"plan": "free"},
    )  # fmt: skip
    assert (one.opened_at, one.first_seen) == (at(0), at(0))
    assert {one.fingerprint for one in story.memory.waiting(at(2))} == {"open", "acknowledged", "exempt"}


def test_what_was_corrected_since_the_last_collection_waits_no_more(story: Remembering) -> None:
    """Only the codes that the correction was for: the account's others wait on."""
    story.product.add(A, "starter", 1000)
    correction = an_upgrade(A)
    code = correction.codes[0]
    found = (a_finding("mended", A, code=code), an_event("lost", A), a_finding("other", B, code=code))
    story.collect(0, seen(A, 0, billed_plan="starter"), found=found)
    with story.product.plans() as plans:
        assert names_of(apply_all(plans, started(plans, correction))) == ["changed"]
        head = plans.audit_head()[0]
    assert {one.fingerprint for one in story.memory.waiting(at(1))} == {"lost", "other"}
    story.collect(1, found=found, audit_seq=head)
    assert {one.fingerprint for one in story.memory.waiting(at(1))} == {"mended", "lost", "other"}, "it is back"
