"""The hand that writes bestauth's scripts: one user as the auth system, the points store and Stripe know her.

Everything is told in the order in which it happens. Her subscriptions are in `bestauth_contract.py`, which stories
there are in the story files.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_pipeline.sandbox.scenarios.bestauth.life import Billed, Move, Script
from credit_pipeline.sandbox.scenarios.bestauth.tables import (
    BONUS,
    PURCHASE,
    Deed,
    Link,
    Tier,
    User,
    adds,
    puts,
    remembers,
    spends,
)
from credit_pipeline.sandbox.scenarios.wix_app.author import Hand
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted
from credit_pipeline.sandbox.stripe.rows import Customer

WELCOME = 100
"""Points every user is given at sign-up, as a bonus."""
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A story, and how common it is: of broken ones a share of the population, of healthy ones a weight."""

    name: str
    share: float
    write: "Callable[[Tale], Script]"


class Teller(Hand):
    """Writes one tale after another."""

    def stripe_id(self, kind: str) -> str:
        """An id as Stripe makes them: `cus_…`, `sub_…`, `in_…`."""
        return f"{kind}_" + "".join(self.random.choices(_LETTERS, k=16))

    def tell(self, story: Story) -> Script:
        """The story of one new user."""
        return story.write(Tale(self, story.name))


class Tale:
    """One user and her account; what is told of her becomes a script in the end."""

    def __init__(self, teller: Teller, kind: str) -> None:
        self.teller = teller
        self.kind = kind
        self.user = teller.id()
        self.account = teller.id()
        self.customer = teller.stripe_id("cus")
        self.email = f"user-{self.user[:13]}@example.com"
        self.signed_up: datetime | None = None
        self.keyed = teller.random.random() < 0.8
        """Whether the app wrote references into her grants; older versions did not."""
        self._moves: list[Move] = []
        self._is_customer = False

    @property
    def random(self) -> random.Random:
        """The seed's choices."""
        return self.teller.random

    def do(self, at: datetime, *deeds: Deed) -> None:
        """Something happens to the product."""
        self._moves.append(Move(at=at, deeds=deeds))

    def bill(self, at: datetime, *billed: Billed) -> None:
        """Something happens at Stripe."""
        self._moves.append(Move(at=at, billed=billed))

    def becomes_customer(self, at: datetime, metadata: Mapping[str, str]) -> None:
        """Stripe knows her from now on."""
        if not self._is_customer:
            self.bill(at, Customer(id=self.customer, email=self.email, created=at, metadata=metadata))
        self._is_customer = True

    def register(self, at: datetime | None = None) -> datetime:
        """She becomes a user of the auth system; a story that tells nothing else has no account."""
        self.signed_up = at or self.teller.begin - timedelta(seconds=self.teller.some(3_600, 300 * 86_400))
        self.do(self.signed_up, puts(User(self.user, self.email, self.signed_up)))
        return self.signed_up

    def sign_up(
        self, at: datetime | None = None, *, mapped: bool = True, welcome: bool = True, tier: bool = True
    ) -> datetime:
        """She registers, and the points store opens an account for her."""
        at = self.register(at)
        opened = at + timedelta(seconds=2)
        if mapped:
            self.do(opened, puts(Link(self.user, self.account, opened)))
        if tier:
            self.do(opened, puts(Tier(self.account, "free", "free", None, None, opened)))
        if welcome:
            self.do(opened, adds(self.account, WELCOME, BONUS, text="welcome"))
        return at

    def names(self, at: datetime, metadata: Mapping[str, str] | None = None) -> None:
        """The metadata of her local subscription row names the account, under one or the other key."""
        ways = (
            {"resolved_supabase_user_id": self.account},
            {"resolved_supabase_user_id": self.account, "supabase_user_id": self.account, "plan": "web"},
            {"supabase_user_id": self.account, "source": "checkout"},
            {"original_userId": self.account, "supabase_user_id": "undefined"},
        )
        self.do(at, remembers(self.user, self.random.choice(ways) if metadata is None else metadata))

    def buys(self, at: datetime, amount: int) -> None:
        """She buys points beside any plan."""
        self.do(at, adds(self.account, amount, PURCHASE, text="top-up"))

    def spends(self, at: datetime, amount: int, *, floor: int = 0) -> None:
        """She spends points."""
        self.do(at, spends(self.account, amount, floor=floor))

    def told(
        self,
        planted: Planted | None = None,
        *,
        subject: str | None = None,
        daily: int = 0,
        floor: int = 0,
        counted: bool = True,
    ) -> Script:
        """The script; `subject` where it is not her account."""
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
