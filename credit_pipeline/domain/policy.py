"""Every policy word of the YAML with its default (semantics §6, §7, §9). Values only; nothing here decides."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from credit_pipeline.domain.subjects.billing_status import BillingStatus


class Shortfall(StrEnum):
    """How a paid account below its allowance is mended."""

    RAISE = "raise"
    ADD = "add"


class Renewal(StrEnum):
    """What the product itself does to a counter at renewal. Undeclared makes the system report-only."""

    RESET_USED = "reset_used"
    SET_TO_ALLOWANCE = "set_to_allowance"
    ADD_ALLOWANCE = "add_allowance"
    NONE = "none"


class OnEnd(StrEnum):
    """What happens to credits when a subscription has ended."""

    KEEP = "keep"
    FORFEIT = "forfeit"


class OnDowngrade(StrEnum):
    """What the product itself does to the counter at a downgrade; declared, it explains the loss."""

    KEEP = "keep"
    SET_TO_ALLOWANCE = "set_to_allowance"


class Trial(StrEnum):
    """Whether a trial receives the plan's credits."""

    GRANT = "grant"
    NONE = "none"


class EndLabels(StrEnum):
    """Which lane relabels an ended subscription."""

    APPROVE = "approve"
    AUTO = "auto"


_STRIPE_WORDS = {
    "active": BillingStatus.ACTIVE,
    "trialing": BillingStatus.TRIALING,
    "past_due": BillingStatus.DUNNING,
    "unpaid": BillingStatus.DUNNING,
    "paused": BillingStatus.DUNNING,
    "incomplete": BillingStatus.DUNNING,
    "canceled": BillingStatus.ENDED,
    "incomplete_expired": BillingStatus.ENDED,
    "free": BillingStatus.FREE,
}
STATUSES: Mapping[str, BillingStatus] = MappingProxyType(_STRIPE_WORDS)
"""What a product's own row calls a subscription's state → the state. The first word of a state is the one written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The guards' thresholds (semantics §9). Shares are of the population, of a month's entitlements or of the rows."""

    rows_floor: int = 5
    rows_share: float = 0.05
    rows_ceiling: int = 200
    credits_allowances: int = 5
    credits_share: float = 0.05
    unknown_floor: int = 3
    unknown_share: float = 0.01
    unanswered_floor: int = 3
    unanswered_share: float = 0.01
    answers_ratio: float = 0.90
    max_snapshot_age: timedelta = timedelta(minutes=30)
    """From the end of the pull to the first batch of a plan that nobody approved."""
    max_clock_skew: timedelta = timedelta(seconds=30)
    flap_changes: int = 2
    """Automatic corrections of one account within `flap_window` from which on it is held."""
    flap_window: timedelta = timedelta(hours=24)
    flap_floor: int = 1
    flap_share: float = 0.01
    canary: int = 5
    batch: int = 200
    breaker: int = 3
    """Failed applies in a row that stop the system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One system's rules. The defaults are the safe choice."""

    renewal: Renewal | None = None
    renewal_grace: timedelta = timedelta(hours=26)
    """How long after a period's start the product may take to renew: a daily job and two hours."""
    shortfall: Shortfall = Shortfall.RAISE
    on_end: OnEnd = OnEnd.KEEP
    end_labels: EndLabels = EndLabels.APPROVE
    on_downgrade: OnDowngrade = OnDowngrade.KEEP
    trial: Trial = Trial.GRANT
    settle_time: timedelta = timedelta(minutes=60)
    max_gap: timedelta = timedelta(hours=24)
    end_wait: timedelta = timedelta(hours=24)
    aged_after: timedelta = timedelta(hours=24)
    catch_up: int = 0
    """Ledger: how many periods before the current one are granted automatically; older gaps need approval."""
    lookback: timedelta = timedelta(days=62)
    """Ledger: how far back transactions and invoices are matched with each other."""
    reference: str = "{account}/{plan}/{period_start}"
    """Ledger: what a grant's transaction carries; the product's own handler writes the same."""
    statuses: Mapping[str, BillingStatus] = field(default_factory=lambda: STATUSES)
    limits: Limits = field(default_factory=Limits)
    automation_apply: bool = False
    four_eyes: bool | None = None
    """Whether an approval needs another database user; None: where the approver has a login of its own."""


def version_of(policy: Policy) -> str:
    """Twelve hexadecimal digits that are another's where any word differs; kept with a plan that was made by it."""
    words = [(one.name, str(getattr(policy, one.name))) for one in fields(policy)]
    return hashlib.sha256(repr(words).encode()).hexdigest()[:12]
