"""What is owed to whom in a simulated ledger product, and who gave it when: known because it is made here.

Nothing here reads the product's tables, and nothing knows the pipeline.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, YearlyMode
from credit_pipeline.domain.plans.periods import Period

CATALOGUE = Catalogue(
    plans=(
        Plan(name="free", credits=100, rank=0, label="free", free=True),
        Plan(
            name="starter",
            credits=1_000,
            rank=1,
            label="starter",
            yearly=YearlyMode.DRIP,
            provider_ids=("price_starter_month", "price_starter_year"),
        ),
        Plan(
            name="pro",
            credits=5_000,
            rank=2,
            label="pro",
            yearly=YearlyMode.DRIP,
            provider_ids=("price_pro_month", "price_pro_year"),
        ),
        Plan(
            name="business",
            credits=15_000,
            rank=3,
            label="business",
            yearly=YearlyMode.UPFRONT,
            provider_ids=("price_business_month", "price_business_year"),
        ),
    )
)


def plan_of(name: str) -> Plan:
    """The plan of that name."""
    found = CATALOGUE.named(name)
    assert found is not None, name
    return found


Key = tuple[str, str, datetime]
"""(account, plan, start of the period): one grant."""


@dataclass(kw_only=True)
class Owed:
    """One grant of one period: since when it is owed, and every time it was given."""

    account: str
    plan: str
    period: Period
    amount: int
    since: datetime
    """The payment, the upgrade, or the month's start."""
    invoice: str
    owed: bool = True
    """False: what the product may grant, and whose absence is no loss (a second subscription)."""
    by_product: list[datetime] = field(default_factory=list)
    by_us: list[datetime] = field(default_factory=list)
    by_hand: bool = False
    """Support gave the credits, as an adjustment."""

    @property
    def key(self) -> Key:
        return self.account, self.plan, self.period.start

    @property
    def times(self) -> int:
        """How often it was granted, by whomever."""
        return len(self.by_product) + len(self.by_us)

    @property
    def settled(self) -> bool:
        """Whether the customer has the credits."""
        return self.by_hand or self.times > 0

    def __str__(self) -> str:
        return f"{self.account[:8]} {self.plan} from {self.period.start:%d %b %H:%M} (since {self.since:%d %b %H:%M})"


class Truth:
    """Every grant that is owed, by its key."""

    def __init__(self) -> None:
        self._owed: dict[Key, Owed] = {}

    def owe(self, one: Owed) -> Owed:
        """Another grant; the same plan bought again in one period is owed once."""
        return self._owed.setdefault(one.key, one)

    def get(self, key: Key) -> Owed | None:
        return self._owed.get(key)

    def of(self, account: str) -> list[Owed]:
        """An account's grants, oldest first."""
        return sorted((one for one in self if one.account == account), key=lambda one: one.since)

    def beside(self, one: Owed) -> list[Owed]:
        """Grants of the same account whose periods overlap, itself among them."""
        return [
            other
            for other in self.of(one.account)
            if other.period.start < one.period.end and one.period.start < other.period.end
        ]

    def near(self, one: Owed) -> list[Owed]:
        """Grants of the same plan that a ledger without references cannot surely tell from this one."""
        return [o for o in self.of(one.account) if o.plan == one.plan and abs(o.since - one.since) < timedelta(days=35)]

    def __iter__(self) -> Iterator[Owed]:
        return iter(self._owed.values())
