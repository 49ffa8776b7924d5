"""Stripe's book keeps rows in Stripe's order, finds them quickly, and survives its file."""

import json
import stat
import threading
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    END,
    START,
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_event,
    an_invoice,
    an_item,
)


def everything(_: object) -> bool:
    return True


def ids(rows: object) -> list[str]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def test_rows_are_newest_first_and_of_one_instant_the_later_added_first():
    book = StripeBook(customers=[a_customer("a"), a_customer("b"), a_customer("c", created=START - timedelta(days=1))])

    book.add(a_customer("d", created=START + timedelta(seconds=1)))

    assert ids(book.customers) == ["d", "b", "a", "c"]


def test_a_row_added_again_replaces_the_old_one_and_moves_only_with_its_creation():
    book = StripeBook(customers=[a_customer("a"), a_customer("b")])

    book.add(a_customer("a", email="new@example.com"))
    kept = ids(book.customers)
    book.add(a_customer("a", created=END))

    assert (kept, ids(book.customers)) == (["b", "a"], ["a", "b"])


def test_rows_are_found_by_customer_and_by_subscription_and_follow_a_change():
    book = StripeBook(subscriptions=[a_subscription("sub_1"), a_subscription("sub_2", customer="cus_2")])
    book.add(an_invoice("in_1"), an_invoice("in_2", created=END), an_invoice("in_3", subscription=None))

    before = ids(book.subscriptions.of("customer", "cus_1"))
    book.patch("sub_1", customer="cus_2")

    assert before == ["sub_1"]
    assert ids(book.subscriptions.of("customer", "cus_1")) == []
    assert ids(book.subscriptions.of("customer", "cus_2")) == ["sub_2", "sub_1"]
    assert ids(book.invoices.of("subscription", "sub_1")) == ["in_2", "in_1"]
    assert book.invoices.of("subscription", "nobody") == []


def test_a_removed_row_is_unknown_everywhere():
    book = StripeBook(invoices=[an_invoice("in_1"), an_invoice("in_2")])

    book.remove("in_1", "never-heard-of")

    assert (book.get("in_1"), ids(book.invoices), ids(book.invoices.of("customer", "cus_1"))) == (
        None,
        ["in_2"],
        ["in_2"],
    )


def test_a_cursor_whose_row_does_not_match_still_marks_its_place():
    book = StripeBook(subscriptions=[a_subscription(f"sub_{number}") for number in range(5)])
    book.patch("sub_3", status="canceled")

    rows, more = book.subscriptions.page(lambda row: row.status == "active", limit=2, after="sub_3")

    assert (ids(rows), more) == (["sub_2", "sub_1"], True)


def test_an_unknown_cursor_is_an_error():
    with pytest.raises(KeyError):
        StripeBook().customers.page(everything, limit=1, after="cus_1")


@given(count=st.integers(0, 40), limit=st.integers(1, 12), data=st.data())
def test_pages_in_either_direction_bring_every_row_once(count, limit, data):
    days = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    customers = [a_customer(f"c{n}", created=START + timedelta(days=day)) for n, day in enumerate(days)]
    shelf = StripeBook(customers=customers).customers
    forward: list[str] = []
    more = bool(count)
    while more:
        rows, more = shelf.page(everything, limit=limit, after=forward[-1] if forward else None)
        forward += ids(rows)
    backward = forward[-1:]
    more = bool(count)
    while more:
        rows, more = shelf.page(everything, limit=limit, before=backward[0])
        backward = ids(rows) + backward

    assert forward == backward == ids(shelf)
    assert sorted(forward) == sorted(ids(customers))


def test_rows_that_come_meanwhile_do_not_move_a_cursor():
    book = StripeBook(customers=[a_customer(f"c{number}") for number in range(4)])
    first, _ = book.customers.page(everything, limit=2)

    book.add(a_customer("late", created=END))
    second, more = book.customers.page(everything, limit=2, after=first[-1].id)

    assert (ids(first), ids(second), more) == (["c3", "c2"], ["c1", "c0"], False)


