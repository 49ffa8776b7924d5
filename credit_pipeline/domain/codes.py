"""Every code a subject can be given: its room in the precedence, severity, default lane, direction, sentence, recovery.

The table is semantics §7. A subject is exactly one of in_sync, exempt, or its primary code; other codes are secondary.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from credit_pipeline.domain.corrections.correction import Lane


class Group(IntEnum):
    """Precedence of the primary code, first wins."""

    SOURCE = 1
    IDENTITY = 2
    SUBSCRIPTION = 3
    GRANTS = 4
    BALANCE = 5


class Severity(StrEnum):
    """How loud a finding is."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Direction(StrEnum):
    """Whom the finding hurts."""

    SHORT = "customer short"
    OVER = "customer over"
    NEUTRAL = "neutral"


class Code(StrEnum):
    """What can be wrong with one subject."""

    SOURCE_LOOKUP_ERROR = "source_lookup_error"
    SOURCE_GONE = "source_gone"
    PENDING_SETTLEMENT = "pending_settlement"
    ID_CONFLICT = "id_conflict"
    ID_SHARED = "id_shared"
    ID_UNMAPPED = "id_unmapped"
    ID_METADATA_MISSING = "id_metadata_missing"
    ORPHAN_BALANCE = "orphan_balance"
    MULTIPLE_LIVE_SUBSCRIPTIONS = "multiple_live_subscriptions"
    SUBSCRIPTION_MISSING_LOCALLY = "subscription_missing_locally"
    PLAN_MISMATCH = "plan_mismatch"
    PLAN_UNMAPPED = "plan_unmapped"
    SUBSCRIPTION_MISSING_AT_SOURCE = "subscription_missing_at_source"
    SUBSCRIPTION_ENDED = "subscription_ended"
    STATUS_MISMATCH = "status_mismatch"
    DUNNING = "dunning"
    GRANT_MISSING = "grant_missing"
    GRANT_LOST = "grant_lost"
    GRANT_DUPLICATE = "grant_duplicate"
    GRANT_AMOUNT_MISMATCH = "grant_amount_mismatch"
    GRANT_UNEXPECTED = "grant_unexpected"
    RENEWAL_MISSING = "renewal_missing"
    REFUNDED = "refunded"
    BALANCE_MISSING = "balance_missing"
    BALANCE_LEDGER_MISMATCH = "balance_ledger_mismatch"
    BALANCE_NEGATIVE = "balance_negative"
    UNEXPLAINED_DECREASE = "unexplained_decrease"
    UNEXPLAINED_INCREASE = "unexplained_increase"
    SPENT_OUT = "spent_out"


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What the reader of a report needs to know about a code."""

    group: Group
    severity: Severity
    lane: Lane
    direction: Direction
    sentence: str
    recovery: str


_ = CodeFacts
CODES: Mapping[Code, CodeFacts] = MappingProxyType(
    {
        Code.SOURCE_LOOKUP_ERROR: _(
            Group.SOURCE,
            Severity.WARNING,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "billing gave no answer about this account",
            "nothing is written; run check again, and ask the provider about the request id if it stays",
        ),
        Code.SOURCE_GONE: _(
            Group.SOURCE,
            Severity.INFO,
            Lane.NONE,
            Direction.NEUTRAL,
            "the app was uninstalled from this account's site",
            "nothing to do; the account comes back by itself when the app is installed again",
        ),
        Code.PENDING_SETTLEMENT: _(
            Group.SOURCE,
            Severity.INFO,
            Lane.NONE,
            Direction.NEUTRAL,
            "the change is younger than settle_time, so the product's webhook may still arrive",
            "nothing to do; the next run judges it",
        ),
        Code.ID_CONFLICT: _(
            Group.IDENTITY,
            Severity.CRITICAL,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "the layers of evidence name different accounts for one user",
            "find the right pair and correct the mapping table or the metadata; nothing is written until they agree",
        ),
        Code.ID_SHARED: _(
            Group.IDENTITY,
            Severity.CRITICAL,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "several users or customers claim one account",
            "find whose account it is and remove the wrong claim; nothing is written meanwhile",
        ),
        Code.ID_UNMAPPED: _(
            Group.IDENTITY,
            Severity.ERROR,
            Lane.REVIEW,
            Direction.SHORT,
            "no verified evidence says which store account the user has",
            "add the pair to the mapping table; where the metadata names it, apply the correction plan",
        ),
        Code.ID_METADATA_MISSING: _(
            Group.IDENTITY,
            Severity.WARNING,
            Lane.AUTO,
            Direction.NEUTRAL,
            "the local subscription row does not name the store account",
            "apply the correction plan: the id of the mapping table is written into the metadata",
        ),
        Code.ORPHAN_BALANCE: _(
            Group.IDENTITY,
            Severity.WARNING,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "a store account belongs to no user",
            "find its user or close the account; nothing is written",
        ),
        Code.MULTIPLE_LIVE_SUBSCRIPTIONS: _(
            Group.SUBSCRIPTION,
            Severity.CRITICAL,
            Lane.APPROVE,
            Direction.NEUTRAL,
            "the customer pays for several subscriptions at once",
            "cancel the surplus one at the provider and refund it; at most one grant of the highest plan is offered",
        ),
        Code.SUBSCRIPTION_MISSING_LOCALLY: _(
            Group.SUBSCRIPTION,
            Severity.ERROR,
            Lane.AUTO,
            Direction.SHORT,
            "billing has a live subscription that the product has no row for",
            "apply the correction plan: the row is written as billed",
        ),
        Code.STATUS_MISMATCH: _(
            Group.SUBSCRIPTION,
            Severity.WARNING,
            Lane.AUTO,
            Direction.NEUTRAL,
            "the product's status of the subscription is not the one billing has",
            "apply the correction plan: the status and the billed period are written",
        ),
        Code.PLAN_MISMATCH: _(
            Group.SUBSCRIPTION,
            Severity.ERROR,
            Lane.AUTO,
            Direction.SHORT,
            "the product's plan label is not the plan that is billed",
            "apply the correction plan: the label is written, credits move only if a grant is proven missing",
        ),
        Code.PLAN_UNMAPPED: _(
            Group.SUBSCRIPTION,
            Severity.ERROR,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "a plan's name is in no catalogue",
            "add the word as provider_ids, aliases or label of the right plan in defs.yaml",
        ),
        Code.SUBSCRIPTION_MISSING_AT_SOURCE: _(
            Group.SUBSCRIPTION,
            Severity.WARNING,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "billing does not know this account",
            "compare the account's id with the provider's dashboard; nothing is written",
        ),
        Code.SUBSCRIPTION_ENDED: _(
            Group.SUBSCRIPTION,
            Severity.WARNING,
            Lane.NONE,
            Direction.OVER,
            "billing says the account pays nothing, the product still calls it paid",
            "approve the label after two complete runs 24 h apart agree; credits are kept",
        ),
        Code.DUNNING: _(
            Group.SUBSCRIPTION,
            Severity.INFO,
            Lane.NONE,
            Direction.NEUTRAL,
            "payment is overdue or paused: no grant and no downgrade",
            "nothing to do until the provider decides",
        ),
        Code.GRANT_MISSING: _(
            Group.GRANTS,
            Severity.ERROR,
            Lane.AUTO,
            Direction.SHORT,
            "the billed period's credits were not granted",
            "apply the correction plan; without proof the credits wait for approval",
        ),
        Code.GRANT_LOST: _(
            Group.GRANTS,
            Severity.ERROR,
            Lane.APPROVE,
            Direction.SHORT,
            "the period's credits were granted and are gone again",
            "find what reset the balance, then approve the restore",
        ),
        Code.GRANT_DUPLICATE: _(
            Group.GRANTS,
            Severity.WARNING,
            Lane.APPROVE,
            Direction.OVER,
            "the same period's credits were granted a second time",
            "approve the claw-back of what is left of it, or accept it as a gift",
        ),
        Code.GRANT_AMOUNT_MISMATCH: _(
            Group.GRANTS,
            Severity.ERROR,
            Lane.APPROVE,
            Direction.NEUTRAL,
            "the period's grant has another amount than the plan's allowance",
            "approve the difference, or accept it",
        ),
        Code.GRANT_UNEXPECTED: _(
            Group.GRANTS,
            Severity.WARNING,
            Lane.REVIEW,
            Direction.OVER,
            "a grant stands in the ledger that no billed period explains",
            "find who granted it; accept it if it was meant",
        ),
        Code.REFUNDED: _(
            Group.GRANTS,
            Severity.WARNING,
            Lane.REVIEW,
            Direction.OVER,
            "the period's payment was refunded, in full or in part, or is disputed",
            "decide whether its credits stay; nothing is granted or taken",
        ),
        Code.RENEWAL_MISSING: _(
            Group.GRANTS,
            Severity.WARNING,
            Lane.APPROVE,
            Direction.SHORT,
            "the product did not do at renewal what defs.yaml declares",
            "approve what the renewal should have brought, or accept it",
        ),
        Code.BALANCE_MISSING: _(
            Group.BALANCE,
            Severity.ERROR,
            Lane.REVIEW,
            Direction.SHORT,
            "the account has no credit numbers",
            "fill in the account's row; an unknown balance is never corrected",
        ),
        Code.BALANCE_LEDGER_MISMATCH: _(
            Group.BALANCE,
            Severity.ERROR,
            Lane.REVIEW,
            Direction.NEUTRAL,
            "the balance is not the sum of its transactions",
            "find what writes the balance past the ledger, or the transaction types missing in defs.yaml",
        ),
        Code.BALANCE_NEGATIVE: _(
            Group.BALANCE,
            Severity.ERROR,
            Lane.REVIEW,
            Direction.OVER,
            "more credits were used than granted, or a number is below zero",
            "find the deduction that went through without credits",
        ),
        Code.UNEXPLAINED_DECREASE: _(
            Group.BALANCE,
            Severity.ERROR,
            Lane.APPROVE,
            Direction.SHORT,
            "credits vanished between two runs without being spent",
            "find what lowered the balance, then approve the restore or accept it as a legal adjustment",
        ),
        Code.UNEXPLAINED_INCREASE: _(
            Group.BALANCE,
            Severity.INFO,
            Lane.NONE,
            Direction.OVER,
            "credits appeared between two runs without a billed reason",
            "accept it if it was a purchase or a gift",
        ),
        Code.SPENT_OUT: _(
            Group.BALANCE,
            Severity.INFO,
            Lane.NONE,
            Direction.NEUTRAL,
            "a paying user has no credits left: all were granted and spent",
            "nothing to do; the next period's grant comes with its payment",
        ),
    }
)
del _

UNKNOWN: frozenset[Code] = frozenset({Code.PLAN_UNMAPPED, Code.SOURCE_LOOKUP_ERROR, Code.ID_CONFLICT})
"""Codes that mean "could not tell"; too many of them halt a plan (semantics §9)."""


def by_precedence(codes: Iterable[Code]) -> list[Code]:
    """The codes ordered so that the first is the primary one."""
    order = list(Code)
    return sorted(set(codes), key=lambda code: (CODES[code].group, order.index(code)))
