"""Alerts of a walled install, by real logins: the corrector's work tells people and delivers, the others only read."""

from contextlib import closing
from datetime import timedelta

import pytest

from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.services.alerts.alerts import drain
from credit_pipeline.services.alerts.ports import AlertKind
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.adapters.alerts.alert_product import Listener, a_finding
from credit_pipeline_tests.adapters.products.counter_product import START, a_plan, an_upgrade
from credit_pipeline_tests.adapters.products.inbox_product import failed
from credit_pipeline_tests.adapters.products.walled_product import Walled, refused

DENIED = "42501"


def test_each_role_does_its_part_and_no_more(database: str) -> None:
    walled = Walled(database)
    corrector, approver, reader = (walled.login(word, word) for word in ("corrector", "approver", "reader"))
    _record(walled, corrector)
    with walled.plans(corrector) as plans:
        plans.set_state(plans.save(a_plan(an_upgrade("a"))).plan_id, "quarantined", ["the first plan: approve it"])
    walled.product.run("SELECT credit_pipeline.record_webhook('wix', 'evt_1', 'x', NULL, '')")
    walled.product.run("UPDATE credit_pipeline.webhook_event SET attempts = 7")
    with closing(PostgresInbox(corrector, walled.system)) as inbox:
        [claim] = inbox.claim("worker")
        inbox.settle(claim, failed())
    listener = Listener("log")
    with closing(PostgresOutbox(corrector, walled.system)) as outbox:
        assert outbox.note(AlertKind.RUN_FAILED, "run-1", {"job": "wix_app_reconcile"})
        told = drain(walled.system, outbox, [listener], by="corrector")
        assert (told.aged, told.claimed, told.messages, told.failures) == (1, 6, 6, {})
        assert outbox.unheard().waiting == 0
    assert len(listener.heard) == 6
    for url in (approver, reader):
        with closing(PostgresOutbox(url, walled.system)) as outbox:
            assert outbox.installed()
            assert (outbox.unheard().waiting, list(outbox.waiting(10))) == (0, [])
            with pytest.raises(StoreError):
                outbox.claim("nobody")
            with pytest.raises(StoreError):
                outbox.age(timedelta(hours=24))
            with pytest.raises(StoreError):
                outbox.note(AlertKind.RUN_FAILED, "run-2", {})
    assert refused(corrector, "DELETE FROM credit_pipeline.outbox") == DENIED
    assert refused(corrector, "UPDATE credit_pipeline.outbox SET content = '{}'") == DENIED
    assert refused(corrector, "SELECT credit_pipeline.tell_of_dead_webhook()") in {DENIED, "0A000"}


def _record(walled: Walled, url: str) -> None:
    """One complete collection with one finding, in March."""
    collection = CollectionRecord(run_id="run-1", as_of=START, answered=1, population=1, audit_seq=0)
    with closing(PostgresMemory(walled.system, url)) as memory:
        memory.record(collection, changed=OBSERVATIONS.empty_table(), mismatches=[a_finding()], closed=[])