def test_a_book_survives_its_file(tmp_path):
    book = StripeBook(
        [a_customer(), a_customer("cus_2", deleted=True, metadata={})],
        [
            a_subscription(
                items=(
                    an_item(quantity=3, price_metadata={"plan": "pro"}),
                    an_item(price_id="price_x", interval="year"),
                ),
                cancel_at_period_end=True,
                canceled_at=START,
                ended_at=END,
                trial_start=START,
                trial_end=END,
                pause_collection="void",
                billing_cycle_anchor=START,
                latest_invoice="in_1",
                period_on="subscription",
                metadata={"user_id": "u"},
            ),
            a_subscription("sub_2"),
        ],
        [an_invoice(lines=(a_line(proration=True, subscription="sub_1"),), credit_notes=5), an_invoice("in_2")],
        refunds=[a_refund(status="pending")],
        disputes=[a_dispute(status="lost")],
        events=[an_event(delivered=False)],
        livemode=True,
        account="acct_1",
    )

    book.save(tmp_path / "stripe.json")
    read = StripeBook.load(tmp_path / "stripe.json")

    for kind in ("customers", "subscriptions", "invoices", "refunds", "disputes", "events"):
        assert list(getattr(read, kind)) == list(getattr(book, kind))
    assert (read.livemode, read.account, read.path, book.path) == (True, "acct_1", tmp_path / "stripe.json", read.path)
    assert stat.S_IMODE((tmp_path / "stripe.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"customers": [{"id": "a"}], "subscriptions": [], "invoices": [], "events": [], "livemode": 0}'],
)
def test_a_file_that_is_no_book_is_one_sentence(tmp_path, content):
    (tmp_path / "stripe.json").write_text(content)

    with pytest.raises(ConfigurationError, match=r"^sandbox: stripe.json cannot be read"):
        StripeBook.load(tmp_path / "stripe.json")


def test_a_save_that_is_interrupted_leaves_the_old_file(tmp_path):
    book = StripeBook([a_customer()], path=tmp_path / "stripe.json")
    book.save()
    before = (tmp_path / "stripe.json").read_text()
    book.add(an_event(object={"not": json}))

    with pytest.raises(TypeError):
        book.save()

    assert (tmp_path / "stripe.json").read_text() == before


@pytest.mark.parametrize(("row_id", "values"), [("nobody", {}), ("cus_1", {"emial": "x"})])
def test_a_wrong_patch_is_one_sentence(row_id, values):
    with pytest.raises(ConfigurationError, match=r"^sandbox: "):
        StripeBook([a_customer()]).patch(row_id, **values)


def test_it_can_be_changed_while_it_is_read():
    book = StripeBook([a_customer(f"c{number}") for number in range(60)])
    ended = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not ended.is_set():
                rows, _ = book.customers.page(everything, limit=400)
                assert len(rows) >= 60
        except BaseException as failure:
            failures.append(failure)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        book.add(a_customer(f"new{number}", created=END))
        book.patch(f"c{number}", created=END)
    ended.set()
    reader.join()

    assert failures == []


def test_ten_thousand_subscriptions_are_listed_in_no_time():
    moments = [START + timedelta(seconds=number % 977) for number in range(10_000)]
    book = StripeBook(
        subscriptions=[a_subscription(f"sub_{n}", customer=f"cus_{n}", created=at) for n, at in enumerate(moments)],
        invoices=[an_invoice(f"in_{n}", subscription=f"sub_{n}", customer=f"cus_{n}") for n in range(10_000)],
    )
    began, cursor, seen, more = time.perf_counter(), None, 0, True
    while more:
        rows, more = book.subscriptions.page(everything, limit=100, after=cursor)
        seen, cursor = seen + len(rows), rows[-1].id
        for row in rows:
            book.invoices.of("subscription", row.id)

    assert seen == 10_000
    assert time.perf_counter() - began < 5  # about 0.1 s alone; nothing here may be quadratic
