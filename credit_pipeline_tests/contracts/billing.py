"""What every billing provider's adapter promises, whichever way it gets its answers. Subclasses say how one is made.

`BillingContract` is for a provider without a list, in front of Wix's book; `ListingContract` for one that lists, in
front of Stripe's.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest

from credit_pipeline.domain.errors import SourceError
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.collect.ports import Billing
from credit_pipeline.services.collect.tables import LISTED_SUBSCRIPTIONS, SUBSCRIPTIONS
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    END,
    START,
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_invoice,
    an_item,
)

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
        with pytest.raises(SourceError, match="Wix cannot list its instances"):
            billing.pull(None, NOW)

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


READING = {
    "system": "bestauth",
    "subject": ("metadata.user_id", "customer.metadata.user_id"),
    "plan": ("price.metadata.plan",),
}
"""How the books of this contract are to be read."""


class ListingContract:
    """Run against each implementation of ports.Billing that can be put in front of Stripe's book."""

    @abstractmethod
    def open(self, book: StripeBook) -> AbstractContextManager[Billing]:
        """The implementation, answering from this book, reading as `READING` says."""

    @pytest.fixture
    def book(self) -> StripeBook:
        pro = an_item(price_metadata={"plan": "Pro"}, quantity=2)
        return StripeBook(
            [a_customer("cus_1"), a_customer("cus_2", metadata={}), a_customer("cus_3")],
            [
                a_subscription("sub_1", items=(pro,), metadata={"user_id": "u-1"}),
                a_subscription("sub_2", customer="cus_2", created=START - timedelta(days=3)),
            ],
            [an_invoice("in_1"), an_invoice("in_2", customer="cus_2", subscription="sub_2", status="open")],
        )

    @pytest.fixture
    def billing(self, book: StripeBook) -> Iterator[Billing]:
        with self.open(book) as billing:
            yield billing

    def only(self, billing: Billing) -> dict[str, object]:
        rows = {row["subscription_id"]: row for row in billing.pull(None, NOW).table.to_pylist()}
        return rows["sub_1"]

    def test_it_names_its_provider_and_can_list(self, billing):
        assert (billing.provider, billing.lists) == ("stripe", True)

    def test_none_asks_for_all_subscriptions_newest_first(self, billing):
        pull = billing.pull(None, NOW)

        assert pull.table.schema.equals(LISTED_SUBSCRIPTIONS)
        assert pull.table["subscription_id"].to_pylist() == ["sub_1", "sub_2"]
        assert pull.table["billing_id"].to_pylist() == ["cus_1", "cus_2"]
        assert (pull.asked, pull.unanswered, pull.level, pull.enumerated) == (2, 0, "L2", True)
        assert pull.problems == ()

    def test_a_subscription_brings_plan_period_names_and_evidence(self, billing):
        row = self.only(billing)

        assert len(row.pop("email_hash")) == 32
        assert row == {
            "billing_id": "cus_1",
            "lookup": "answered",
            "status": "active",
            "raw_plan": "price_pro",
            "subscription_id": "sub_1",
            "cycle": "monthly",
            "anchor": START,
            "changed_at": None,
            "ends_at": None,
            "auto_renews": True,
            "detail": None,
            "lookup_key": "pro_monthly",
            "metadata": "Pro",
            "period_start": START,
            "period_end": END,
            "started_at": START,
            "quantity": 2,
            "items": 1,
            "subjects": [
                {"source": "metadata.user_id", "id": "u-1"},
                {"source": "customer.metadata.user_id", "id": "user of cus_1"},
            ],
            "invoices": [
                {
                    "invoice_id": "in_1",
                    "line_id": "il_of_in_1",
                    "status": "paid",
                    "raw_plan": "price_pro",
                    "period_start": START,
                    "period_end": END,
                    "paid_at": START + timedelta(hours=1),
                    "change": False,
                    "paid": 1_000,
                    "refunded": 0,
                    "disputed": None,
                }
            ],
        }

    @pytest.mark.parametrize(
        ("word", "status", "detail"),
        [
            ("active", "active", None),
            ("trialing", "trialing", None),
            ("past_due", "dunning", "past_due"),
            ("unpaid", "dunning", "unpaid"),
            ("paused", "dunning", "paused"),
            ("incomplete", "dunning", "incomplete"),
            ("canceled", "ended", "canceled"),
            ("incomplete_expired", "ended", "incomplete_expired"),
        ],
    )
    def test_every_status_is_listed_and_has_one_of_our_words(self, billing, book, word, status, detail):
        book.patch("sub_1", status=word)

        row = self.only(billing)

        assert (row["status"], row["detail"], row["lookup"]) == (status, detail, "answered")

    def test_more_items_and_lines_than_fit_on_a_page_are_all_read(self, billing, book):
        book.patch("sub_1", items=tuple(an_item(price_id=f"price_{n}") for n in range(12)))
        book.patch("in_1", lines=tuple(a_line(f"il_{n:02}", price_id=f"price_{n}") for n in range(12)))

        row = self.only(billing)

        assert (row["items"], len(row["invoices"])) == (12, 12)

    def test_the_invoice_of_a_year_that_still_runs_is_found_however_old(self, billing, book):
        began, ends = NOW - timedelta(days=300), NOW + timedelta(days=65)
        yearly = an_item(price_id="price_year", interval="year", period_start=began, period_end=ends)
        line = a_line("il_y", price_id="price_year", period_start=began, period_end=ends)
        book.patch("sub_1", items=(yearly,), created=began)
        book.add(an_invoice("in_y", created=began, paid_at=began, lines=(line,)))

        row = self.only(billing)

        assert (row["cycle"], row["period_start"]) == ("yearly", began)
        assert [line["invoice_id"] for line in row["invoices"]] == ["in_y", "in_1"]

    @pytest.mark.parametrize(
        ("returns", "status", "refunded", "disputed"),
        [
            ([a_refund()], "refunded", 1_000, None),
            ([a_refund(amount=400)], "refunded", 400, None),
            ([a_refund(amount=400), a_refund("re_2", amount=600)], "refunded", 1_000, None),
            ([a_refund(status="pending")], "refunded", 1_000, None),
            ([a_refund(status="failed")], "paid", 0, None),
            ([a_refund(status="canceled"), a_refund("re_2", amount=1)], "refunded", 1, None),
            ([a_dispute(status="needs_response")], "refunded", 0, "needs_response"),
            ([a_dispute(status="under_review")], "refunded", 0, "under_review"),
            ([a_dispute(status="warning_under_review")], "refunded", 0, "warning_under_review"),
            ([a_dispute(status="lost")], "refunded", 0, "lost"),
            ([a_dispute(status="won")], "paid", 0, None),
            ([a_refund(invoice="in_2")], "paid", 0, None),
        ],
        ids=lambda value: "+".join(f"{r.id[:2]} {r.status}" for r in value) if isinstance(value, list) else None,
    )
    def test_what_became_of_a_payment_is_read_from_its_refunds_and_disputes(
        self, billing, book, returns, status, refunded, disputed
    ):
        book.add(*returns)

        (listed,) = self.only(billing)["invoices"]
        (row,) = billing.pull(ids("cus_1"), NOW).table.to_pylist()

        assert (listed["status"], listed["paid"], listed["refunded"]) == (status, 1_000, refunded)
        assert (listed["disputed"], listed["paid_at"] is None) == (disputed, False)
        assert row["invoices"] == [listed]

    def test_a_refund_is_found_however_old_where_its_period_still_runs(self, billing, book):
        began, ends = NOW - timedelta(days=300), NOW + timedelta(days=65)
        book.patch("sub_1", items=(an_item(interval="year", period_start=began, period_end=ends),), created=began)
        line = a_line("il_y", period_start=began, period_end=ends)
        book.add(an_invoice("in_y", created=began, paid_at=began, lines=(line,)))
        book.add(a_refund(invoice="in_y", created=began + timedelta(days=1)))

        assert [line["status"] for line in self.only(billing)["invoices"]] == ["refunded", "paid"]

    def test_customers_asked_for_bring_all_their_subscriptions_in_the_order_asked(self, billing, book):
        book.add(a_subscription("sub_old", status="canceled", created=START - timedelta(days=90)))

        pull = billing.pull(ids("cus_2", "cus_1", "cus_2"), NOW)

        assert pull.table.schema.equals(LISTED_SUBSCRIPTIONS)
        assert pull.table["billing_id"].to_pylist() == ["cus_2", "cus_1", "cus_1"]
        assert pull.table["subscription_id"].to_pylist() == ["sub_2", "sub_1", "sub_old"]
        assert (pull.asked, pull.unanswered, pull.level, pull.enumerated, pull.problems) == (2, 0, "L3", True, ())

    def test_a_customers_own_answer_is_that_of_the_list(self, billing):
        assert billing.pull(ids("cus_1"), NOW).table.to_pylist() == [self.only(billing)]

    def test_a_customer_without_a_subscription_is_free_and_still_named(self, billing):
        row = billing.pull(ids("cus_3"), NOW).table.to_pylist()[0]

        assert (row["lookup"], row["status"], row["subscription_id"]) == ("answered", "free", None)
        assert row["subjects"] == [{"source": "customer.metadata.user_id", "id": "user of cus_3"}]

    def test_a_deleted_or_unknown_customer_is_missing_and_not_free(self, billing, book):
        book.patch("cus_3", deleted=True)

        pull = billing.pull(ids("cus_3", "cus_never", "user:no-customer/at all?"), NOW)

        assert pull.table["lookup"].to_pylist() == ["missing"] * 3
        assert pull.table["status"].to_pylist() == [None] * 3
        assert (pull.unanswered, pull.level) == (0, "L3")

    def test_nobody_asked_for_is_an_empty_table_of_the_same_schema(self, billing):
        pull = billing.pull([], NOW)

        assert (pull.table.num_rows, pull.asked, pull.unanswered) == (0, 0, 0)
        assert pull.table.schema.equals(LISTED_SUBSCRIPTIONS)

    def test_an_empty_account_is_an_empty_list_that_ended(self, billing, book):
        book.remove("sub_1", "sub_2", "in_1", "in_2")

        pull = billing.pull(None, NOW)

        assert (pull.table.num_rows, pull.enumerated, pull.problems) == (0, True, ())

    def test_each_pull_asks_anew(self, billing, book):
        before = self.only(billing)["status"]
        book.patch("sub_1", status="canceled", ended_at=NOW)

        after = self.only(billing)

        assert (before, after["status"], after["ends_at"]) == ("active", "ended", NOW)

    def test_progress_ends_at_the_total(self, billing):
        for asked in (None, ids("cus_1", "cus_2", "cus_3")):
            seen: list[tuple[int, int]] = []
            billing.pull(asked, NOW, lambda done, total: seen.append((done, total)))  # noqa: B023 - called within

            assert seen[-1][0] == seen[-1][1] == (2 if asked is None else 3)
            assert seen == sorted(seen)
