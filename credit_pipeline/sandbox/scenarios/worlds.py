"""The planted systems. A world holds one product with its users and its billing provider, and plays their life."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, Self

from credit_pipeline.adapters.stores.ledger import LedgerStore
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.billing.book_billing import BookBilling, StripeBookBilling
from credit_pipeline.sandbox.scenarios.bestauth import population as bestauth_population
from credit_pipeline.sandbox.scenarios.bestauth import product as bestauth
from credit_pipeline.sandbox.scenarios.bestauth.life import BestauthLife, bill
from credit_pipeline.sandbox.scenarios.bestauth.product import Bestauth
from credit_pipeline.sandbox.scenarios.seeded_values import WATCH
from credit_pipeline.sandbox.scenarios.truth import truth_of
from credit_pipeline.sandbox.scenarios.wix_app import population
from credit_pipeline.sandbox.scenarios.wix_app import product as wix_app
from credit_pipeline.sandbox.scenarios.wix_app.life import Life, State, Step
from credit_pipeline.sandbox.scenarios.wix_app.product import WixApp
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.gateways import Gateways


class Product(Protocol):
    """A product's database. A context manager that closes it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def states(self) -> Mapping[str, State]:
        """Every account as a counter."""
        ...

    def last_change(self) -> int:
        """The number of the newest row of the product's audit; 0 before the first."""
        ...

    def credits_lost(self, since: int) -> int:
        """Sum of the decreases of available after that row of the product's audit."""
        ...


class World(Protocol):
    """One product with its users and its billing provider at one moment. A context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    spacing: timedelta
    """The time between two runs of the past. Fewer runs plant faster."""

    def as_seen(self, opened: Gateways) -> Gateways:
        """The system's gateways at the world's moment, with billing read from its book."""
        ...

    def create(self) -> None:
        """Creates the product's tables in an empty database."""
        ...

    def begin(self) -> None:
        """Writes everything that exists when the watch begins."""
        ...

    def live(self, now: datetime) -> None:
        """Plays until `now`, and writes what happens to the product and to the provider's book."""
        ...

    def refresh_statistics(self) -> None:
        """Updates the planner's statistics after a bulk load."""
        ...

    def save_book(self, path: Path) -> None:
        """Writes the provider's book to a file, for the billing server."""
        ...

    def truth(self) -> dict[str, Any]:
        """The right answer for every subject now."""
        ...


class WixWorld:
    """The sites of wix_app."""

    spacing = timedelta(hours=23)  # more than 24 hours would void a counter's proofs by history

    def __init__(self, system: CreditSystem, url: str, *, accounts: int, seed: int, present: datetime) -> None:
        self._system, self._seed, self._present = system, seed, present
        self._scripts = list(population.scripts(system.catalogue, accounts=accounts, seed=seed, present=present))
        self.life = Life(self._scripts, seed=seed, start=present - WATCH)
        self.book = BillingBook({script.account_id: script.instance for script in self._scripts})
        self.app = WixApp(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.app.__exit__()

    def as_seen(self, opened: Gateways) -> Gateways:
        """Wix is read from its book. A counter's store has no time."""
        return replace(opened, billing=BookBilling(self.book))

    def create(self) -> None:
        """Creates the product's tables and its price list."""
        self.app.create(self._system.catalogue)

    def begin(self) -> None:
        """Writes the sites that exist when the watch begins."""
        self.app.install(self.life.first())

    def live(self, now: datetime) -> None:
        """Installs, spending, renewals, purchases and accidents until `now`."""
        step: Step = self.life.until(now)
        for account, values in step.billed:
            self.book.patch(account, **values)
        if step.installed:
            self.app.install(step.installed.values())
        if step.moved:
            self.app.move(step.moved.values())

    def refresh_statistics(self) -> None:
        """Updates the planner's statistics."""
        self.app.refresh_statistics()

    def save_book(self, path: Path) -> None:
        """Writes Wix's book to a file."""
        self.book.save(path)

    def truth(self) -> dict[str, Any]:
        """What was planted."""
        return truth_of(
            self._scripts, self.life.states, system=self._system.name, seed=self._seed, present=self._present
        )


class BestauthWorld:
    """The users of bestauth."""

    spacing = timedelta(hours=71)  # a ledger keeps its own history

    def __init__(self, system: CreditSystem, url: str, *, accounts: int, seed: int, present: datetime) -> None:
        self._system, self._seed, self._present = system, seed, present
        written = bestauth_population.scripts(system.catalogue, accounts=accounts, seed=seed, present=present)
        self._scripts = list(written)
        self.life = BestauthLife(self._scripts, seed=seed, start=present - WATCH)
        self.book = StripeBook()
        self.app = Bestauth(url)
        self._url, self._now = url, present - WATCH

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.app.__exit__()

    def as_seen(self, opened: Gateways) -> Gateways:
        """Stripe is read from its book, and the ledger as of the world's moment."""
        store = LedgerStore(self._system, self._url, clock=lambda: self._now)
        return replace(opened, billing=StripeBookBilling.of(self.book, self._system), store=store)

    def create(self) -> None:
        """Creates the product's tables, functions and policies."""
        self.app.create()

    def begin(self) -> None:
        """Writes everything that happened before the watch."""
        self.live(self._now)

    def live(self, now: datetime) -> None:
        """Sign-ups, invoices, grants, spending and accidents until `now`."""
        self._now = now
        step = self.life.until(now)
        bill(self.book, step.billed)
        if step.product:
            self.app.write(step.product)

    def refresh_statistics(self) -> None:
        """Updates the planner's statistics."""
        self.app.refresh_statistics()

    def save_book(self, path: Path) -> None:
        """Writes Stripe's book to a file."""
        self.book.save(path)

    def truth(self) -> dict[str, Any]:
        """What was planted, without users outside the population."""
        counted = [script for script in self._scripts if script.counted]
        return truth_of(counted, self.life.states, system=self._system.name, seed=self._seed, present=self._present)


MakeWorld = Callable[..., World]
WORLDS: Mapping[str, MakeWorld] = {wix_app.NAME: WixWorld, bestauth.NAME: BestauthWorld}
"""System → its world: `(system, url, accounts=, seed=, present=)`."""
PRODUCTS: Mapping[str, Callable[[str], Product]] = {wix_app.NAME: WixApp, bestauth.NAME: Bestauth}
"""System → the product's database at a URL."""
