"""Whether billing still says what a ledger's correction was made for, moments before it is written. Writes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, GrantCredits, Lane, SetPlan, SetSubscription
from credit_pipeline.domain.grants.invoices import InvoiceStatus
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.subjects.account import Billing, Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Pull
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.subjects import judged_on

Doubt = tuple[str, str]
"""(outcome, sentence): why a row is not written."""


class Answers:
    """What billing says now about the customers of a plan's rows; `as_of` is when the plan was made."""

    def __init__(self, system: CreditSystem, pull: Pull, *, as_of: datetime, now: datetime) -> None:
        self._words = PlanWords.spoken_in(system.catalogue, pull.table)
        self._complete = pull.enumerated
        self._as_of, self._now = as_of, now
        self._rows: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in pull.table.to_pylist():
            self._rows[row["billing_id"]].append(row)

    def doubt(self, correction: Correction) -> Doubt | None:
        """Why this correction may not be written now, or None.

        What changes nothing but who is who, gives lost credits back, or was approved as owed for a time that was paid,
        does not hang on the subscription being live.
        """
        if not correction.billing_id:
            return None  # no customer at all: nothing was billed, and nobody could be asked
        rows = self._rows.get(correction.billing_id)
        if not rows or not self._complete:
            return "blocked_by_guard", "billing did not confirm this customer: run again when it answers"
        billing = judged_on(rows, self._words, self._now)
        if billing.lookup is Lookup.ERROR:
            return "blocked_by_guard", "billing did not confirm this customer: run again when it answers"
        says = billing.plan.name if billing.plan else billing.lookup.value
        if says != correction.billed_plan:
            return _stale(f"billing now says {says}, the plan was made for {correction.billed_plan}")
        live = billing.status is not None and billing.status.live and billing.plan is not None and not billing.plan.free
        if _ends(correction, self._words.catalogue.free) and live:
            return _stale(f"billing now says that {says} is paid, the plan was made for its end")
        if _needs_pay(correction, self._words.catalogue.free) and not live:
            state = billing.status.value if billing.status else "unknown"
            return _stale(f"billing now says that {says} is {state}, the plan was made for a paid one")
        return self._grant_doubt(correction, billing)

    def _grant_doubt(self, correction: Correction, billing: Billing) -> Doubt | None:
        grant = correction.grant
        if grant is None:
            return None
        start = grant.grant_key.period_start
        current = grant.period_end > self._as_of  # when the plan was made
        if current and correction.lane is Lane.AUTO and (billing.period is None or billing.period.start != start):
            return _stale("billing's period rolled over since the plan was made")
        returned = _returned(billing, grant)
        if returned is not None:
            return _stale(f"billing now says that its payment is {returned}")
        lines = [line for line in billing.invoices if line.period.start <= start < line.period.end]
        approved_late = correction.lane is not Lane.AUTO and not lines  # older than what was asked for
        if not approved_late and not any(line.status is InvoiceStatus.PAID for line in lines):
            return _stale("billing no longer shows a paid invoice for the period")
        return None


def _returned(billing: Billing, grant: GrantCredits) -> str | None:
    """What became of the payment for the grant's plan in its period, unless another invoice paid for the same.

    An upgrade is paid by an invoice of its own, which begins within the period.
    """
    key = grant.grant_key
    lines = [
        line
        for line in billing.invoices
        if line.plan is not None
        and line.plan.name == key.plan
        and line.period.start < grant.period_end
        and key.period_start < line.period.end
    ]
    kept = {line.period.start for line in lines if line.status is InvoiceStatus.PAID}
    return next((line.returned for line in lines if line.returned and line.period.start not in kept), None)


def customers_of_rows(corrections: Iterable[Correction]) -> list[BillingId]:
    """The customers to ask about, each once."""
    return list(dict.fromkeys(one.billing_id for one in corrections if one.billing_id))


def _stale(sentence: str) -> Doubt:
    return "stale_skipped", sentence


def _ends(correction: Correction, free: Plan) -> bool:
    return correction.set_plan is not None and correction.set_plan.plan == free.name


def _needs_pay(correction: Correction, free: Plan) -> bool:
    """Whether a step gives what only a paying user has: a grant by itself, a paid label, a live subscription's row."""
    return any(
        isinstance(step, SetSubscription)
        or (isinstance(step, SetPlan) and step.plan != free.name)
        or (isinstance(step, GrantCredits) and correction.lane is Lane.AUTO)
        for step in correction.steps
    )
