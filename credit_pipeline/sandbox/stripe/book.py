"""The book of the sandbox's Stripe, with rows of all kinds, in memory and in a JSON file.

Instants are UTC datetimes in memory, and whole unix seconds in the file and on the wire.
"""

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.stripe.file import KINDS, Stored, read, write
from credit_pipeline.sandbox.stripe.ordered_rows import OrderedRows
from credit_pipeline.sandbox.stripe.rows import (
    ACCOUNT,
    Customer,
    Dispute,
    Event,
    Invoice,
    Item,
    Refund,
    Row,
    Subscription,
)


class StripeBook:
    """One Stripe account. Safe to change from one thread while another serves from it.

    `add` sets a whole row, new or known.
    """

    def __init__(
        self,
        customers: Iterable[Customer] = (),
        subscriptions: Iterable[Subscription] = (),
        invoices: Iterable[Invoice] = (),
        *,
        refunds: Iterable[Refund] = (),
        disputes: Iterable[Dispute] = (),
        events: Iterable[Event] = (),
        path: Path | None = None,
        livemode: bool = False,
        account: str = ACCOUNT,
    ) -> None:
        self.path = path
        self.livemode = livemode
        self.account = account
        lock = threading.RLock()
        self.customers: OrderedRows[Customer] = OrderedRows(lock)
        self.subscriptions: OrderedRows[Subscription] = OrderedRows(lock, "customer")
        self.invoices: OrderedRows[Invoice] = OrderedRows(lock, "customer", "subscription")
        self.refunds: OrderedRows[Refund] = OrderedRows(lock, "invoice")
        self.disputes: OrderedRows[Dispute] = OrderedRows(lock, "invoice")
        self.events: OrderedRows[Event] = OrderedRows(lock)
        self._prices: dict[str, Item] = {}
        self._saving = threading.Lock()
        self.add(*customers, *subscriptions, *invoices, *refunds, *disputes, *events)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The book stored in a file by `save`."""
        stored = read(path)
        return cls(
            stored.customers,
            stored.subscriptions,
            stored.invoices,
            refunds=stored.refunds,
            disputes=stored.disputes,
            events=stored.events,
            path=path,
            livemode=stored.livemode,
            account=stored.account,
        )

    def save(self, path: Path | None = None) -> None:
        """Writes the file atomically, readable by its owner only. Without a path nothing is written."""
        target = path or self.path
        if target is None:
            return
        with self._saving:
            rows = {name: list(getattr(self, name)) for name in KINDS}
            write(Stored(**rows, livemode=self.livemode, account=self.account), target)
            self.path = target

    def add(self, *rows: Row) -> None:
        """Sets whole rows."""
        for row in rows:
            if isinstance(row, Customer):
                self.customers.put(row)
            elif isinstance(row, Subscription):
                for item in row.items:
                    self._prices[item.price_id] = item
                self.subscriptions.put(row)
            elif isinstance(row, Invoice):
                self.invoices.put(row)
            elif isinstance(row, Refund):
                self.refunds.put(row)
            elif isinstance(row, Dispute):
                self.disputes.put(row)
            else:
                self.events.put(row)

    def patch(self, row_id: str, **values: Any) -> None:
        """Changes some values of an existing row of any kind. Raises ConfigurationError if it cannot."""
        found = self.get(row_id)
        if found is None:
            raise ConfigurationError(f"sandbox: Stripe's book has no {row_id}: add it before you patch it")
        try:
            self.add(replace(found, **values))
        except TypeError as error:
            raise ConfigurationError(f"sandbox: {row_id} cannot be patched: {error}") from error

    def remove(self, *row_ids: str) -> None:
        """Removes rows as if they had never existed. Unknown ids are ignored."""
        for row_id in row_ids:
            for name in KINDS:
                getattr(self, name).pop(row_id)

    def get(self, row_id: str) -> Row | None:
        """The row of any kind with that id, or None."""
        return next((row for name in KINDS if (row := getattr(self, name).get(row_id)) is not None), None)

    def price(self, price_id: str) -> Item | None:
        """The last added item of that price; None if no subscription ever had it."""
        return self._prices.get(price_id)

    def __len__(self) -> int:
        """The number of subscriptions."""
        return len(self.subscriptions)
