"""Corrections as values: a closed set of steps, all relative, all keyed (semantics §8). Nothing decides here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId


class Lane(StrEnum):
    """Who may release a correction. The order is of urgency for a person, least first."""

    NONE = "none"
    AUTO = "auto"
    APPROVE = "approve"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantKey:
    """One grant: (account, plan, start of the period in UTC). The system is the database's schema row."""

    account_id: AccountId
    plan: str
    period_start: datetime

    def __str__(self) -> str:
        return f"{self.account_id}/{self.plan}/{int(self.period_start.astimezone(UTC).timestamp())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantCredits:
    """Raise `available` by `delta` for one period of a plan; `reset_used` folds what is left into `total` first."""

    delta: int
    grant_key: GrantKey
    period_end: datetime
    reset_used: bool = False
    reference: str | None = None
    """A ledger's transaction carries it, so that the product's own handler recognises the grant."""
    sold_at: datetime | None = None  # when an upgrade was bought, where the period began with another amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """Write the product's label for a plan. Moves no credits."""

    plan: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustCredits:
    """Move `available` by `delta` for a named cause: a restore, a claw-back, a forfeit, a reset of used.

    `lower_used` takes the change from `used` instead of `total`.
    """

    delta: int
    correction_key: str
    cause: str
    lower_used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSubscription:
    """Write the product's row about the subscription: its word for the status, the billed period. Made if absent."""

    status: str
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIdentity:
    """Write the missing row of the mapping table. `layer` is the evidence it rests on."""

    auth_id: AuthId
    store_id: AccountId
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResolvedId:
    """Write the store account into the metadata of the user's local subscription row."""

    auth_id: AuthId
    store_id: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBalance:
    """Make the missing balance row, at zero; grants come through the product's own function after it."""


Step = GrantCredits | SetPlan | AdjustCredits | SetSubscription | LinkIdentity | SetResolvedId | CreateBalance


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The state the reason was read from; the write path checks that plan and total still stand."""

    label: str | None
    total: int
    used: int | None
    """None where the balance row is missing."""

    @property
    def available(self) -> int | None:
        """Credits that could be spent."""
        return None if self.used is None else self.total - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What to do to one account in one lane, in one transaction."""

    account_id: AccountId
    billing_id: BillingId
    lane: Lane
    codes: tuple[str, ...]
    steps: tuple[Step, ...]
    reasons: tuple[str, ...]
    seen: Seen
    billed_plan: str | None

    @property
    def grant(self) -> GrantCredits | None:
        """The grant among the steps, if any."""
        return next((step for step in self.steps if isinstance(step, GrantCredits)), None)

    @property
    def set_plan(self) -> SetPlan | None:
        """The label among the steps, if any."""
        return next((step for step in self.steps if isinstance(step, SetPlan)), None)

    @property
    def adjustments(self) -> tuple[AdjustCredits, ...]:
        """The adjustments among the steps."""
        return tuple(step for step in self.steps if isinstance(step, AdjustCredits))

    @property
    def delta(self) -> int:
        """The change of `available`, in credits."""
        return sum(step.delta for step in self.steps if isinstance(step, GrantCredits | AdjustCredits))

    @property
    def key(self) -> str | None:
        """What makes this correction happen once: the keys of its grant and adjustments; a label alone has none."""
        keys = [str(self.grant.grant_key)] if self.grant else []
        return "|".join(keys + [step.correction_key for step in self.adjustments]) or None

    @property
    def after(self) -> Seen:
        """The row as it would stand if nothing else moved (used may move until the lock is taken)."""
        total, used = self.seen.total, self.seen.used
        if any(isinstance(step, CreateBalance) for step in self.steps):
            used = total
        if used is None:
            return self.seen
        for step in self.steps:
            if isinstance(step, GrantCredits):
                total, used = (total - used + step.delta, 0) if step.reset_used else (total + step.delta, used)
            elif isinstance(step, AdjustCredits):
                total, used = (total, used - step.delta) if step.lower_used else (total + step.delta, used)
        label = self.set_plan.label if self.set_plan else self.seen.label
        return Seen(label=label, total=total, used=used)

    @property
    def digest(self) -> str:
        """Binds an approval to exactly this account, this lane, these codes and these steps."""
        return hashlib.sha256(self.bound.encode()).hexdigest()[:32]

    @property
    def bound(self) -> str:
        """The text whose hash is the digest. It is stored with the row, so that the database can hold it to that."""
        content = [
            self.account_id,
            self.lane.value,
            sorted(self.codes),
            [step_fields(step) for step in self.steps],
        ]
        return json.dumps(content, sort_keys=True)


