"""Repairs failed webhooks: finds the account, reads its present state, and settles the record.

The payload is only a hint, so order, duplicates and forgeries have no effect. Sync requests are processed here too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from credit_pipeline.domain.errors import CreditPipelineError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.sync.ports import (
    Claim,
    Inbox,
    RecordState,
    Settlement,
    SyncRequests,
    WebhookRecord,
)
from credit_pipeline.services.sync.resolve_accounts import Accounts, accounts_meant
from credit_pipeline.services.sync.sync import UNSETTLED, Sync, Synced, SyncOutcome

RENEWED_AFTER = timedelta(minutes=2)
"""Claims are good for ten minutes; a run of many accounts says in between that it is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The result of one record; `state` is None if another worker took it over."""

    record: int
    attempt: int
    state: str | None
    sentence: str
    account_id: AccountId | None = None

    def as_json(self) -> dict[str, Any]:
        """Its part of the object that a run shows."""
        return {
            "record": self.record,
            "attempt": self.attempt,
            "state": self.state,
            "account_id": self.account_id,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """The records of one run and the outcomes of their accounts."""

    records: tuple[Settled, ...] = ()
    accounts: tuple[Synced, ...] = ()

    @property
    def states(self) -> dict[str, int]:
        """Records by where they stand now; they add up. `lost`: taken over by another run."""
        return dict(sorted(Counter(one.state or "lost" for one in self.records).items()))

    def as_json(self) -> dict[str, Any]:
        """What a run shows."""
        return {
            "records": [one.as_json() for one in self.records],
            "accounts": [one.as_json() for one in self.accounts],
            "states": self.states,
        }


def repair(sync: Sync, inbox: Inbox, claims: Sequence[Claim]) -> Repaired:
    """Process the claimed records; each is settled in its own transaction.

    Raises StoreError where the inbox cannot be written: claims left behind are taken over in ten minutes.
    """
    records = inbox.hold(claims)
    settled = [
        *(
            Settled(record=claim.record, attempt=claim.attempt, state=None, sentence="another run took it over")
            for claim in claims
            if claim not in {record.claim for record in records}
        ),
        *(_settle(inbox, record, ended) for record in records if (ended := _without_look(record))),
    ]
    named = [record for record in records if record.hint.names]
    whose = _whose(sync, [name for record in named for name in record.hint.names])
    if isinstance(whose, str):
        failed = Settlement(state=RecordState.FAILED, sentence=whose)
        return Repaired(records=(*settled, *(_settle(inbox, record, failed) for record in named)))
    meant = {record.claim: _meant(record, whose) for record in named}
    looked = _looked(sync, inbox, [record.claim for record in named], meant.values())
    return Repaired(records=(*settled, *_settlements(inbox, named, meant, looked)), accounts=tuple(looked.values()))


def drain(sync: Sync, requests: SyncRequests, claims: Sequence[Claim]) -> Repaired:
    """Process sync requests in the same way."""
    held = requests.hold(claims)
    whose = _whose(sync, [request.account_id for request in held])
    meant = {request.claim: () if isinstance(whose, str) else whose[request.account_id] for request in held}
    looked = _looked(sync, requests, [request.claim for request in held], meant.values())
    settled = []
    for request in held:
        mine = [looked[account] for account in meant[request.claim]]
        if isinstance(whose, str):
            outcome, sentence = SyncOutcome.UNKNOWN, whose
        elif not mine:
            outcome, sentence = SyncOutcome.ABSENT, _nobody(request.account_id)
        else:
            outcome, sentence = _worst(mine).outcome, _worst(mine).sentence
        again = outcome in UNSETTLED - {SyncOutcome.WOULD_CHANGE}
        good = requests.settle(request.claim, outcome.value, sentence, again=again)
        settled.append(
            Settled(
                record=request.claim.record,
                attempt=request.claim.attempt,
                state=outcome.value if good else None,
                sentence=sentence,
                account_id=request.account_id,
            )
        )
    return Repaired(records=tuple(settled), accounts=tuple(looked.values()))


def _without_look(record: WebhookRecord) -> Settlement | None:
    """How a record ends that names no account; None if it names one."""
    hint = record.hint
    if hint.fault is not None:
        return Settlement(state=RecordState.DEAD, sentence=hint.fault, type=hint.type)
    if hint.silent is not None:
        return Settlement(state=RecordState.SUPERSEDED, sentence=hint.silent, type=hint.type)
    return None


def _whose(sync: Sync, names: Sequence[str]) -> Accounts | str:
    """The accounts that the record means, or why they cannot be determined now."""
    try:
        return accounts_meant(sync.gateways, names, sync.clock()) if names else {}
    except CreditPipelineError as error:
        return str(error)


def _meant(record: WebhookRecord, whose: Accounts) -> tuple[AccountId, ...]:
    return tuple(dict.fromkeys(account for name in record.hint.names for account in whose[name]))


def _looked(
    sync: Sync, queue: Inbox | SyncRequests, claims: Sequence[Claim], meant: Iterable[tuple[AccountId, ...]]
) -> Mapping[AccountId, Synced]:
    """Look at every account once, however many records name it, and renew the claims meanwhile."""
    accounts = list(dict.fromkeys(account for accounts in meant for account in accounts))
    renewed = sync.clock()

    def told(one: Synced) -> None:
        nonlocal renewed
        sync.told(one)
        if sync.clock() - renewed > RENEWED_AFTER:
            queue.hold(claims)
            renewed = sync.clock()

    return {one.account_id: one for one in replace(sync, told=told).of(accounts)} if accounts else {}


def _settlements(
    inbox: Inbox,
    records: Sequence[WebhookRecord],
    meant: Mapping[Claim, tuple[AccountId, ...]],
    looked: Mapping[AccountId, Synced],
) -> Iterator[Settled]:
    """The oldest record of an account carries the outcome; its other records are superseded by it."""
    first: dict[tuple[AccountId, ...], int] = {}
    for record in records:
        accounts = meant[record.claim]
        settlement = _settlement(record, [looked[account] for account in accounts])
        if settlement.state is RecordState.REPAIRED:
            leader = first.setdefault(accounts, record.claim.record)
            if leader != record.claim.record:
                sentence = f"record {leader} of the same account repaired it"
                settlement = replace(settlement, state=RecordState.SUPERSEDED, sentence=sentence)
        yield _settle(inbox, record, settlement)


def _settlement(record: WebhookRecord, looked: Sequence[Synced]) -> Settlement:
    if not looked:
        # The product may make the account any moment, and its webhook has come too early.
        return Settlement(state=RecordState.FAILED, sentence=_nobody(record.hint.names[0]), type=record.hint.type)
    worst = _worst(looked)
    states = {SyncOutcome.ENDED: RecordState.SUPERSEDED} | dict.fromkeys(UNSETTLED, RecordState.FAILED)
    return Settlement(
        state=states.get(worst.outcome, RecordState.REPAIRED),
        sentence=worst.sentence,
        account=worst.account_id,
        type=record.hint.type,
    )


def _settle(inbox: Inbox, record: WebhookRecord, settlement: Settlement) -> Settled:
    state = inbox.settle(record.claim, settlement)
    return Settled(
        record=record.claim.record,
        attempt=record.claim.attempt,
        state=state.value if state else None,
        sentence=settlement.sentence,
        account_id=AccountId(settlement.account) if settlement.account else None,
    )


def _worst(looked: Sequence[Synced]) -> Synced:
    order = list(SyncOutcome)
    return max(looked, key=lambda one: order.index(one.outcome))


def _nobody(name: str) -> str:
    return f"the store has no account that goes by `{name[:60]}`: it is made later, or of another system"
