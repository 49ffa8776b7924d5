"""The doors of a walled install, asked by real logins: the corrector works records off, the approver discards them."""

from contextlib import closing
from dataclasses import replace

import pytest

from credit_pipeline.adapters.inbox.sync_requests import PostgresSyncRequests
from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.adapters.install.install import Wanted, install
from credit_pipeline.config.webhooks import WebhookTable
from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline.services.sync.ports import RecordState
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product
from credit_pipeline_tests.adapters.products.inbox_product import MAPPED, OWN_TABLE, repaired
from credit_pipeline_tests.adapters.products.walled_product import Walled, make_login, refused

DENIED = "42501"


def inbox(walled: Walled, url: str) -> "closing[PostgresInbox]":
    return closing(PostgresInbox(url, walled.system))


def test_each_role_does_its_part_at_the_doors_and_no_more(database: str) -> None:
    walled = Walled(database)
    corrector, approver, reader = (walled.login(word, word) for word in ("corrector", "approver", "reader"))
    for number in range(3):
        walled.product.run("SELECT credit_pipeline.record_webhook('wix', %s, 'x', now(), '')", str(number))
    walled.product.run("SELECT credit_pipeline.request_sync('a')")
    with inbox(walled, corrector) as records, closing(PostgresSyncRequests(corrector, walled.system)) as requests:
        first, *_ = records.claim("worker")
        assert records.settle(first, repaired()) is RecordState.REPAIRED
        [request] = requests.claim("worker")
        assert requests.settle(request, "in_order", "in order", again=False)
        [dead] = walled.product.run("UPDATE credit_pipeline.webhook_event SET state = 'dead'"
                                    " WHERE event_id = '2' RETURNING id")  # fmt: skip
        with pytest.raises(StoreError):
            records.discard([dead["id"]], "eva", "on my own")
    with inbox(walled, approver) as records:
        assert records.discard([dead["id"]], "ann", "a test event") == [dead["id"]]
        with pytest.raises(StoreError):
            records.claim("approver")
    with inbox(walled, reader) as records:
        assert records.installed()
        assert records.counts()["webhook_failed"] == 1
        with pytest.raises(StoreError):
            records.claim("reader")
    assert refused(corrector, "SELECT credit_pipeline.record_webhook('wix', 'pulled', '', now(), '')") is None
    for url in (approver, reader):
        assert refused(url, "SELECT credit_pipeline.record_webhook('wix', 'x', '', now(), '')") == DENIED
    for url in (corrector, approver, reader):
        assert refused(url, "SELECT credit_pipeline.request_sync('x')") == DENIED
        assert refused(url, "DELETE FROM credit_pipeline.webhook_event") == DENIED


def test_the_products_own_table_is_told_by_the_corrector_through_our_function_alone(database: str) -> None:
    product = Product(database, MAPPED).build()
    product.run("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public, pg_temp")
    product.run(OWN_TABLE)
    install(database, MAPPED, None, Wanted(walled=True))
    name = product.run("SELECT current_database() AS name")[0]["name"]
    corrector = f"corrector_{name}"
    make_login(product, corrector, product.run("SELECT credit_pipeline.role_of('corrector') AS name")[0]["name"])
    url = database.replace("postgres@", f"{corrector}@", 1)
    product.run("INSERT INTO failed_webhooks (instance) VALUES ('site-1')")
    with closing(PostgresInbox(url, MAPPED)) as records:
        [claim] = records.claim("worker")
        assert records.settle(claim, repaired("in order")) is RecordState.REPAIRED
    assert product.run("SELECT status::text, tries, why FROM failed_webhooks") == [
        {"status": "processed", "tries": 1, "why": "in order"}
    ]
    assert refused(url, "UPDATE failed_webhooks SET status = 'failed'") == DENIED


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (WebhookTable(table="nowhere", account="instance"), "webhooks.table"),
        (WebhookTable(table="failed_webhooks", account="nobody"), "webhooks.account"),
        (
            WebhookTable(table="failed_webhooks", account="instance", attempts="why"),
            "webhooks.attempts",
        ),
    ],
    ids=["no such table", "no such column", "of another type"],
)
def test_init_refuses_a_table_that_is_not_as_configured(database: str, own: WebhookTable, said: str) -> None:
    product = Product(database).build()
    product.run(OWN_TABLE)
    with pytest.raises(ConfigurationError, match=said):
        install(database, replace(PUBLIC, webhooks=own))
    assert product.run("SELECT to_regnamespace('credit_pipeline') AS ours") == [{"ours": None}]