def step_fields(step: Step) -> dict[str, Any]:
    """A step as JSON: the shape shown in reports and stored with the plan."""
    match step:
        case GrantCredits():
            return {
                "step": "GrantCredits",
                "delta": step.delta,
                "grant_key": str(step.grant_key),
                "plan": step.grant_key.plan,
                "period_start": step.grant_key.period_start.isoformat(),
                "period_end": step.period_end.isoformat(),
                "reset_used": step.reset_used,
                "reference": step.reference,
                **({"sold_at": step.sold_at.isoformat()} if step.sold_at else {}),
            }
        case SetPlan():
            return {"step": "SetPlan", "plan": step.plan, "label": step.label}
        case AdjustCredits():
            return {
                "step": "AdjustCredits",
                "delta": step.delta,
                "correction_key": step.correction_key,
                "cause": step.cause,
                "lower_used": step.lower_used,
            }
        case SetSubscription():
            return {
                "step": "SetSubscription",
                "status": step.status,
                "period_start": step.period_start.isoformat() if step.period_start else None,
                "period_end": step.period_end.isoformat() if step.period_end else None,
            }
        case LinkIdentity():
            return {
                "step": "LinkIdentity",
                "auth_id": step.auth_id,
                "store_id": step.store_id,
                "layer": int(step.layer),
            }
        case SetResolvedId():
            return {"step": "SetResolvedId", "auth_id": step.auth_id, "store_id": step.store_id}
        case CreateBalance():
            return {"step": "CreateBalance"}


def correction_fields(correction: Correction) -> dict[str, Any]:
    """A correction as JSON, whole: what is kept between planning and applying."""
    return {
        "account_id": correction.account_id,
        "billing_id": correction.billing_id,
        "lane": correction.lane.value,
        "codes": list(correction.codes),
        "steps": [step_fields(step) for step in correction.steps],
        "reasons": list(correction.reasons),
        "seen": {"label": correction.seen.label, "total": correction.seen.total, "used": correction.seen.used},
        "billed_plan": correction.billed_plan,
    }


def correction_from(fields: Mapping[str, Any]) -> Correction:
    """The inverse of correction_fields."""
    account = AccountId(fields["account_id"])
    return Correction(
        account_id=account,
        billing_id=BillingId(fields["billing_id"]),
        lane=Lane(fields["lane"]),
        codes=tuple(fields["codes"]),
        steps=tuple(_step_from(account, step) for step in fields["steps"]),
        reasons=tuple(fields["reasons"]),
        seen=Seen(**fields["seen"]),
        billed_plan=fields["billed_plan"],
    )


def _step_from(account: AccountId, fields: Mapping[str, Any]) -> Step:
    rest = {name: value for name, value in fields.items() if name != "step"}
    match fields["step"]:
        case "SetPlan":
            return SetPlan(**rest)
        case "AdjustCredits":
            return AdjustCredits(**rest)
        case "LinkIdentity":
            return LinkIdentity(**{**rest, "layer": Layer(rest["layer"])})
        case "SetResolvedId":
            return SetResolvedId(**rest)
        case "CreateBalance":
            return CreateBalance()
        case "SetSubscription":
            times = {name: _instant(rest[name]) for name in ("period_start", "period_end")}
            return SetSubscription(status=rest["status"], **times)
    start, end = (datetime.fromisoformat(fields[name]) for name in ("period_start", "period_end"))
    return GrantCredits(
        delta=fields["delta"],
        grant_key=GrantKey(account_id=account, plan=fields["plan"], period_start=start),
        period_end=end,
        reset_used=fields["reset_used"],
        reference=fields.get("reference"),
        sold_at=_instant(fields.get("sold_at")),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
