"""Builds the scripts of bestauth's users: what happens to one user in the auth system, the points store and Stripe.

Calls are made in the order of events.
"""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from credit_pipeline.sandbox.scenarios.bestauth.life import Billed, Move, Script
from credit_pipeline.sandbox.scenarios.bestauth.tables import (
    BONUS,
    PURCHASE,
    Action,
    Link,
    Tier,
    User,
    adds,
    puts,
    remembers,
    spends,
)
from credit_pipeline.sandbox.scenarios.seeded_values import SeededValues
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted
from credit_pipeline.sandbox.stripe.rows import Customer

WELCOME = 100
"""Points that every user gets at sign-up, as a bonus."""
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz0123456789"


class ScenarioBuilder(SeededValues):
    """Random values of users, with ids in Stripe's format."""

    def stripe_id(self, kind: str) -> str:
        """A random id in Stripe's format: `cus_…`, `sub_…`, `in_…`."""
        return f"{kind}_" + "".join(self.random.choices(_LETTERS, k=16))


class UserScenario:
    """Collects what happens to one user and her account. `script` returns it."""

    def __init__(self, builder: ScenarioBuilder, kind: str) -> None:
        self.builder = builder
        self.kind = kind
        self.auth_id = builder.id()
        self.account = builder.id()
        self.customer = builder.stripe_id("cus")
        self.email = f"user-{self.auth_id[:13]}@example.com"
        self.signed_up: datetime | None = None
        self.keyed = builder.random.random() < 0.8
        """Whether the app writes references into her grants; older versions did not."""
        self._moves: list[Move] = []
        self._is_customer = False

    @property
    def random(self) -> random.Random:
        """The generator of the seed."""
        return self.builder.random

    def do(self, at: datetime, *actions: Action) -> None:
        """Something happens to the product."""
        self._moves.append(Move(at=at, actions=actions))

    def bill(self, at: datetime, *billed: Billed) -> None:
        """Something happens at Stripe."""
        self._moves.append(Move(at=at, billed=billed))

    def becomes_customer(self, at: datetime, metadata: Mapping[str, str]) -> None:
        """Stripe creates her customer, once."""
        if not self._is_customer:
            self.bill(at, Customer(id=self.customer, email=self.email, created=at, metadata=metadata))
        self._is_customer = True

    def register(self, at: datetime | None = None) -> datetime:
        """She registers with the auth system. This opens no account."""
        self.signed_up = at or self.builder.begin - timedelta(seconds=self.builder.some(3_600, 300 * 86_400))
        self.do(self.signed_up, puts(User(self.auth_id, self.email, self.signed_up)))
        return self.signed_up

    def sign_up(
        self, at: datetime | None = None, *, mapped: bool = True, welcome: bool = True, tier: bool = True
    ) -> datetime:
        """She registers, and the points store opens an account for her."""
        at = self.register(at)
        opened = at + timedelta(seconds=2)
        if mapped:
            self.do(opened, puts(Link(self.auth_id, self.account, opened)))
        if tier:
            self.do(opened, puts(Tier(self.account, "free", "free", None, None, opened)))
        if welcome:
            self.do(opened, adds(self.account, WELCOME, BONUS, text="welcome"))
        return at

    def names(self, at: datetime, metadata: Mapping[str, str] | None = None) -> None:
        """The metadata of her local subscription row names the account, under a random key by default."""
        ways = (
            {"resolved_supabase_user_id": self.account},
            {"resolved_supabase_user_id": self.account, "supabase_user_id": self.account, "plan": "web"},
            {"supabase_user_id": self.account, "source": "checkout"},
            {"original_userId": self.account, "supabase_user_id": "undefined"},
        )
        self.do(at, remembers(self.auth_id, self.random.choice(ways) if metadata is None else metadata))

    def buys(self, at: datetime, amount: int) -> None:
        """She buys points in addition to any plan."""
        self.do(at, adds(self.account, amount, PURCHASE, text="top-up"))

    def spends(self, at: datetime, amount: int, *, floor: int = 0) -> None:
        """She spends points."""
        self.do(at, spends(self.account, amount, floor=floor))

    def script(
        self,
        planted: Planted | None = None,
        *,
        subject: str | None = None,
        daily: int = 0,
        floor: int = 0,
        counted: bool = True,
    ) -> Script:
        """The script. `subject` names the subject if it is not her account."""
        return Script(
            account_id=subject or self.account,
            kind=self.kind,
            moves=tuple(self._moves),
            daily=daily,
            floor=floor,
            planted=planted,
            billing_id=self.customer if subject else None,
            counted=counted,
        )
