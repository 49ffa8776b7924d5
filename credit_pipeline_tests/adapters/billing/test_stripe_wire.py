"""Stripe's payloads in both generations, each a single deviation from a healthy one, and the rows they become."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.billing.json_values import WireError
from credit_pipeline.adapters.billing.stripe.account import longer_periods
from credit_pipeline.adapters.billing.stripe.invoices import parse_invoice, with_evidence
from credit_pipeline.adapters.billing.stripe.paths import text_at
from credit_pipeline.adapters.billing.stripe.returns import Returns, parse_dispute, parse_refund
from credit_pipeline.adapters.billing.stripe.wire import (
    Reading,
    error_of,
    parse_customer,
    parse_page,
    parse_subscription,
)
from credit_pipeline.adapters.billing.subscription_rows import listed_pull
from credit_pipeline.domain.subjects.email_digest import email_digest
from credit_pipeline.domain.subjects.ids import BillingId

START, END = 1_793_437_200, 1_796_029_200  # 2026-10-31 and 2026-11-30, 09:00 UTC
READING = Reading(
    system="bestauth",
    subject=("metadata.user_id", "customer.metadata.user_id"),
    plan=("price.metadata.plan", "item.metadata.plan", "metadata.plan"),
)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def a_price(**overrides):
    return {
        "id": "price_pro",
        "object": "price",
        "lookup_key": "pro_monthly",
        "metadata": {},
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "unit_amount": 1_900,
    } | overrides


def an_item(**overrides):
    return {
        "id": "si_1",
        "price": a_price(),
        "quantity": 1,
        "metadata": {},
        "current_period_start": START,
        "current_period_end": END,
    } | overrides


def a_list(*rows, more=False):
    return {"object": "list", "url": "/v1/parts", "data": list(rows), "has_more": more}


def a_subscription(*, items=None, **overrides):
    return {
        "id": "sub_1",
        "object": "subscription",
        "created": START - 100,
        "start_date": START - 100,
        "customer": {"id": "cus_1", "object": "customer", "email": "Who@Example.com ", "metadata": {"user_id": "u-2"}},
        "items": a_list(*(items if items is not None else [an_item()])),
        "metadata": {"user_id": "u-1"},
        "latest_invoice": "in_1",
        "livemode": False,
        "status": "active",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "pause_collection": None,
    } | overrides


def row(**overrides):
    return parse_subscription(a_subscription(**overrides), READING).row


def a_line(**overrides):
    """A line as sent since 2025-03-31."""
    details = {"proration": False, "subscription": "sub_1", "subscription_item": "si_1"}
    parent = {"type": "subscription_item_details", "subscription_item_details": details, "invoice_item_details": None}
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": 1_900,
        "period": {"start": START, "end": END},
        "parent": parent,
        "pricing": {"type": "price_details", "price_details": {"price": "price_pro", "product": "prod_1"}},
    } | overrides


def an_old_line(**overrides):
    return {
        "id": "il_1",
        "object": "line_item",
        "type": "subscription",
        "amount": 1_900,
        "period": {"start": START, "end": END},
        "price": a_price(),
        "proration": False,
        "subscription": "sub_1",
    } | overrides


def a_payment(intent="pi_1", **overrides):
    payment = {"type": "payment_intent", "payment_intent": intent}
    return {"id": "inpay_1", "object": "invoice_payment", "status": "paid", "payment": payment} | overrides


def of_item(**details):
    return {"parent": {"type": "subscription_item_details", "subscription_item_details": details}}


def an_invoice(*lines, **overrides):
    return {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_1",
        "created": START,
        "livemode": False,
        "status": "paid",
        "amount_paid": 1_900,
        "payments": {"object": "list", "data": [a_payment()], "has_more": False, "url": "/v1/invoice_payments"},
        "post_payment_credit_notes_amount": 0,
        "billing_reason": "subscription_cycle",
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        "status_transitions": {"paid_at": START + 3_600},
        "lines": a_list(*(lines or [a_line()])),
    } | overrides


def evidence(*lines, **overrides):
    invoice = parse_invoice(an_invoice(*lines, **overrides))
    assert invoice.doubt is None
    return [line for _, line in invoice.lines]


def test_the_period_is_read_from_the_item_or_from_the_subscription():
    old = {key: value for key, value in an_item().items() if not key.startswith("current")}

    new_shape = row()
    old_shape = row(items=[old], current_period_start=START, current_period_end=END)

    assert (new_shape["period_start"], new_shape["period_end"], new_shape["anchor"]) == (at(START), at(END), at(START))
    assert old_shape == new_shape


def test_a_subscription_without_any_period_has_none():
    bare = {key: value for key, value in an_item().items() if not key.startswith("current")}

    found = row(items=[bare])

    assert (found["lookup"], found["period_start"], found["anchor"], found["status"]) == (
        "answered",
        None,
        None,
        "active",
    )


@pytest.mark.parametrize("status", ["active", "trialing"])
def test_paused_collection_is_dunning(status):
    found = row(status=status, pause_collection={"behavior": "void", "resumes_at": None})

    assert (found["status"], found["detail"]) == ("dunning", "paused")


def test_an_ended_subscription_stays_ended_though_its_collection_was_paused():
    found = row(status="canceled", pause_collection={"behavior": "void"}, canceled_at=END - 5, ended_at=END)

    assert (found["status"], found["detail"], found["ends_at"], found["auto_renews"]) == (
        "ended",
        "canceled",
        at(END),
        False,
    )


@pytest.mark.parametrize(
    ("sent", "ends_at", "auto_renews"),
    [
        ({}, None, True),
        ({"cancel_at_period_end": True}, END, False),
        ({"cancel_at_period_end": True, "cancel_at": END}, END, False),
        ({"cancel_at": END - 10}, END - 10, False),
        ({"cancel_at": END}, END, False),
        ({"cancel_at": END + 10}, END + 10, True),
    ],
)
def test_a_cancellation_within_the_term_is_the_last_term(sent, ends_at, auto_renews):
    found = row(**sent)

    assert (found["ends_at"], found["auto_renews"]) == (at(ends_at) if ends_at else None, auto_renews)


@pytest.mark.parametrize(
    ("recurring", "cycle", "detail"),
    [
        ({"interval": "month", "interval_count": 1}, "monthly", None),
        ({"interval": "month"}, "monthly", None),
        ({"interval": "year", "interval_count": 1}, "yearly", None),
        ({"interval": "month", "interval_count": 3}, None, "billed every 3 months"),
        ({"interval": "year", "interval_count": 2}, None, "billed every 2 years"),
        ({"interval": "week", "interval_count": 1}, None, "billed every 1 weeks"),
        ({}, None, "billed in no known cycle"),
        (None, None, "billed in no known cycle"),
    ],
)
def test_cycles(recurring, cycle, detail):
    found = row(items=[an_item(price=a_price(recurring=recurring))])

    assert (found["cycle"], found["detail"]) == (cycle, detail)


def test_a_strange_cycle_in_dunning_says_both():
    price = a_price(recurring={"interval": "week", "interval_count": 2})

    assert row(status="past_due", items=[an_item(price=price)])["detail"] == "past_due; billed every 2 weeks"


FREE = an_item(id="si_free", price=a_price(id="price_free", unit_amount=0))
METERED = an_item(id="si_m", price=a_price(id="price_m", recurring={"interval": "month", "usage_type": "metered"}))
NONE_OF_IT = an_item(id="si_0", price=a_price(id="price_0"), quantity=0)
TIERED = an_item(id="si_t", price=a_price(id="price_t", unit_amount=None))


@pytest.mark.parametrize(
    ("items", "count", "plan"),
    [
        ([an_item()], 1, "price_pro"),
        ([FREE, METERED, NONE_OF_IT, an_item()], 1, "price_pro"),
        ([FREE], 1, "price_free"),
        ([METERED], 1, "price_m"),
        ([FREE, METERED], 2, "price_free"),
        ([an_item(), TIERED], 2, "price_pro"),
        ([], 1, None),
    ],
)
def test_free_metered_and_empty_items_are_not_what_the_credits_are_for(items, count, plan):
    found = row(items=items)

    assert (found["items"], found["raw_plan"]) == (count, plan)


def test_a_quantity_is_passed_on_and_is_one_where_none_is_sent():
    assert [row(items=[an_item(quantity=q)])["quantity"] for q in (1, 3, None, 0)] == [1, 3, 1, 0]


def test_the_first_path_that_names_a_plan_counts():
    of_item = an_item(metadata={"plan": " Pro "})
    of_price = an_item(metadata={"plan": "Pro"}, price=a_price(metadata={"plan": "Starter"}))

    assert row()["metadata"] is None
    assert row(metadata={"plan": "Free"})["metadata"] == "Free"
    assert row(items=[of_item], metadata={"plan": "Free"})["metadata"] == "Pro"
    assert row(items=[of_price], metadata={"plan": "Free"})["metadata"] == "Starter"


def test_every_path_that_holds_a_text_names_a_subject():
    both = row()["subjects"]
    blank = row(metadata={"user_id": "  "})["subjects"]
    not_expanded = row(customer="cus_1", metadata={"other": "x"})

    assert both == [
        {"source": "metadata.user_id", "id": "u-1"},
        {"source": "customer.metadata.user_id", "id": "u-2"},
    ]
    assert blank == [{"source": "customer.metadata.user_id", "id": "u-2"}]
    assert (not_expanded["subjects"], not_expanded["email_hash"], not_expanded["billing_id"]) == ([], None, "cus_1")


def test_an_address_is_kept_as_a_digest_that_ignores_blanks_and_case():
    assert row()["email_hash"] == email_digest("bestauth", " who@example.COM")
    assert "xample" not in str(row())
    assert email_digest("another", "who@example.com") != email_digest("bestauth", "who@example.com")
    assert [email_digest("bestauth", empty) for empty in (None, "", " \n")] == [None, None, None]


def test_a_backdated_subscription_began_when_it_was_created():
    assert row(created=START, start_date=START - 10_000_000)["started_at"] == at(START)
    assert row(created=START, start_date=None)["started_at"] == at(START)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"status": "frozen"}, "its status “frozen” is not known"),
        ({"status": "Who@Example.com"}, "its status “?” is not known"),
        ({"status": None}, "its status “?” is not known"),
        ({"status": 7}, "status is not a text"),
        ({"items": "none"}, "items is not an object"),
        ({"items": {"data": "none"}}, "items is not a list object"),
        ({"cancel_at": "tomorrow"}, "cancel_at is not a whole number"),
        ({"cancel_at": START * 1_000}, "cancel_at is not a time in unix seconds"),
        ({"cancel_at_period_end": "no"}, "cancel_at_period_end is neither true nor false"),
    ],
)
def test_a_subscription_of_another_shape_is_an_unanswered_row_that_still_says_who(wrong, why):
    found = parse_subscription(a_subscription() | wrong, READING)

    assert (found.row["lookup"], found.row["status"], found.running) == ("error", None, False)
    assert why in found.row["detail"]
    assert (found.row["billing_id"], found.row["subscription_id"], len(found.row["subjects"])) == ("cus_1", "sub_1", 2)


@pytest.mark.parametrize("customer", [None, "", {}, {"id": None}])
def test_a_subscription_of_nobody_is_refused(customer):
    with pytest.raises(WireError, match="customer is missing"):
        row(customer=customer)


def test_a_period_that_ends_before_it_starts_is_not_read():
    assert row(items=[an_item(current_period_end=START)])["lookup"] == "error"


def test_a_line_is_read_from_both_generations():
    new = evidence(a_line())
    old = evidence(an_old_line(), parent=None, subscription="sub_1")

    assert new == [
        {
            "invoice_id": "in_1",
            "line_id": "il_1",
            "status": "paid",
            "raw_plan": "price_pro",
            "period_start": at(START),
            "period_end": at(END),
            "paid_at": at(START + 3_600),
            "change": False,
            "paid": 1_900,
            "refunded": 0,
            "disputed": None,
        }
    ]
    assert old == new


@pytest.mark.parametrize(
    ("line", "invoice"),
    [
        (a_line(**of_item(subscription="sub_2")), {}),
        (a_line(**of_item(subscription=None)), {"parent": {"subscription_details": {"subscription": "sub_2"}}}),
        (a_line(**of_item(subscription=None)), {"subscription": {"id": "sub_2"}, "parent": None}),
        (an_old_line(subscription="sub_2"), {}),
        (an_old_line(subscription=None), {"subscription": "sub_2"}),
    ],
)
def test_the_subscription_of_a_line_is_its_own_or_else_the_invoices(line, invoice):
    assert [subscription for subscription, _ in parse_invoice(an_invoice(line, **invoice)).lines] == ["sub_2"]


@pytest.mark.parametrize(
    ("line", "reason", "change"),
    [
        (a_line(), "subscription_cycle", False),
        (a_line(), "subscription_create", False),
        (a_line(), "subscription_update", False),  # a period begins: monthly to yearly
        (a_line(**of_item(proration=True)), "subscription_cycle", True),
        (an_old_line(proration=True), "manual", True),
        (an_old_line(proration=True, type="invoiceitem"), "subscription_cycle", True),
    ],
)
def test_what_was_billed_for_a_change_is_told_apart(line, reason, change):
    assert [found["change"] for found in evidence(line, billing_reason=reason)] == [change]


@pytest.mark.parametrize(
    "line",
    [
        a_line(amount=-1_900, **of_item(proration=True)),
        a_line(amount=-1),
        a_line(amount=0, **of_item(proration=True, proration_details={"credited_items": {"invoice": "in_0"}})),
        an_old_line(amount=0, proration=True, proration_details={"credited_items": {"invoice": "in_0"}}),
        an_old_line(type="invoiceitem"),
        a_line(parent={"type": "invoice_item_details", "invoice_item_details": {"subscription": "sub_1"}}),
        a_line(period={"start": START, "end": START}),
        an_old_line(subscription=None),
    ],
)
def test_credits_single_items_and_lines_of_no_subscription_prove_nothing(line):
    assert evidence(line, parent=None) == []


def test_an_amount_of_zero_is_evidence_as_well():
    assert [line["status"] for line in evidence(a_line(amount=0), amount_paid=0)] == ["paid"]


@pytest.mark.parametrize(
    ("invoice", "status", "paid"),
    [
        ({"status": "draft"}, "open", False),
        ({"status": "open"}, "open", False),
        ({"status": "paid"}, "paid", True),
        ({"status": "void"}, "void", False),
        ({"status": "uncollectible"}, "void", False),
        ({"post_payment_credit_notes_amount": 1_900}, "refunded", True),
        ({"post_payment_credit_notes_amount": 1}, "refunded", True),
        ({"post_payment_credit_notes_amount": None}, "paid", True),
        ({"amount_paid": 0, "post_payment_credit_notes_amount": 0}, "paid", True),
        ({"status": "open", "post_payment_credit_notes_amount": 1_900}, "open", False),
    ],
)
def test_states_of_an_invoice(invoice, status, paid):
    (line,) = evidence(**invoice)

    assert (line["status"], line["paid_at"] is not None) == (status, paid)


def test_a_line_without_a_known_price_names_no_plan():
    assert [line["raw_plan"] for line in evidence(a_line(pricing=None))] == [None]


@pytest.mark.parametrize(
    "wrong",
    [{"status": "frozen"}, {"status": None}, {"lines": []}, {"lines": {"data": [7]}}, {"status_transitions": "paid"}]
    + [{"lines": a_list(a_line() | wrong)} for wrong in ({"amount": None}, {"period": None}, {"id": None})],
)
def test_nothing_is_known_of_a_customer_with_an_invoice_that_cannot_be_read(wrong):
    subscriptions = [
        parse_subscription(a_subscription(), READING),
        parse_subscription(a_subscription(id="sub_2", customer="cus_2"), READING),
    ]
    invoices = [parse_invoice(an_invoice() | wrong), parse_invoice(an_invoice(id="in_2", customer="cus_2"))]

    rows = with_evidence(subscriptions, invoices, Returns())

    assert [found["lookup"] for found in rows] == ["error", "answered"]
    assert rows[0]["detail"].startswith("an invoice cannot be read: ")
    assert rows[0]["subjects"] == subscriptions[0].row["subjects"]


def test_evidence_is_attached_oldest_first_and_an_invoice_read_twice_counts_as_read_last():
    later = a_line(id="il_2", period={"start": END, "end": END + (END - START)})
    invoices = [
        parse_invoice(an_invoice(later, id="in_2", status="draft")),
        parse_invoice(an_invoice()),
        parse_invoice(an_invoice(later, id="in_2", status="paid")),
    ]

    (found,) = with_evidence([parse_subscription(a_subscription(), READING)], invoices, Returns())

    assert [(line["invoice_id"], line["status"]) for line in found["invoices"]] == [("in_1", "paid"), ("in_2", "paid")]


def test_longer_periods_are_those_that_run_and_began_before():
    subscriptions = [
        parse_subscription(a_subscription(id=name, customer=f"cus_{name}", status=status, items=[item]), READING)
        for name, status, item in [
            ("now", "active", an_item()),
            ("year", "active", an_item(current_period_start=START - 8_000_000)),
            ("late", "past_due", an_item(current_period_start=START - 8_000_000)),
            ("gone", "canceled", an_item(current_period_start=START - 8_000_000)),
        ]
    ]

    day = 86_400
    assert longer_periods(subscriptions, at(START - 10 * day)) == {
        "cus_year": at(START - 8_000_000 - day),
        "cus_late": at(START - 8_000_000 - day),
    }


def test_more_parts_are_announced_until_all_are_given():
    short = parse_subscription(a_subscription() | {"items": a_list(an_item(), more=True)}, READING)
    whole = parse_subscription(a_subscription() | {"items": a_list(an_item(), more=True)}, READING, [an_item()] * 3)
    invoice = an_invoice() | {"lines": a_list(a_line(), more=True)}

    assert (short.more_items, whole.more_items, whole.row["items"]) == (True, False, 3)
    assert (parse_invoice(invoice).more_lines, parse_invoice(invoice, [a_line()]).more_lines) == (True, False)


ROW = {"id": "sub_1", "created": START, "livemode": False}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "not a list object"),
        ({"object": "list", "data": [ROW], "url": "/v1/x"}, "not a list object"),
        ({"object": "list", "data": {}, "has_more": False, "url": "/v1/x"}, "not a list object"),
        ({"object": "list", "data": [ROW], "has_more": False, "url": "/v1/y"}, "another one"),
        ({"object": "list", "data": [ROW], "has_more": False}, "another one"),
        ({"object": "list", "data": [ROW], "has_more": False, "url": "https://elsewhere/v1/x"}, "another one"),
        (a_list({**ROW, "id": ""}) | {"url": "/v1/x"}, "no id"),
        (a_list("sub_1") | {"url": "/v1/x"}, "no id"),
        (a_list({**ROW, "created": None}) | {"url": "/v1/x"}, "no created or no livemode"),
        (a_list({**ROW, "livemode": None}) | {"url": "/v1/x"}, "no created or no livemode"),
    ],
)
def test_a_page_of_another_shape_is_refused(body, why):
    with pytest.raises(WireError, match=why):
        parse_page(body, "/v1/x", dated=True)


def test_a_page_of_parts_needs_no_times():
    page = parse_page(a_list({"id": "si_1"}, more=True) | {"url": "/v1/x?subscription=sub_1"}, "/v1/x", dated=False)

    assert (page.rows, page.more) == (({"id": "si_1"},), True)


def test_a_customer_is_free_deleted_or_another_one():
    sent = {"id": "cus_1", "object": "customer", "livemode": False, "email": None, "metadata": {"user_id": "u"}}

    known = parse_customer(sent, BillingId("cus_1"), READING)
    deleted = parse_customer({"id": "cus_1", "object": "customer", "deleted": True}, BillingId("cus_1"), READING)

    assert known is not None
    assert (known["status"], known["lookup"], known["email_hash"]) == ("free", "answered", None)
    assert deleted is None
    with pytest.raises(WireError, match="another object"):
        parse_customer(sent, BillingId("cus_2"), READING)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"error": {"code": "resource_missing", "param": "starting_after"}}, ("resource_missing", "starting_after")),
        ({"error": {"type": "api_error", "message": "No such customer: 'cus_1'"}}, (None, None)),
        ({"error": {"code": "No such key sk_live_1"}}, (None, None)),
        ({"error": "invalid_grant"}, (None, None)),
        (None, (None, None)),
    ],
)
def test_codes_of_errors_are_words_and_nothing_else(body, found):
    assert error_of(body) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("metadata.user.id", "dotted"),
        ("customer.metadata.a", "b"),
        ("price.nickname", "Pro"),
        ("price.nickname.more", None),
        ("price.amount", None),
        ("metadata.missing", None),
    ],
)
def test_paths(path, found):
    root = {
        "metadata": {"user.id": " dotted ", "user": {"id": "nested"}},
        "customer": {"metadata": {"a": "b"}},
        "price": {"nickname": "Pro", "amount": 5},
    }
    assert text_at(root, path) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SUBSCRIPTION_KEYS = sorted(a_subscription() | {"current_period_start": START})
INVOICE_KEYS = sorted(an_invoice() | {"subscription": "sub_1"})


@given(key=st.sampled_from(SUBSCRIPTION_KEYS), value=JSON, part=st.sampled_from(["top", "item", "price"]))
def test_whatever_a_value_is_a_subscription_is_a_row_of_the_table_or_refused(key, value, part):
    if part == "top":
        sent = a_subscription() | {key: value}
    elif part == "item":
        sent = a_subscription(items=[an_item() | {name: value for name in an_item() if len(name) % 7 == len(key) % 7}])
    else:
        sent = a_subscription(items=[an_item(price=a_price() | dict.fromkeys(("recurring", "metadata"), value))])
    try:
        found = parse_subscription(sent, READING)
    except WireError:
        return
    table = listed_pull(with_evidence([found], [parse_invoice(an_invoice())], Returns()), level="L1").table
    assert table["lookup"].to_pylist()[0] in ("answered", "error")


@given(key=st.sampled_from(INVOICE_KEYS), value=JSON, line_key=st.sampled_from(sorted(a_line() | an_old_line())))
def test_whatever_a_value_is_an_invoice_is_evidence_a_doubt_or_refused(key, value, line_key):
    for sent in (an_invoice() | {key: value}, an_invoice(a_line() | {line_key: value})):
        try:
            invoice = parse_invoice(sent)
        except WireError:
            continue
        rows = with_evidence([parse_subscription(a_subscription(), READING)], [invoice], Returns())
        assert listed_pull(rows, level="L1").table.num_rows == 1


def a_return(**overrides):
    raw = {"id": "re_1", "object": "refund", "amount": 400, "status": "succeeded", "payment_intent": "pi_1"}
    return raw | overrides


@pytest.mark.parametrize(
    ("status", "amount"),
    [("succeeded", 400), ("pending", 400), ("requires_action", 400), ("new_word", 400), ("failed", 0), ("canceled", 0)],
)
def test_a_refund_counts_unless_it_failed_or_was_cancelled(status, amount):
    assert parse_refund(a_return(status=status)).refunded == amount


@pytest.mark.parametrize(
    ("status", "disputed"),
    [
        (word, word)
        for word in ("needs_response", "under_review", "warning_needs_response", "warning_under_review", "lost", "new")
    ]
    + [("won", None), ("warning_closed", None)],
)
def test_a_dispute_counts_unless_it_was_won(status, disputed):
    assert parse_dispute(a_return(status=status)).disputed == disputed


@pytest.mark.parametrize(
    "wrong", [{"id": None}, {"status": None}, {"status": "two words"}, {"amount": None}, {"amount": -1}, {"charge": 7}]
)
@pytest.mark.parametrize("parse", [parse_refund, parse_dispute])
def test_a_refund_or_dispute_without_its_facts_is_an_error(parse, wrong):
    with pytest.raises(WireError):
        parse(a_return(**wrong))


@pytest.mark.parametrize(
    ("invoice", "returned"),
    [
        ({}, True),
        ({"payments": None, "payment_intent": "pi_1"}, True),
        ({"payments": None, "charge": {"id": "ch_1"}}, True),
        ({"payments": None, "charge": None}, False),
        ({"payments": a_list(a_payment("pi_2"), a_payment("pi_1"))}, True),
        ({"payments": a_list(a_payment("pi_2"))}, False),
        ({"payments": a_list(a_payment(status="canceled"))}, False),
        ({"payments": a_list(a_payment(payment={"type": "charge", "charge": "ch_1"}))}, True),
        ({"status": "open"}, False),
    ],
)
def test_a_refund_belongs_to_the_invoice_whose_payment_it_names(invoice, returned):
    found = parse_invoice(an_invoice(**invoice))
    refund = parse_refund(a_return(charge="ch_1"))

    (row,) = with_evidence([parse_subscription(a_subscription(), READING)], [found], Returns([refund, refund]))

    assert found.doubt is None
    assert [line["refunded"] for line in row["invoices"]] == [400 if returned else 0]


@pytest.mark.parametrize(
    ("noted", "refunded"), [(0, 400), (400, 400), (1_900, 1_900)], ids=["no note", "its own note", "a larger note"]
)
def test_a_credit_note_beside_its_refund_counts_once(noted, refunded):
    invoice = parse_invoice(an_invoice(post_payment_credit_notes_amount=noted))

    (row,) = with_evidence(
        [parse_subscription(a_subscription(), READING)], [invoice], Returns([parse_refund(a_return())])
    )

    assert [(line["status"], line["refunded"]) for line in row["invoices"]] == [("refunded", refunded)]


def test_a_paid_invoice_that_tells_nothing_of_its_payments_is_no_answer():
    raw = an_invoice()
    del raw["payments"]

    assert parse_invoice(raw).doubt == "an invoice cannot be read: its payments are missing"
    assert parse_invoice(raw | {"amount_paid": 0}).doubt is None
