"""What a ledger account is entitled to: one grant per plan and period that billing was paid for (semantics §5, §6).

Billing's own words about periods and invoice lines become Entitlements here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from credit_pipeline.domain.grants.entitlement import Entitlement, Settlement, cycle_of, entitlement, horizon
from credit_pipeline.domain.grants.history import grants_held
from credit_pipeline.domain.grants.invoice_lines import Stretch, covering, stretches
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.plans.catalogue import Plan, YearlyMode
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months, period_at, step_months
from credit_pipeline.domain.policy import Trial
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing
from credit_pipeline.domain.subjects.billing_status import BillingStatus

A_TRIAL = timedelta(days=27)
"""A first period shorter than any month is a trial."""


def grant_period(billing: Billing, now: datetime) -> Period | None:
    """The period one grant is for: the billed term, or with a monthly drip the month of a yearly term that `now` is in.

    None where billing sent no term or plan, or the plan's yearly mode is undeclared. The anchor's day is kept: a term
    from 31 January drips on 31 January, 28 February, 31 March.
    """
    plan, term = billing.plan, billing.term
    if plan is None or term is None or billing.cycle is None:
        return None
    step = step_months(plan, billing.cycle)
    if step is None or step == 0:
        return None if step is None else period_at(term.start, 0, now)
    if billing.cycle is Cycle.MONTHLY or step != 1:
        return term
    month = period_at(term.start, 1, min(now, term.end - timedelta(microseconds=1)))
    return Period(start=month.start, end=min(month.end, term.end))


def entitlements(account: Account, rules: Rules) -> tuple[Entitlement, ...]:
    """Every grant that billing explains within the time the ledger was read back, oldest first, the current one last.

    Owed are those of the judged subscription while it is live, and whatever was paid for by a line of its own, whether
    the subscription is overdue, paused or over since. The rest explains what the product granted.
    """
    by_key: dict[tuple[str, datetime], Entitlement] = {}
    others = [one for one in account.subscriptions if one.subscription_id != account.billing.subscription_id]
    for billing in (account.billing, *others):
        judged = billing is account.billing and billing.status is not None and billing.status.live
        for one in _of(account, billing, rules, judged=judged):
            by_key.setdefault(one.key, one)
    for one in _remembered(account, rules):
        by_key.setdefault(one.key, one)
    since = horizon(account, rules)
    inside = (one for one in by_key.values() if one.period.end > since or one.closes >= since)
    return tuple(sorted(inside, key=lambda one: (one.current, one.period.start, one.plan.rank)))


def _of(account: Account, billing: Billing, rules: Rules, *, judged: bool) -> Iterator[Entitlement]:
    """One subscription's, the current one among them, whatever its invoice says."""
    lines = stretches(billing)
    made: list[Entitlement] = []
    silent: set[tuple[str, datetime]] = set()
    for stretch in lines:
        for one in _of_stretch(account, billing, stretch, rules):
            trial = rules.policy.trial is Trial.NONE and _is_trial(account, billing, one)
            switched = _switched(one, stretch, made)
            if trial or (switched and one.plan.yearly is YearlyMode.DRIP):
                silent.add(one.key)
            elif switched:
                hold = "the plan was billed monthly until then, and a month of it was granted already"
                made.append(replace(one, holds=(*one.holds, hold)))
            else:
                made.append(one)
    present = _present(account, billing, lines, rules) if billing.status and billing.status.live else None
    now = (present.plan.name, present.period.start) if present else None
    if present is not None and present.key not in silent and all(one.key != now for one in made):
        made.append(present)
    for one in made:
        paid = one.invoice_id is not None and one.settlement is Settlement.PAID and not _after_the_end(billing, one)
        yield replace(one, judged=(judged or paid) and one.judged, current=judged and one.key == now)


def _after_the_end(billing: Billing, one: Entitlement) -> bool:
    """Whether it is a later month of a term that was cut short: explained if it comes, and owed no more."""
    if billing.status is not BillingStatus.ENDED or billing.ends_at is None:
        return False
    return one.period.start > max(billing.ends_at, one.billed_at or one.instant)


