"""A product with a points ledger and its billing, told as a story, and what must be said about it: slow and obvious.

The story knows which transaction was made for which period, because it makes it. So nothing is matched here: what must
be found missing, twice, wrong or unexpected is written down beside each grant as it is made, or not made.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.grants.entitlements import grant_period
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.grants.ledger import Entry, EntryKind, Ledger
from credit_pipeline.domain.plans.catalogue import Plan, Resolved, Rule
from credit_pipeline.domain.plans.periods import Cycle, Period
from credit_pipeline.domain.subjects.account import Account, Memory
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import a_catalogue
from credit_pipeline_tests.domain.ledger_builders import STORE, a_local, a_stripe_billing, a_user

PLANS = a_catalogue()
FREE = PLANS.free.credits
LOOKBACK, DAY, HOUR = timedelta(days=62), timedelta(days=1), timedelta(hours=1)


class Webhook(StrEnum):
    """What became of the product's own grant."""

    ON_TIME = "on time"
    LATE = "late"
    TWICE = "twice"
    WRONG = "wrong amount"
    MISSED = "missed"


@dataclass(kw_only=True)
class Due:
    """One grant that a payment entitles to, and the transactions that the product made for it."""

    plan: Plan
    period: Period
    instant: datetime
    line: InvoiceLine | None
    """None: an upgrade that was never billed by itself."""
    change: bool = False
    webhook: Webhook = Webhook.MISSED
    allowance: int
    given: list[Entry] = field(default_factory=list)
    copies: list[Entry] = field(default_factory=list)

    def opens(self) -> datetime:
        if self.line is None:
            return self.period.start
        return min(self.instant, self.line.period.start if self.change else self.instant) - DAY

    def closes(self) -> datetime:
        return self.period.end if self.line is None else self.instant + 3 * DAY

    def paid(self, now: datetime) -> bool:
        return self.line is None or (self.line.paid_at is not None and self.line.paid_at <= now)


