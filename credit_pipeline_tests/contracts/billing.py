"""What every billing provider's adapter promises, whichever way it gets its answers. Subclasses say how one is made."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

from credit_pipeline.domain.ids import BillingId
from credit_pipeline.sandbox.billing_book import BillingBook
from credit_pipeline.services.ports import SUBSCRIPTIONS, Billing

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = datetime(2026, 1, 31, 10, tzinfo=UTC)


def ids(*names: str) -> list[BillingId]:
    return [BillingId(name) for name in names]


class BillingContract:
    """Run against each implementation of ports.Billing that can be put in front of a book."""

    @abstractmethod
    def open(self, book: BillingBook) -> AbstractContextManager[Billing]:
        """The implementation, answering from this book."""

    @pytest.fixture
    def book(self) -> BillingBook:
        book = BillingBook()
        book.put("free-1")
        book.put("pro-1", is_free=False, package_name="Pro+", time_stamp=SINCE, auto_renewing=True, source="coupon")
        return book

    @pytest.fixture
    def billing(self, book: BillingBook) -> Iterator[Billing]:
        with self.open(book) as billing:
            yield billing

    def row(self, billing: Billing, name: str) -> dict[str, object]:
        return billing.pull(ids(name), NOW).table.to_pylist()[0]

    def test_it_names_its_provider_and_cannot_list(self, billing):
        assert (billing.provider, billing.lists) == ("wix", False)

    def test_one_row_per_id_in_the_order_asked_and_duplicates_asked_once(self, billing):
        pull = billing.pull(ids("pro-1", "free-1", "pro-1"), NOW)

        assert pull.table.schema.equals(SUBSCRIPTIONS)
        assert pull.table["billing_id"].to_pylist() == ["pro-1", "free-1"]
        assert pull.table["lookup"].to_pylist() == ["answered", "answered"]
        assert (pull.asked, pull.unanswered, pull.level, pull.enumerated) == (2, 0, "L3", True)
        assert pull.problems == ()

    def test_nothing_asked_is_an_empty_table_of_the_same_schema(self, billing):
        pull = billing.pull([], NOW)

        assert (pull.table.num_rows, pull.asked, pull.unanswered) == (0, 0, 0)
        assert pull.table.schema.equals(SUBSCRIPTIONS)

    def test_a_paying_instance_brings_its_plan_word_as_sent_and_its_anchor(self, billing):
        assert self.row(billing, "pro-1") == {
            "billing_id": "pro-1",
            "lookup": "answered",
            "status": "active",
            "raw_plan": "Pro+",
            "subscription_id": "pro-1",
            "cycle": "monthly",
            "anchor": SINCE,
            "changed_at": None,
            "ends_at": None,
            "auto_renews": True,
            "detail": "coupon",
        }

    def test_a_free_instance_is_free_and_has_no_plan(self, billing):
        row = self.row(billing, "free-1")

        assert (row["status"], row["raw_plan"], row["anchor"]) == ("free", None, None)

    def test_a_paying_instance_without_a_plan_word_is_not_free(self, billing, book):
        book.patch("pro-1", package_name=None)

        row = self.row(billing, "pro-1")

        assert (row["status"], row["raw_plan"]) == ("active", None)

    def test_a_plan_whose_expiration_is_past_is_still_paid(self, billing, book):
        book.patch("pro-1", expiration_date=SINCE, auto_renewing=False)

        row = self.row(billing, "pro-1")

        assert (row["status"], row["raw_plan"], row["ends_at"], row["auto_renews"]) == (
            "active",
            "Pro+",
            SINCE,
            False,
        )

    def test_an_uninstalled_instance_is_an_answer_and_does_not_stop_the_others(self, billing, book):
        book.put("left-1", is_free=False, package_name="pro", uninstalled=True)

        pull = billing.pull(ids("left-1", "pro-1"), NOW)

        assert pull.table["lookup"].to_pylist() == ["gone", "answered"]
        assert pull.table["status"].to_pylist() == [None, "active"]
        assert (pull.unanswered, pull.level) == (0, "L3")

    def test_an_id_the_provider_does_not_know_is_missing_and_not_free(self, billing, book):
        book.put("lost-1", not_found=True)

        pull = billing.pull(ids("never-heard-of", "lost-1"), NOW)

        assert pull.table["lookup"].to_pylist() == ["missing", "missing"]
        assert pull.table["status"].to_pylist() == [None, None]
        assert (pull.unanswered, pull.level) == (0, "L3")

    def test_an_id_without_an_answer_is_an_error_with_a_reason_and_lowers_the_level(self, billing, book):
        book.put("broken-1", is_free=False, package_name="pro", lookup_error=True)

        pull = billing.pull(ids("pro-1", "broken-1"), NOW)

        assert pull.table["lookup"].to_pylist() == ["answered", "error"]
        assert pull.table["status"].to_pylist() == ["active", None]
        assert str(pull.table["detail"][1]).startswith("HTTP 500")
        assert (pull.asked, pull.unanswered, pull.level, pull.enumerated) == (2, 1, "L1", True)
        assert pull.problems == ("1/2 instances were not answered (1 × HTTP 500)",)

    def test_each_pull_asks_anew(self, billing, book):
        before = self.row(billing, "free-1")["status"]
        book.put("free-1", is_free=False, package_name="starter", time_stamp=SINCE)

        after = self.row(billing, "free-1")

        assert (before, after["status"], after["raw_plan"]) == ("free", "active", "starter")

    def test_progress_ends_at_the_total(self, billing):
        seen: list[tuple[int, int]] = []

        billing.pull(ids("pro-1", "free-1"), NOW, lambda done, total: seen.append((done, total)))

        assert seen[-1] == (2, 2)
        assert seen == sorted(seen)
