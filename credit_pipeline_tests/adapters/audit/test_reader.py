"""The audit of a real database: read whole in one snapshot, and seven kinds of tampering by one who may do anything.

The judgement itself has its tests in `services/test_audit.py`.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import psycopg
import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.audit import Anchor
from credit_pipeline.domain.errors import NotInstalled
from credit_pipeline.services.audit.verify import Verification, verify
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.plans.test_write_path import by_hand
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    START,
    Product,
    a_copied_product,
    a_correction,
    a_grant,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
    chain_faults,
    started,
)
from credit_pipeline_tests.adapters.products.tampering import (
    CUT_AND_REWOUND,
    DELETED_ROW,
    EDITED_COLUMN,
    EDITED_PAYLOAD,
    SWAPPED_ROWS,
    TRUNCATED,
    rechain,
    tamper,
)
from credit_pipeline_tests.conftest import Databases


@pytest.fixture
def product(databases: Databases) -> Product:
    """Three upgrades, applied."""
    made = a_copied_product(databases)
    for account in ("a", "b", "c"):
        made.add(account, "starter", 1000)
    with made.plans() as plans:
        apply_all(plans, started(plans, *(an_upgrade(account) for account in ("a", "b", "c"))))
    return made


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


def verified(plans: PostgresPlans, *anchors: Anchor) -> Verification:
    with plans.audit_snapshot() as snapshot:
        return verify("wix_app", snapshot, anchors)


def noted(plans: PostgresPlans) -> Anchor:
    seq, head = plans.audit_head()
    return Anchor(seq=seq, hash=head, noted="noted before")


def test_a_chain_that_nobody_touched_verifies_with_everything_beside_it(product: Product, plans: PostgresPlans) -> None:
    product.add("d", "pro", 100)
    product.add("e", "pro", 9000, 100)
    seen, lower = ("pro", 100, 0), ("pro", 9000, 100)
    restore = by_hand(a_correction("d", a_grant("d", 4900, fold=False), an_adjustment(50, "restore:f"), seen=seen))
    taken = by_hand(a_correction("e", an_adjustment(-3000, "clawback:f"), seen=lower))
    plan_id = plans.save(a_plan(restore, taken, an_upgrade("gone"))).plan_id
    plans.approve(plan_id, Selection(lane="approve"), "ann", "reviewed")
    plans.set_state(plan_id, "applying")
    assert sorted(one.outcome for one in apply_all(plans, plan_id)) == ["changed", "changed", "stale_skipped"]
    found = verified(plans, noted(plans))
    assert (found.faults, found.rows, found.anchors, found.head) == ((), 5, 1, plans.audit_head())


Tampering = Callable[[str], None]
REWRITTEN: Tampering = partial(rechain, edits={2: ("upgrade", "a gift")})
SEEN: dict[str, tuple[Tampering, tuple[str, int]]] = {
    "edited payload": (partial(tamper, statements=EDITED_PAYLOAD), ("payload_edited", 2)),
    "edited column": (partial(tamper, statements=EDITED_COLUMN), ("column_edited", 2)),
    "deleted row": (partial(tamper, statements=DELETED_ROW), ("row_missing", 2)),
    "swapped rows": (partial(tamper, statements=SWAPPED_ROWS), ("row_misplaced", 1)),
    "truncated": (partial(tamper, statements=TRUNCATED), ("head_differs", 3)),
}
SEEN_BY_AN_ANCHOR: dict[str, tuple[Tampering, tuple[str, int]]] = {
    "tail deleted, head rewound": (partial(tamper, statements=CUT_AND_REWOUND), ("anchor_missing", 3)),
    "edited, chained again": (REWRITTEN, ("anchor_differs", 3)),
}


@pytest.mark.parametrize("kind", SEEN)
def test_tampering_is_found_without_any_noted_head(product: Product, plans: PostgresPlans, kind: str) -> None:
    tampering, fault = SEEN[kind]
    assert verified(plans).verified
    tampering(product.url)
    found = verified(plans)
    assert fault in [(one.kind, one.seq) for one in found.faults]
    assert not any(one.kind.startswith("anchor") for one in found.faults)


@pytest.mark.parametrize("kind", SEEN_BY_AN_ANCHOR)
def test_tampering_that_leaves_all_consistent_is_found_by_a_noted_head_alone(
    product: Product, plans: PostgresPlans, kind: str
) -> None:
    tampering, fault = SEEN_BY_AN_ANCHOR[kind]
    anchor = noted(plans)
    tampering(product.url)
    assert verified(plans).faults == (), "the database agrees with itself"
    assert [(one.kind, one.seq) for one in verified(plans, anchor).faults] == [fault]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM credit_pipeline.taken_key WHERE audit_seq = 2", "key_differs"),
        ("INSERT INTO credit_pipeline.taken_key VALUES ('wix_app', 'x', 9)", "key_differs"),
        ("""DELETE FROM credit_pipeline."grant" WHERE account = 'b'""", "grant_differs"),
        ("""UPDATE credit_pipeline."grant" SET credits = 9 WHERE account = 'b'""", "grant_differs"),
        (
            """INSERT INTO credit_pipeline."grant" (system, account, plan, period_start, period_end, credits, plan_id)
               VALUES ('wix_app', 'b', 'pro', '2025-01-01', '2025-02-01', 5000, 'p')""",
            "grant_differs",
        ),
        ("UPDATE credit_pipeline.correction SET outcome = 'failed' WHERE account = 'b'", "correction_differs"),
        ("UPDATE credit_pipeline.correction SET audit_seq = NULL WHERE account = 'b'", "correction_differs"),
        ("UPDATE credit_pipeline.correction SET grant_credits = 9 WHERE account = 'b'", "correction_differs"),
        ("DELETE FROM credit_pipeline.correction WHERE account = 'b'", "correction_differs"),
    ],
)
def test_what_stands_beside_the_chain_must_agree_with_it(
    product: Product, plans: PostgresPlans, statement: str, kind: str
) -> None:
    tamper(product.url, statement)
    assert kind in {one.kind for one in verified(plans).faults}


def test_a_period_that_begins_within_a_second_has_the_key_the_plan_gave_it(databases: Databases) -> None:
    product = a_copied_product(databases)
    product.add("a", "starter", 1000)
    with product.plans() as plans:
        odd = a_correction(
            "a", a_grant("a", 5000, start=START + timedelta(milliseconds=700)), seen=("starter", 1000, 0)
        )
        assert [one.outcome for one in apply_all(plans, started(plans, odd))] == ["changed"]
        assert chain_faults(plans) == []


def test_a_snapshot_sees_nothing_that_is_committed_later(product: Product, plans: PostgresPlans) -> None:
    """Otherwise a run that applies meanwhile would look like tampering."""
    with plans.audit_snapshot() as snapshot:
        assert snapshot.head()[0] == 3
        product.add("d", "starter", 1000)
        with product.plans() as others:
            apply_all(others, started(others, an_upgrade("d")))
        assert verify("wix_app", snapshot).as_json()["rows"] == 3
    assert verified(plans).rows == 4


def test_a_snapshot_writes_nothing(plans: PostgresPlans) -> None:
    with plans.audit_snapshot() as snapshot, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        snapshot._cursor.execute("DELETE FROM credit_pipeline.taken_key")  # type: ignore[attr-defined]


def test_another_system_s_audit_in_the_same_database_is_another_chain(product: Product, plans: PostgresPlans) -> None:
    product.run(
        "INSERT INTO credit_pipeline.control (system, environment, config_hash) VALUES ('other', 'test', '');"
        "INSERT INTO credit_pipeline.audit (system, seq, payload, prev_hash, hash) VALUES ('other', 1, '{{}}', '', '')"
    )
    assert verified(plans).verified
    with plans.audit_snapshot() as snapshot:
        assert [row.seq for row in snapshot.rows()] == [1, 2, 3]


def test_a_database_without_our_schema_or_this_system_could_not_tell(database: str, product: Product) -> None:
    never = Product(database, PUBLIC).build()
    with never.plans() as plans, pytest.raises(NotInstalled, match="credit-pipeline init wix_app"):
        verified(plans)
    product.run("DELETE FROM credit_pipeline.catalogue")
    tamper(product.url, "DELETE FROM credit_pipeline.control")
    with product.plans() as plans, pytest.raises(NotInstalled, match="credit-pipeline init wix_app"):
        verified(plans)


def test_approvals_that_released_a_row_in_an_earlier_plan_belong_to_it(product: Product, plans: PostgresPlans) -> None:
    product.add("d", "pro", 9000)
    taken = by_hand(a_correction("d", an_adjustment(-100, "clawback:f"), seen=("pro", 9000, 0)))
    earlier = plans.save(a_plan(taken)).plan_id
    plans.approve(earlier, Selection(lane="approve"), "ann", "reviewed")
    plan_id = started(plans, taken)
    assert [one.outcome for one in apply_all(plans, plan_id)] == ["changed"]
    with plans.audit_snapshot() as snapshot:
        (approval,) = snapshot.approvals([plan_id])
        assert (approval["plan_id"], approval["approver"], approval["rows"]) == (earlier, "ann", 1)
        assert [plan["plan_id"] for plan in snapshot.plans([plan_id, "no such plan"])] == [plan_id]
        (first,) = snapshot.plans([next(snapshot.corrections()).plan_id])
        assert [one["lane"] for one in snapshot.approvals([first["plan_id"]])] == ["auto"]
