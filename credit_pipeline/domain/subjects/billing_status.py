"""The state of a subscription in words common to all providers. What each state is owed is semantics §6."""

from enum import StrEnum


class BillingStatus(StrEnum):
    """The state of a subscription, in words common to all providers."""

    FREE = "free"
    ACTIVE = "active"
    TRIALING = "trialing"
    DUNNING = "dunning"
    ENDED = "ended"

    @property
    def live(self) -> bool:
        """Whether this state entitles to the plan's credits."""
        return self in {BillingStatus.ACTIVE, BillingStatus.TRIALING}