@dataclass(kw_only=True)
class Story:
    """One customer from the first invoice to the end of the last period told."""

    named: bool
    """The product writes the reference of the policy's template."""
    dues: list[Due] = field(default_factory=list)
    terms: list[InvoiceLine] = field(default_factory=list)
    changes: list[tuple[datetime, Plan, InvoiceLine | None]] = field(default_factory=list)
    """When the billed plan became another one in mid-period; the line is an invoice of its own."""
    refunded: set[str] = field(default_factory=set)
    """Line ids."""
    dunning: list[tuple[datetime, datetime]] = field(default_factory=list)
    loose: list[Entry] = field(default_factory=list)
    """Transactions that are nobody's grant: gifts, purchases, second copies, strays."""
    spends: list[tuple[datetime, int]] = field(default_factory=list)
    cycle: Cycle = Cycle.MONTHLY
    count: int = 0

    def entry(
        self, at: datetime, amount: int, kind: EntryKind = EntryKind.GRANT, reference: str | None = None
    ) -> Entry:
        self.count += 1
        return Entry(entry_id=f"t{self.count}", at=at, amount=amount, kind=kind, type=kind.value, reference=reference)

    def grant(self, due: Due, webhook: Webhook, delay: timedelta, wrong: int) -> None:
        """The product's handler at work. Copies and late ones stay clear of the next period's window."""
        due.webhook = webhook
        reference = f"{STORE}/{due.plan.name}/{int(due.period.start.timestamp())}" if self.named else None
        at = due.instant + min(delay, 60 * HOUR)
        far = due.instant + 4 * DAY + 5 * delay
        if webhook is Webhook.LATE:
            if far >= due.period.end - DAY - HOUR:
                due.webhook = Webhook.MISSED
            else:
                due.given.append(self.entry(far, due.allowance, reference=reference))
        elif webhook is not Webhook.MISSED:
            amount = wrong if webhook is Webhook.WRONG else due.allowance
            due.given.append(self.entry(at, amount, reference=reference))
            again = at + HOUR + delay
            if webhook is Webhook.TWICE and again < due.period.end - DAY - HOUR:
                due.copies.append(self.entry(again, due.allowance, reference=reference))
                self.loose += due.copies
        self.dues.append(due)

    # What the adapters would read.

    def billed(self, now: datetime) -> tuple[Plan, InvoiceLine]:
        """The plan billing names at that moment, and the term it is in."""
        term = [line for line in self.terms if line.period.start <= now][-1]
        plan = term.plan
        for at, changed, _ in self.changes:
            if term.period.start <= at <= now:
                plan = changed
        assert plan is not None
        return plan, term

    def lines(self, now: datetime) -> Iterator[InvoiceLine]:
        for line in (*self.terms, *(own for _, _, own in self.changes if own is not None)):
            if line.period.start <= now:
                paid = line.paid_at is not None and line.paid_at <= now
                status = InvoiceStatus.PAID if paid else InvoiceStatus.OPEN
                if line.line_id in self.refunded and paid:
                    status = InvoiceStatus.REFUNDED
                yield InvoiceLine(
                    **{name: getattr(line, name) for name in line.__slots__ if name not in {"status", "paid_at"}},
                    status=status,
                    paid_at=line.paid_at if paid else None,
                )

    def entries(self, now: datetime) -> list[Entry]:
        every = [*(entry for due in self.dues for entry in due.given), *self.loose]
        return sorted((entry for entry in every if entry.at <= now), key=lambda entry: (entry.at, entry.entry_id))

    def account(self, now: datetime, ours: tuple[Entry, ...] = (), memory: Memory | None = None) -> Account:
        plan, term = self.billed(now)
        status = BillingStatus.DUNNING if any(a <= now < b for a, b in self.dunning) else BillingStatus.ACTIVE
        billing = a_stripe_billing(
            plan.name,
            status=status,
            cycle=self.cycle,
            resolution=Resolved(plan=plan, rule=Rule.ALIAS),
            period=term.period,
            started_at=self.terms[0].period.start,
            invoices=tuple(line for line in self.lines(now) if line.period.end > now - LOOKBACK),
        )
        period = grant_period(billing, now)
        billing = type(billing)(
            **{name: getattr(billing, name) for name in billing.__slots__ if name != "period"}, period=period
        )
        every = sorted((*self.entries(now), *ours), key=lambda entry: entry.at)
        since = now - LOOKBACK
        read = tuple(entry for entry in every if entry.at >= since)
        spent = min(sum(amount for at, amount in self.spends if at <= now), sum(entry.amount for entry in every))
        made = a_user(
            billing=billing,
            ledger=Ledger(spent=max(0, spent), rows=len(every) + 1, since=since, entries=read),
            older=sum(entry.amount for entry in every if entry.at < since),
            local=a_local(label=plan.label, status="past_due" if status is BillingStatus.DUNNING else "active"),
            states=(),
        )
        return type(made)(
            **{name: getattr(made, name) for name in made.__slots__ if name != "memory"}, memory=memory or Memory()
        )

    # What must be said.

    def must_say(self, now: datetime) -> "Counter[Said]":
        """Every finding about grants, from what the story knows."""
        plan, _ = self.billed(now)
        live = not any(a <= now < b for a, b in self.dunning)
        said: Counter[Said] = Counter()
        named: list[Entry] = []
        for due in self.dues:
            if (due.line.period.start if due.line else due.instant) <= now:
                present = due.plan == plan and due.period.start <= now < due.period.end
                said.update(self._copies(due, now))
                if due.opens() >= now - LOOKBACK:
                    of_due = list(self._of_due(due, now, live=live, present=present))
                    said.update(of_due)
                    named += self._standing_for(due, now) if any(s.code is Code.GRANT_MISSING for s in of_due) else []
        strange = [e for e in self._nobodys(now) if e.kind is EntryKind.GRANT and e not in (*self.copies, *named)]
        said.update(Said(Code.GRANT_UNEXPECTED, None, e.at, Lane.REVIEW) for e in strange)
        return said

    def _copies(self, due: Due, now: datetime) -> "Iterator[Said]":
        """A second copy is told while the first is still read back."""
        read = self._read([*due.given, *self.loose], now)
        for copy in due.copies:
            if copy in read and due.given[0] in read:
                yield Said(Code.GRANT_DUPLICATE, due.plan.name, due.period.start, Lane.APPROVE)

    def _of_due(self, due: Due, now: datetime, *, live: bool, present: bool) -> "Iterator[Said]":
        name, start = due.plan.name, due.period.start
        given = [entry for entry in due.given if entry.at <= now and due not in self._unclear()]
        refunded = self._refunded(due) and due.paid(now)
        judged = due.line is not None or present  # an upgrade that was never billed is known only while it lasts
        if refunded and judged and (given or (present and live)):
            yield Said(Code.REFUNDED, name, start, Lane.REVIEW)
        if given and due.webhook is Webhook.WRONG and not refunded:
            yield Said(Code.GRANT_AMOUNT_MISMATCH, name, start, Lane.APPROVE)
        if given or refunded or not judged or not (live or (due.line is not None and due.paid(now))):
            return
        if not due.paid(now):
            if present:
                yield Said(Code.PENDING_SETTLEMENT, name, start, Lane.NONE)
        else:
            proven = live and present and self._proven(due, now) and not self._standing_for(due, now)
            yield Said(Code.GRANT_MISSING, name, start, Lane.AUTO if proven else Lane.APPROVE)

    def _refunded(self, due: Due) -> bool:
        term = [line for line in self.terms if line.period.start <= due.period.start][-1]
        return (due.line or term).line_id in self.refunded

    def _unclear(self) -> list[Due]:
        """Whose wrong grant is a stray one to any reader: another plan's amount, or an upgrade never billed itself."""
        amounts = {plan.credits for plan in PLANS.plans}
        wrong = [due for due in self.dues if due.webhook is Webhook.WRONG and not self.named]
        return [due for due in wrong if due.line is None or due.given[0].amount in amounts]

    def _read(self, entries: list[Entry], now: datetime) -> list[Entry]:
        return [entry for entry in entries if now - LOOKBACK <= entry.at <= now]

    def _nobodys(self, now: datetime) -> list[Entry]:
        """What stands in the ledger as no period's grant."""
        return self._read([*self.loose, *(entry for due in self._unclear() for entry in due.given)], now)

    @property
    def copies(self) -> list[Entry]:
        return [copy for due in self.dues for copy in due.copies]

    def _standing_for(self, due: Due, now: datetime) -> list[Entry]:
        """Gains that together come to half of what is owed, and that no other payment explains (semantics §5)."""
        reach = max((due.period.end - due.period.start) * 0.9, DAY * 27)
        near, last = min(due.opens(), due.period.start - DAY), max(due.closes(), due.period.end)
        early = [e for d in self.dues if d.line is None and d.plan == due.plan and d is not due for e in d.given]
        named = [copy for d in self.dues if d is not due for copy in d.copies] if self.named else []
        found = [
            entry
            for entry in (*self._nobodys(now), *(e for e in self._read(early, now) if e not in self._nobodys(now)))
            if entry not in named
            and entry.amount > 0
            and (due.period.start - reach if entry.kind is EntryKind.GRANT else near) <= entry.at <= last
            and (entry.kind is EntryKind.ADJUSTMENT or entry.kind is EntryKind.GRANT)
            and not (entry.kind is EntryKind.GRANT and entry.amount == FREE and 2 * entry.amount < due.allowance)
        ]
        return found if 2 * sum(entry.amount for entry in found) >= due.allowance else []

    def _proven(self, due: Due, now: datetime) -> bool:
        """Nothing doubtful: the months before came when they were due, and no credits beyond the plans' are there."""
        billed = [d for d in self.dues if d.plan == due.plan and d.line is not None]
        before = [d for d in billed if d.period.start < due.period.start]
        last = before[-1] if before else None
        if last is not None:
            near = due.period.start - last.period.start < (due.period.end - due.period.start) * 0.9
            if near and last.period.end > due.period.start:
                return False
            seen = last.opens() >= now - LOOKBACK and not self._refunded(last)
            given = [] if last in self._unclear() else last.given
            if seen and given and not any(last.opens() <= entry.at <= last.closes() for entry in given):
                return False
            if seen and any(self._on_another_day(entry, last) for entry in self._nobodys(now)):
                return False
        return self.granted_in(due.period, now) + due.allowance <= self.allowed_in(due.period, now)

    def _on_another_day(self, entry: Entry, due: Due) -> bool:
        """Whether the product granted the allowance at a time that no payment explains, beside what is due."""
        copied = self.named and entry in self.copies
        inside = due.period.start - DAY <= entry.at < due.period.end
        same = entry.kind is EntryKind.GRANT and entry.amount == due.allowance
        return same and inside and not copied and not due.opens() <= entry.at <= due.closes()

    def granted_in(self, period: Period, now: datetime) -> int:
        """All credits granted for plans of this period, and strays in it."""
        meant = [d.given for d in self.dues if period.start <= d.period.start < period.end]
        stray = [e for e in self.loose if e.kind is EntryKind.GRANT and period.start - DAY <= e.at < period.end]
        return sum(e.amount for e in [*(e for given in meant for e in given), *stray] if e.at <= now)

    def allowed_in(self, period: Period, now: datetime) -> int:
        """The allowances of the distinct plans billed in it by now."""
        inside = [d for d in self.dues if period.start <= d.period.start < period.end]
        billed = [d for d in inside if (d.line.period.start if d.line else d.instant) <= now and d.paid(now)]
        billed = [d for d in billed if not self._refunded(d)]
        return sum({d.plan.name: d.allowance for d in billed}.values())


@dataclass(frozen=True)
class Said:
    """One finding: what, about which grant (an unexpected one: about which moment), who decides."""

    code: Code
    plan: str | None
    at: datetime
    lane: Lane
