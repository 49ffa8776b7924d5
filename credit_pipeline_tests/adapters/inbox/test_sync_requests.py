"""Requests for a sync on a real Postgres: each drained once, tried again for a while, then left to the schedule."""

import pytest

from credit_pipeline.domain.retry_schedule import SYNCS
from credit_pipeline_tests.adapters.products.inbox_product import WithDoors, with_doors
from credit_pipeline_tests.conftest import Databases


@pytest.fixture
def product(databases: Databases) -> WithDoors:
    return with_doors(databases)


def row_of(product: WithDoors) -> tuple[str, int, str | None, str | None]:
    [row] = product.run("SELECT state, attempts, outcome, last_error FROM credit_pipeline.sync_request")
    return row["state"], row["attempts"], row["outcome"], row["last_error"]


def test_a_request_is_claimed_once_and_done(product: WithDoors) -> None:
    product.ask("site-1", "button")
    with product.requests() as requests, product.requests() as others:
        [claim] = requests.claim("worker")
        assert others.claim("worker") == []
        [request] = requests.hold([claim])
        assert (request.account_id, request.reason) == ("site-1", "button")
        assert requests.settle(claim, "in_order", "nothing to do", again=False)
        assert not requests.settle(claim, "in_order", "nothing to do", again=False)
    assert row_of(product) == ("done", 1, "in_order", "nothing to do")


def test_one_that_could_not_be_told_is_tried_again_and_given_up_in_the_end(product: WithDoors) -> None:
    product.ask("site-1")
    with product.requests() as requests:
        for attempt in range(1, SYNCS.most + 1):
            [claim] = requests.claim("worker")
            assert claim.attempt == attempt
            requests.settle(claim, "unknown", "billing did not answer", again=True)
            assert requests.claim("worker") == []
            product.wait("31 minutes", "sync_request")
            product.wait("3 minutes", "sync_request")
    assert row_of(product) == ("failed", SYNCS.most, "unknown", "billing did not answer")


def test_a_request_of_a_worker_that_died_is_taken_over(product: WithDoors) -> None:
    product.ask("site-1")
    with product.requests() as requests:
        [lost] = requests.claim("died")
        product.wait("11 minutes", "sync_request")
        [again] = requests.claim("worker")
        assert again.attempt == 2
        assert requests.hold([lost]) == []
        assert not requests.settle(lost, "in_order", "late", again=False)


def test_an_older_installation_keeps_no_requests(product: WithDoors) -> None:
    product.run("DROP TABLE credit_pipeline.sync_request")
    with product.requests() as requests:
        assert not requests.installed()
