"""A walled install, asked by real logins: who may do what, and that nobody may do more.

How it is built is in `test_roles.py`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from credit_pipeline.adapters.stores.counter import CounterStore
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import PlanError, StoreError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.findings.ports import Chosen, Decided
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.adapters.products.counter_product import (
    a_correction,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
    chain_faults,
    names_of,
)
from credit_pipeline_tests.adapters.products.walled_product import FOUR_EYES, Walled, refused

DENIED = "42501"
AUTO, APPROVE = Selection(lane="auto"), Selection(lane="approve")
ANN = Decided(who="ann", reason="looked at it")

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_clawback(account: str) -> Correction:
    step = an_adjustment(-300, f"clawback:{account}")
    return a_correction(account, step, seen=("pro", 5000, 0), lane=Lane.APPROVE, codes=("grant_duplicate",))


def a_finding(account: str) -> Mismatch:
    return Mismatch(
        fingerprint=f"f-{account}", account_id=AccountId(account), billing_id=None, code="grant_missing",
        severity="error", lane="auto", is_event=False, expected={}, actual={}, evidence={}, delta=5000,
        first_seen=START, opened_at=START,
    )  # fmt: skip


def a_collection(as_of: datetime) -> CollectionRecord:
    return CollectionRecord(run_id="run-1", as_of=as_of, answered=1, population=1, audit_seq=0)


def an_observation(account: str, as_of: datetime) -> "object":
    row = dict.fromkeys(OBSERVATIONS.names) | {"account": account, "label": "starter", "total": 1000, "used": 0}
    return OBSERVATIONS.empty_table().from_pylist([row | {"as_of": as_of}], schema=OBSERVATIONS)


def test_a_login_of_the_corrector_alone_runs_the_whole_pipeline(database: str) -> None:
    walled = Walled(database)
    corrector = walled.login("corrector", "corrector")
    for account in ("a", "b", "c"):
        walled.product.add(account, "starter", 1000)
    assert len(CounterStore(walled.system, corrector).read()) == 3
    now = datetime.now(UTC)
    with walled.memory(corrector) as memory:
        seen = an_observation("a", now)
        memory.record(a_collection(now), changed=seen, mismatches=[a_finding("a")], closed=[])  # type: ignore[arg-type]
        later = a_collection(now + timedelta(seconds=1))
        memory.record(replace(later, run_id="run-2"), changed=seen.slice(1), mismatches=[], closed=[("f-a", "done")])  # type: ignore[attr-defined]
        assert memory.observations().num_rows == 1
    with walled.plans(corrector) as plans, walled.plans(walled.login("approver", "approver")) as desk:
        plan_id = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"), an_upgrade("c"))).plan_id
        desk.approve(plan_id, AUTO, "ann", "the first plan of a system")
        plans.set_state(plan_id, "applying")
        plans.hold(plan_id, {1: ("stale_skipped", "billing says free now")})
        assert names_of(apply_all(plans, plan_id)) == ["changed", "changed"]
        assert not any(plans.invariants(plan_id).values())
        assert not plans.note_apply(plan_id, None)
        plans.set_state(plan_id, "partly_applied")
        assert plans.load(plan_id).state == "partly_applied"
        assert chain_faults(plans) == []
        [_, newest] = plans.audit(plan_id=plan_id)
    assert walled.product.balance("b") == ("pro", 6000, 0)
    assert (newest["install"], newest["four_eyes"]) == ("walled", False)
    assert newest["session_user"] == f"corrector_{walled.database}"
    [row] = walled.product.run("SELECT by_role FROM instance_changes WHERE instance = 'b'")
    assert row["by_role"] == "postgres"  # the product's own SECURITY DEFINER trigger


FORBIDDEN = {
    "update the product": "UPDATE app_instances SET credits_total = 9999",
    "insert into the product": "INSERT INTO app_instances (instance_id) VALUES ('x')",
    "read another column": "SELECT owner_email FROM app_instances",
    "call the write function": "SELECT credit_pipeline.write_wix_app(c) FROM credit_pipeline.correction AS c",
    "forge an audit row": "INSERT INTO credit_pipeline.audit (system, seq, payload, prev_hash, hash)"
    " VALUES ('wix_app', 1, '{}', '', '')",
    "forge an approval": "INSERT INTO credit_pipeline.approval (system, plan_id, plan_digest, lane, row_digests,"
    " decision, approver, reason) SELECT system, plan_id, digest, 'auto', '{}', 'approve', 'me', 'x'"
    " FROM credit_pipeline.correction_plan",
    "approve": "SELECT credit_pipeline.decide(plan_id, 'auto', '{1}', 'approve', 'me', 'x')"
    " FROM credit_pipeline.correction_plan",
    "release a row": "UPDATE credit_pipeline.correction SET approved = true",
    "rewrite a row": "UPDATE credit_pipeline.correction SET grant_credits = 9999",
    "lift the limits": "UPDATE credit_pipeline.correction_plan SET limits_approved = true",
    "be somebody else": "UPDATE credit_pipeline.correction_plan SET created_by = 'ann'",
    "make a plan younger": "UPDATE credit_pipeline.correction_plan SET created_at = now()",
    "change a pin": "UPDATE credit_pipeline.control SET pins = '{}'",
    "resume": "UPDATE credit_pipeline.control SET stopped_at = NULL",
    "raise an allowance": "UPDATE credit_pipeline.catalogue SET credits = 99999",
    "forge a decision": "INSERT INTO credit_pipeline.act (system, what, who, reason)"
    " VALUES ('wix_app', 'stop', 'a', 'b')",
    "exempt": "INSERT INTO credit_pipeline.exemption (system, account, reason, set_by)"
    " VALUES ('wix_app', 'a', 'b', 'c')",
    "take a key": "INSERT INTO credit_pipeline.taken_key VALUES ('wix_app', 'k', 1)",
    "forget a plan": "DELETE FROM credit_pipeline.correction_plan",
    "empty the audit": "TRUNCATE credit_pipeline.audit",
    "add a function of ours": "CREATE FUNCTION credit_pipeline.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "add a function of the product's": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}


@pytest.fixture(scope="module")
def waiting(_databases: object) -> tuple[Walled, str, str, str]:
    """An install with a saved plan, and the URLs of a corrector, a reader and an approver. Nobody changes it."""
    walled = Walled(_databases.new())  # type: ignore[attr-defined]
    walled.product.add("a", "starter", 1000)
    urls = {word: walled.login(word, word) for word in ("corrector", "reader", "approver")}
    with walled.plans(urls["corrector"]) as plans:
        plans.save(a_plan(an_upgrade("a")))
    return walled, urls["corrector"], urls["reader"], urls["approver"]


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_corrector_may_not(waiting: tuple[Walled, str, str, str], statement: str) -> None:
    assert refused(waiting[1], statement) == DENIED


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("UPDATE credit_pipeline.correction_plan SET state = 'approved'", "CP205"),
        ("UPDATE credit_pipeline.correction_plan SET state = 'rejected'", "CP205"),
        ("UPDATE credit_pipeline.correction SET outcome = 'changed'", "CP205"),
        ("SET ROLE {owner}", DENIED),
        ("SET SESSION AUTHORIZATION postgres", DENIED),
    ],
)
def test_nor_decide_by_hand_what_becomes_of_a_plan(
    waiting: tuple[Walled, str, str, str], statement: str, state: str
) -> None:
    walled, corrector, *_ = waiting
    assert refused(corrector, statement.format(owner=f'"{walled.role("owner")}"')) == state


MAY_WRITE = """
SELECT c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', 'credit_pipeline') AND c.relkind = 'r'
  AND (has_any_column_privilege(%(role)s, c.oid, 'INSERT') OR has_any_column_privilege(%(role)s, c.oid, 'UPDATE')
       OR has_table_privilege(%(role)s, c.oid, 'DELETE') OR has_table_privilege(%(role)s, c.oid, 'TRUNCATE'))
