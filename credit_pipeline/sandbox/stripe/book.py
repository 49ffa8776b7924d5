"""What the sandbox's Stripe knows: customers, subscriptions, invoices and events, in memory and in a JSON file.

Instants are UTC datetimes here and whole unix seconds in the file and on the wire.
"""

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.stripe.file import KINDS, Stored, read, write
from credit_pipeline.sandbox.stripe.ordered_rows import Shelf
from credit_pipeline.sandbox.stripe.rows import ACCOUNT, Customer, Event, Invoice, Item, Row, Subscription


class StripeBook:
    """One Stripe account. Safe to change from one thread while another serves from it.

    `add` sets a row whole, new or known; what is never added, Stripe does not know.
    """

    def __init__(
        self,
        customers: Iterable[Customer] = (),
        subscriptions: Iterable[Subscription] = (),
        invoices: Iterable[Invoice] = (),
        *,
        events: Iterable[Event] = (),
        path: Path | None = None,
        livemode: bool = False,
        account: str = ACCOUNT,
    ) -> None:
        self.path = path
        self.livemode = livemode
        self.account = account
        lock = threading.RLock()
        self.customers: Shelf[Customer] = Shelf(lock)
        self.subscriptions: Shelf[Subscription] = Shelf(lock, "customer")
        self.invoices: Shelf[Invoice] = Shelf(lock, "customer", "subscription")
        self.events: Shelf[Event] = Shelf(lock)
        self._prices: dict[str, Item] = {}
        self._saving = threading.Lock()
        self.add(*customers, *subscriptions, *invoices, *events)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The book stored in a file by `save`."""
        stored = read(path)
        return cls(
            stored.customers,
            stored.subscriptions,
            stored.invoices,
            events=stored.events,
            path=path,
            livemode=stored.livemode,
            account=stored.account,
        )

    def save(self, path: Path | None = None) -> None:
        """Writes the file whole or not at all; readable by its owner only. Without any path nothing is written."""
        target = path or self.path
        if target is None:
            return
        with self._saving:
            rows = {name: list(getattr(self, name)) for name in KINDS}
            write(Stored(**rows, livemode=self.livemode, account=self.account), target)
            self.path = target

    def add(self, *rows: Row) -> None:
        """Sets rows, each whole."""
        for row in rows:
            if isinstance(row, Customer):
                self.customers.put(row)
            elif isinstance(row, Subscription):
                for item in row.items:
                    self._prices[item.price_id] = item
                self.subscriptions.put(row)
            elif isinstance(row, Invoice):
                self.invoices.put(row)
            else:
                self.events.put(row)

    def patch(self, row_id: str, **values: Any) -> None:
        """Changes some values of a row that exists, of whatever kind. Raises ConfigurationError where it cannot."""
        found = self.get(row_id)
        if found is None:
            raise ConfigurationError(f"sandbox: Stripe's book has no {row_id}: add it before you patch it")
        try:
            self.add(replace(found, **values))
        except TypeError as error:
            raise ConfigurationError(f"sandbox: {row_id} cannot be patched: {error}") from error

    def remove(self, *row_ids: str) -> None:
        """Forgets rows, as if Stripe had never known them; unknown ids are ignored."""
        for row_id in row_ids:
            for shelf in (self.customers, self.subscriptions, self.invoices, self.events):
                shelf.pop(row_id)

    def get(self, row_id: str) -> Row | None:
        """The customer, subscription, invoice or event of that id; None where there is none."""
        return (
            self.customers.get(row_id)
            or self.subscriptions.get(row_id)
            or self.invoices.get(row_id)
            or self.events.get(row_id)
        )

    def price(self, price_id: str) -> Item | None:
        """An item of that price, as last added; None for a price that no subscription ever had."""
        return self._prices.get(price_id)

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self.subscriptions)
