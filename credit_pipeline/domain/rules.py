"""What a judgement rests on besides the account. Values only."""

from dataclasses import dataclass
from datetime import datetime

from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a judgement rests on besides the account: plans, policy, the time, and how this run was started."""

    catalogue: Catalogue
    policy: Policy
    now: datetime
    settle: bool = False
    """Scheduled runs let the product's webhook win; check, fix, demo and single-account syncs do not wait."""
    first_run: bool = False
