"""The section `policy` of `defs.yaml`: ranges of its keys, and which apply to which store layout. The domain has the
defaults."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from credit_pipeline.config.values import (
    BatchRows,
    CatchUp,
    ClockSkew,
    Count,
    Duration,
    Few,
    Flag,
    FlapWindow,
    Lookback,
    Reference,
    Section,
    Share,
    SnapshotAge,
    Text,
    listed,
    refused,
)
from credit_pipeline.domain.policy import (
    EndLabels,
    Limits,
    OnDowngrade,
    OnEnd,
    Policy,
    Renewal,
    Shortfall,
    Trial,
)
from credit_pipeline.domain.subjects.billing_status import BillingStatus

_POLICY = Policy()
_LIMITS = Limits()
_OF_OTHERS: Mapping[str, tuple[str, ...]] = {
    "counter": ("catch_up", "lookback", "reference", "statuses"),
    "ledger": ("renewal", "renewal_grace", "shortfall", "on_downgrade"),
}
"""Layout → the words that say nothing about such a store."""


class LimitsSection(Section):
    """Thresholds of the guards, and the steps in which a plan is applied."""

    rows_floor: Count = _LIMITS.rows_floor
    rows_share: Share = _LIMITS.rows_share
    rows_ceiling: Count = _LIMITS.rows_ceiling
    credits_allowances: Count = _LIMITS.credits_allowances
    credits_share: Share = _LIMITS.credits_share
    unknown_floor: Count = _LIMITS.unknown_floor
    unknown_share: Share = _LIMITS.unknown_share
    unanswered_floor: Count = _LIMITS.unanswered_floor
    unanswered_share: Share = _LIMITS.unanswered_share
    answers_ratio: Share = _LIMITS.answers_ratio
    max_snapshot_age: SnapshotAge = _LIMITS.max_snapshot_age
    max_clock_skew: ClockSkew = _LIMITS.max_clock_skew
    flap_changes: Few = _LIMITS.flap_changes
    flap_window: FlapWindow = _LIMITS.flap_window
    flap_floor: Count = _LIMITS.flap_floor
    flap_share: Share = _LIMITS.flap_share
    canary: BatchRows = _LIMITS.canary
    batch: BatchRows = _LIMITS.batch
    breaker: Few = _LIMITS.breaker

    @model_validator(mode="after")
    def _canary_is_the_small_one(self) -> Self:
        if self.canary > self.batch:
            raise refused(
                f"`canary` is {self.canary} rows and `batch` {self.batch}: write a canary of at most {self.batch} rows"
            )
        return self


class PolicySection(Section):
    """The rules of this product."""

    renewal: Renewal | None = _POLICY.renewal
    renewal_grace: Duration = _POLICY.renewal_grace
    shortfall: Shortfall = _POLICY.shortfall
    on_end: OnEnd = _POLICY.on_end
    end_labels: EndLabels = _POLICY.end_labels
    on_downgrade: OnDowngrade = _POLICY.on_downgrade
    trial: Trial = _POLICY.trial
    settle_time: Duration = _POLICY.settle_time
    max_gap: Duration = _POLICY.max_gap
    end_wait: Duration = _POLICY.end_wait
    aged_after: Duration = _POLICY.aged_after
    catch_up: CatchUp = _POLICY.catch_up
    lookback: Lookback = _POLICY.lookback
    reference: Reference = _POLICY.reference
    statuses: dict[Annotated[Text, Field(min_length=1)], BillingStatus] = Field(
        default_factory=lambda: dict(_POLICY.statuses)
    )
    four_eyes: Flag | None = _POLICY.four_eyes
    limits: LimitsSection = LimitsSection()

    @field_validator("statuses")
    @classmethod
    def _has_a_word_for_each_state(cls, statuses: dict[str, BillingStatus]) -> dict[str, BillingStatus]:
        missing = [state.value for state in BillingStatus if state not in statuses.values()]
        if missing:
            raise refused(f"no word stands for {listed(missing)}, so it could not be written: add one for each")
        return statuses


def policy_of(words: PolicySection, *, automation_apply: bool) -> Policy:
    """The rules as the domain reads them."""
    rules = dict(words)
    rules["limits"] = Limits(**dict(words.limits))
    return Policy(**rules, automation_apply=automation_apply)


def without_effect(words: PolicySection, layout: str) -> Iterator[tuple[str, str]]:
    """(key, sentence) of each word in the file that says nothing about a store of this layout."""
    for key in _OF_OTHERS[layout]:
        if key in words.model_fields_set:
            yield key, f"`policy.{key}` has no effect where `store.layout` is `{layout}`: remove it"