def _of_stretch(account: Account, billing: Billing, stretch: Stretch, rules: Rules) -> Iterator[Entitlement]:
    """The grants of one billed stretch: its plan's periods, and an upgrade where a higher plan came in between."""
    granted: dict[datetime, int] = {}
    for segment in stretch.segments:
        for piece in _pieces(stretch.line, segment.plan, rules.now):
            began, change = max(piece.start, segment.start), piece.start < segment.start
            if piece.start >= segment.end or piece.end <= segment.start or began >= stretch.end or began > rules.now:
                continue
            if change and segment.plan.rank <= granted.get(piece.start, -1):
                continue
            granted[piece.start] = max(segment.plan.rank, granted.get(piece.start, -1))
            yield entitlement(account, billing, segment.line, segment.plan, piece, rules, change=change)
    if stretch.upgraded_to is not None:
        for last in _pieces(stretch.line, stretch.upgraded_to, rules.now)[-1:]:
            paid = stretch.line.status
            later = entitlement(account, billing, None, stretch.upgraded_to, last, rules, change=True, status=paid)
            yield replace(later, judged=False)


def _present(account: Account, billing: Billing, lines: Sequence[Stretch], rules: Rules) -> Entitlement | None:
    """What billing names now, where no invoice line says so itself: unbilled as yet, or an upgrade without an invoice.

    None where nothing is owed: a downgrade in mid-period, or a plan without credits.
    """
    plan, period = billing.plan, billing.period
    if plan is None or plan.free or period is None or plan.credits <= 0:
        return None
    if rules.policy.trial is Trial.NONE and billing.status is BillingStatus.TRIALING:
        return None
    line = covering(lines, period.start)
    if line is None or line.plan is None or line.plan == plan:
        return entitlement(account, billing, line, plan, period, rules)
    if line.plan.rank > plan.rank:
        return None
    return entitlement(account, billing, None, plan, period, rules, change=True, status=line.status)


def _remembered(account: Account, rules: Rules) -> Iterator[Entitlement]:
    """Grants made by us, or held to be the product's, that billing's lines no longer tell of."""
    for name, start in grants_held(account.memory) if account.memory else ():
        plan = rules.catalogue.named(name)
        if plan is not None and not plan.free:
            period = Period(start=start, end=add_months(start, 1))
            paid = InvoiceStatus.PAID
            held = entitlement(account, account.billing, None, plan, period, rules, change=True, status=paid)
            yield replace(held, judged=False, subscription_id=None)


def _pieces(line: InvoiceLine, plan: Plan, now: datetime) -> list[Period]:
    """The periods of a billed line that get a grant each, up to now; none where the yearly mode is undeclared."""
    if cycle_of(line.period) is Cycle.MONTHLY or plan.yearly is YearlyMode.UPFRONT:
        return [line.period]
    if plan.yearly is None:
        return []
    months: list[Period] = []
    start, count = line.period.start, 0
    while start < line.period.end and start <= now:
        count += 1
        following = min(add_months(line.period.start, count), line.period.end)
        months.append(Period(start=start, end=following))
        start = following
    return months


def _switched(one: Entitlement, stretch: Stretch, made: Iterable[Entitlement]) -> bool:
    """Whether a year of the same plan begins inside a month of it that is paid: the switch itself owes nothing."""
    if cycle_of(stretch.line.period) is not Cycle.YEARLY or one.period.start != stretch.line.period.start:
        return False
    return any(
        other.plan == one.plan
        and cycle_of(other.period) is Cycle.MONTHLY
        and other.period.start < one.period.start < other.period.end
        for other in made
    )


def _is_trial(account: Account, billing: Billing, one: Entitlement) -> bool:
    """The first period, if it is shorter than a month, or was seen to be a trial while it lasted."""
    first = billing.started_at is not None and one.period.start == billing.started_at
    if first and one.period.end - one.period.start < A_TRIAL:
        return True
    if one.key == (billing.plan.name if billing.plan else None, billing.period.start if billing.period else None):
        return billing.status is BillingStatus.TRIALING
    seen = account.memory.states if account.memory else ()
    trialing = BillingStatus.TRIALING.value
    return any((s.billed_plan, s.billed_period_start, s.billed_status) == (*one.key, trialing) for s in seen)