ORDER BY 1
"""
MAY_RUN = """
SELECT p.proname AS name FROM pg_proc AS p WHERE p.pronamespace = 'credit_pipeline'::regnamespace
  AND has_function_privilege(%(role)s, p.oid, 'EXECUTE') ORDER BY 1
"""


def allowed(walled: Walled, query: str, word: str) -> list[str]:
    with psycopg.connect(walled.product.url) as connection:
        connection.execute("SET search_path = pg_catalog")
        return [name for (name,) in connection.execute(query.encode(), {"role": walled.role(word)})]


def test_the_reader_cannot_write_at_all_and_sees_everything_it_needs(waiting: tuple[Walled, str, str, str]) -> None:
    walled, _, reader, _ = waiting
    assert allowed(walled, MAY_WRITE, "reader") == []
    assert allowed(walled, MAY_RUN, "reader") == []
    store = CounterStore(walled.system, reader)
    assert store.read()["account_id"].to_pylist() == ["a"]
    assert store.catalogue() == {"free": 100, "starter": 1000, "pro": 5000}
    with walled.memory(reader) as memory, walled.plans(reader) as plans:
        assert memory.installed()
        assert memory.observations().num_rows == 0
        assert list(memory.remembered([AccountId("a")], datetime.now(UTC))) == ["a"]
        assert memory.watched() == frozenset()
        assert plans.pinned()["pro"] == 5000
        assert len(plans.plans()) == 1
        assert plans.audit_head()[0] == 0
        assert chain_faults(plans) == []
        with pytest.raises(StoreError, match="lacks a right"):
            plans.save(a_plan(an_upgrade("a")))


def test_what_each_role_may_write_is_this_and_no_more(waiting: tuple[Walled, str, str, str]) -> None:
    walled = waiting[0]
    ours = "credit_pipeline."
    assert allowed(walled, MAY_WRITE, "corrector") == [
        ours + name
        for name in (
            *("correction", "correction_plan", "mismatch", "observation", "observation_log", "outbox", "snapshot"),
            *("sync_request", "webhook_event"),
        )
    ]
    assert allowed(walled, MAY_WRITE, "approver") == [
        ours + name for name in ("act", "control", "exemption", "mismatch", "webhook_event")
    ]
    assert allowed(walled, MAY_RUN, "approver") == ["decide"]
    assert "decide" not in allowed(walled, MAY_RUN, "corrector")
    assert {"apply_batch", "inherit"} <= set(allowed(walled, MAY_RUN, "corrector"))
    foreign = [name for name in allowed(walled, MAY_WRITE, "owner") if not name.startswith(ours)]
    assert foreign == ["public.app_instances"]


APPROVERS_LIMITS = {
    "change the product": "UPDATE app_instances SET credits_total = 9999",
    "read the product": "SELECT credits_total FROM app_instances",
    "apply": "SELECT credit_pipeline.apply_batch(plan_id, 1) FROM credit_pipeline.correction_plan",
    "save a plan": "INSERT INTO credit_pipeline.correction_plan (plan_id) VALUES ('x')",
    "write the decision itself": "UPDATE credit_pipeline.correction SET approved = true",
    "sign for another login": "INSERT INTO credit_pipeline.act (system, what, who, reason, login)"
    " VALUES ('wix_app', 'stop', 'a', 'b', 'c')",
    "change a pin": "UPDATE credit_pipeline.control SET pins = '{}'",
    "forget who decided": "DELETE FROM credit_pipeline.act",
}


@pytest.mark.parametrize("statement", APPROVERS_LIMITS.values(), ids=APPROVERS_LIMITS)
def test_the_approver_may_not(waiting: tuple[Walled, str, str, str], statement: str) -> None:
    assert refused(waiting[3], statement) == DENIED


def test_the_approver_decides_and_the_corrector_carries_it_out(database: str) -> None:
    walled = Walled(database, FOUR_EYES)
    corrector, approver = walled.login("corrector", "corrector"), walled.login("approver", "approver")
    walled.product.add("a", "pro", 5000)
    with walled.plans(corrector) as plans, walled.plans(approver) as desk:
        plan_id = plans.save(a_plan(a_clawback("a"))).plan_id
        assert not plans.load(plan_id).rows[0].approved
        assert desk.approve(plan_id, APPROVE, "ann", "granted twice") == 1
        again = plans.save(a_plan(a_clawback("a")))
        assert again.rows[0].approved
        assert again.four_eyes
        plans.set_state(again.plan_id, "applying")
        [outcome] = apply_all(plans, again.plan_id)
        assert outcome.outcome == "changed"
        [change] = plans.audit(plan_id=again.plan_id)
    assert walled.product.balance("a") == ("pro", 4700, 0)
    assert (change["approver"], change["four_eyes"]) == ("ann", True)
    [made] = walled.product.run("SELECT login, approver, four_eyes FROM credit_pipeline.approval")
    assert made == {"login": f"approver_{walled.database}", "approver": "ann", "four_eyes": True}


def test_the_approver_rejects_and_an_expired_plan_expires(database: str) -> None:
    walled = Walled(database)
    corrector, approver = walled.login("corrector", "corrector"), walled.login("approver", "approver")
    with walled.plans(corrector) as plans, walled.plans(approver) as desk:
        rejected = plans.save(a_plan(an_upgrade("a"))).plan_id
        desk.reject(rejected, "ann", "no")
        assert plans.load(rejected).state == "rejected"
        old = plans.save(a_plan(an_upgrade("b"))).plan_id
        walled.product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '61 minutes'")
        with pytest.raises(PlanError, match="the plan is 61 min old, limit 60"):
            desk.approve(old, AUTO, "ann", "late")
        assert plans.load(old).state == "expired"


def test_four_eyes_are_two_database_users(database: str) -> None:
    walled = Walled(database, FOUR_EYES)
    both = walled.login("both", "corrector", "approver")
    other = walled.login("other", "approver")
    with walled.plans(both) as plans, walled.plans(other) as desk:
        plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
        with pytest.raises(PlanError, match="four eyes: the database user that made this plan cannot approve it"):
            plans.approve(plan_id, AUTO, "ann", "i made it")
        assert plans.load(plan_id).state == "proposed"
        assert desk.approve(plan_id, AUTO, "bob", "i did not") == 1
        plans.reject(plan_id, "ann", "who made it may always take it back")


def test_what_people_decide_about_findings_is_the_approvers(database: str) -> None:
    walled = Walled(database)
    corrector, approver = walled.login("corrector", "corrector"), walled.login("approver", "approver")
    now = datetime.now(UTC)
    with walled.memory(corrector) as memory:
        memory.record(
            a_collection(now),
            changed=OBSERVATIONS.empty_table(),
            mismatches=[a_finding("a"), a_finding("b")],
            closed=[],
        )
    with walled.lifecycle(approver) as desk:
        assert desk.acknowledge(["f-a"], ANN) == ["f-a"]
        assert desk.accept(["f-b"], ANN, until=None) == ["f-b"]
        assert desk.exempt([AccountId("c")], ANN, until=None) == []
        assert desk.exempt([AccountId("c")], ANN, until=now) == ["c"]
        desk.end_exemptions([AccountId("c")], ANN)
        assert desk.stop(ANN)
        assert desk.resume(ANN)
        assert len(desk.mismatches(["accepted"], Chosen())) == 1
    with walled.lifecycle(corrector) as desk, pytest.raises(StoreError, match="lacks a right"):
        desk.exempt([AccountId("c")], ANN, until=None)
    rows = walled.product.run("SELECT DISTINCT login FROM credit_pipeline.act")
    assert rows == [{"login": f"approver_{walled.database}"}]
