"""One entitlement as a value: which grant is due, since when, by what its transaction is known (semantics §5)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from credit_pipeline.domain.corrections.correction import GrantKey
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.plans.periods import Cycle, Period, months_of
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing
from credit_pipeline.domain.subjects.billing_status import BillingStatus

BEFORE = timedelta(days=1)
AFTER = timedelta(days=3)
"""A grant is looked for from a day before its instant to three days after: Stripe repeats a webhook for that long."""


class Settlement(StrEnum):
    """Whether the period's invoice gives a right to its credits."""

    PAID = "paid"
    PENDING = "pending"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """One grant that billing explains: (plan, period), when it was due, and by what its transaction is known."""

    subscription_id: str | None
    plan: Plan
    period: Period
    allowance: int
    """Credits; a yearly plan granted up front has twelve months of them."""
    amounts: frozenset[int]
    """What its grant may be: the allowance, and where nobody says when it was sold, what the plan gave since."""
    instant: datetime
    """When the product had reason to grant: the payment, the upgrade, or the start of a later month of a paid year."""
    opens: datetime
    closes: datetime
    """The window in which an unnamed transaction is taken for this grant, both ends included."""
    settlement: Settlement
    reference: str
    """What a grant of ours carries."""
    known_by: frozenset[str]
    """References that name this very grant."""
    invoice_id: str | None = None
    billed_at: datetime | None = None
    """The payment that proves it; None where the change has no invoice of its own."""
    change: bool = False
    """An upgrade in mid-period, owed beside the old plan's grant."""
    sold_at: datetime | None = None
    """When that was, where the plan's amount was another one at the period's start."""
    current: bool = False
    """The plan and the period that billing names now."""
    judged: bool = True
    """False: explains what the product granted, and its absence is nobody's loss that we could prove."""
    visible: bool = True
    """Whether the whole window lies in what was read of the ledger."""
    holds: tuple[str, ...] = ()
    """Why a person must decide although it is paid."""
    returned: str | None = None
    """What became of its payment, if that was refunded or is disputed."""

    @property
    def key(self) -> tuple[str, datetime]:
        """The grant key within the account."""
        return self.plan.name, self.period.start

    @property
    def owed(self) -> bool:
        """Whether its absence from the ledger is a finding."""
        return self.judged and self.visible and self.settlement is Settlement.PAID

    @property
    def anywhere(self) -> bool:
        """Whether nothing says when it was due, so that only the exact amount tells its grant."""
        return self.change and self.billed_at is None


_SETTLEMENTS = {InvoiceStatus.PAID: Settlement.PAID, InvoiceStatus.REFUNDED: Settlement.REFUNDED}


def allowance(plan: Plan, period: Period, sold_at: datetime | None = None) -> int:
    """Credits of the grant of that period, or of the rest of it that was bought later."""
    return plan.credits_from(sold_at or period.start) * months_of(plan, cycle_of(period))


def horizon(account: Account, rules: Rules) -> datetime:
    """Transactions before this instant are not judged."""
    oldest = rules.now - rules.policy.lookback
    return max(oldest, account.ledger.since) if account.ledger else oldest


def cycle_of(period: Period) -> Cycle:
    """A year is billed at once, or anything shorter."""
    return Cycle.YEARLY if timedelta(days=300) < period.end - period.start < timedelta(days=400) else Cycle.MONTHLY


def entitlement(
    account: Account,
    billing: Billing,
    line: InvoiceLine | None,
    plan: Plan,
    period: Period,
    rules: Rules,
    *,
    change: bool = False,
    status: InvoiceStatus | None = None,
) -> Entitlement:
    """The grant of one plan and period, as its invoice line says (`status` speaks where it has none of its own)."""
    paid = line.paid_at if line else None
    cycle = cycle_of(period)
    if change and line is not None:
        in_time = paid is not None and paid < period.end
        instant = paid if in_time and paid is not None else line.period.start
        opens, closes = min(instant, line.period.start) - BEFORE, instant + AFTER
    else:
        instant = max(period.start, paid) if paid else period.start
        opens, closes = (period.start, period.end) if change else (instant - BEFORE, instant + AFTER)
    sold = line.period.start if change and line else None
    if sold is not None and allowance(plan, period, sold) == allowance(plan, period):
        sold = None
    due = allowance(plan, period, sold)
    amounts = {due}
    if change and line is None:
        later = (amount.until for amount in plan.former if period.start < amount.until < period.end)
        amounts |= {allowance(plan, period, since) for since in later}
    holds = []
    if change and cycle is Cycle.YEARLY:
        holds.append("a year granted up front was upgraded: how much of it is owed is not known")
    if change and billing.status is BillingStatus.TRIALING:
        holds.append("the plan was changed in a trial, which receives one plan's credits once")
    if len(amounts) > 1:
        holds.append("the plan's amount was changed in this period, and billing does not say when it was bought")
    key = str(GrantKey(account_id=account.account_id, plan=plan.name, period_start=period.start))
    words = {
        "account": account.account_id,
        "plan": plan.name,
        "period_start": str(int(period.start.astimezone(UTC).timestamp())),
        "subscription": billing.subscription_id,
        "invoice": line.invoice_id if line else None,
    }
    template = rules.policy.reference
    complete = all(word is not None or f"{{{name}}}" not in template for name, word in words.items())
    reference = template.format_map(words) if complete else key
    return Entitlement(
        subscription_id=billing.subscription_id,
        plan=plan,
        period=period,
        allowance=due,
        amounts=frozenset(amounts),
        instant=instant,
        opens=opens,
        closes=closes,
        settlement=_SETTLEMENTS.get(status or (line.status if line else InvoiceStatus.OPEN), Settlement.PENDING),
        reference=reference,
        known_by=frozenset({key, reference} if _names_the_period(template, line, period) else {key}),
        invoice_id=line.invoice_id if line else None,
        billed_at=paid if paid else line.period.start if line else None,
        change=change,
        sold_at=sold,
        visible=opens >= horizon(account, rules),
        holds=tuple(holds),
        returned=line.returned if line else None,
    )


def _names_the_period(template: str, line: InvoiceLine | None, period: Period) -> bool:
    """Whether the product's reference belongs to this one grant: an invoice of a year is twelve months' invoice."""
    if "{period_start}" in template:
        return True
    return "{invoice}" in template and line is not None and (line.change or line.period == period)
