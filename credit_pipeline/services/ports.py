"""What the use cases need from the outside, each beside its promise. Adapters implement these.

Tables cross these ports as Arrow. Columns:

* balances (counter): `account_id` string, `label` string?, `total` int64?, `used` int64?
* subscriptions: `billing_id` string, `lookup` string (domain.account.Lookup), `status` string? (BillingStatus),
  `raw_plan` string?, `subscription_id` string?, `cycle` string? (domain.periods.Cycle), `anchor` timestamp[us, UTC]?,
  `changed_at` timestamp[us, UTC]?, `ends_at` timestamp[us, UTC]?, `auto_renews` bool?, `detail` string?
* balances (ledger): as a counter's, with `total` = the sum of all transactions but spends, `used` = total − balance
  (null: no balance row), `status` string? and `local` bool (the product's subscription row), `period_start`,
  `period_end` timestamp[us, UTC]?, `spent` int64, `rows` int64, `unknown_types` list<string>, `entries` list<ENTRY>
* identities: `auth_id` string, `mapped` list<string>, `metadata` list<struct<key, value>> (valid uuids of the known
  keys), `local` bool (has a local subscription row), `same_id` bool (the store knows the user's own id),
  `billing_id` string?, `subscription_id` string? (what the local row names), `email_hash` string?
* subscriptions (listed): one row a subscription, with SUBSCRIPTIONS' columns and `lookup_key` string?, `metadata`
  string? (the plan's word there), `period_start`, `period_end`, `started_at` timestamp[us, UTC]?, `quantity` int64,
  `items` int64, `subjects` list<struct<source, id>>, `email_hash` string?, `invoices` list<INVOICE>
* observation: `account` string, `label` string?, `total` int64, `used` int64, `billed_plan` string?,
  `billed_period_start` timestamp[us, UTC]?, `billed_status` string?, `mark` string?, `as_of` timestamp[us, UTC],
  `unanswered_since` timestamp[us, UTC]?, `gap` int64? (ledger: balance less the sum of all transactions)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from credit_pipeline.domain.account import Memory
from credit_pipeline.domain.audit import AuditedCorrection, AuditedGrant, AuditRow, TakenKey
from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.corrections import Correction
from credit_pipeline.domain.ids import AccountId, AuthId, BillingId
from credit_pipeline.domain.plans import Amount
from credit_pipeline.services.alert_ports import Outbox
from credit_pipeline.services.inbox_ports import Inbox

SUBSCRIPTIONS = pa.schema(
    [
        pa.field("billing_id", pa.string(), nullable=False),
        pa.field("lookup", pa.string(), nullable=False),
        ("status", pa.string()),
        ("raw_plan", pa.string()),
        ("subscription_id", pa.string()),
        ("cycle", pa.string()),
        ("anchor", pa.timestamp("us", "UTC")),
        ("changed_at", pa.timestamp("us", "UTC")),
        ("ends_at", pa.timestamp("us", "UTC")),
        ("auto_renews", pa.bool_()),
        ("detail", pa.string()),
    ]
)
COUNTER_BALANCES = pa.schema(
    [
        pa.field("account_id", pa.string(), nullable=False),
        ("label", pa.string()),
        ("total", pa.int64()),
        ("used", pa.int64()),
    ]
)
_UTC = pa.timestamp("us", "UTC")
ENTRY = pa.struct(
    [
        ("entry_id", pa.string()),
        ("at", _UTC),
        ("amount", pa.int64()),
        ("kind", pa.string()),
        ("type", pa.string()),
        ("reference", pa.string()),
    ]
)
LEDGER_BALANCES = pa.schema(
    [
        *COUNTER_BALANCES,
        ("status", pa.string()),
        pa.field("local", pa.bool_(), nullable=False),
        ("period_start", _UTC),
        ("period_end", _UTC),
        pa.field("spent", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("unknown_types", pa.list_(pa.string()), nullable=False),
        pa.field("entries", pa.list_(ENTRY), nullable=False),
    ]
)
IDENTITIES = pa.schema(
    [
        pa.field("auth_id", pa.string(), nullable=False),
        pa.field("mapped", pa.list_(pa.string()), nullable=False),
        pa.field("metadata", pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])), nullable=False),
        pa.field("local", pa.bool_(), nullable=False),
        pa.field("same_id", pa.bool_(), nullable=False),
        ("billing_id", pa.string()),
        ("subscription_id", pa.string()),
        ("email_hash", pa.string()),
    ]
)
INVOICE = pa.struct(
    [
        ("invoice_id", pa.string()),
        ("line_id", pa.string()),
        ("status", pa.string()),
        ("raw_plan", pa.string()),
        ("period_start", _UTC),
        ("period_end", _UTC),
        ("paid_at", _UTC),
        ("change", pa.bool_()),
    ]
)
LISTED_SUBSCRIPTIONS = pa.schema(
    [
        *SUBSCRIPTIONS,
        ("lookup_key", pa.string()),
        ("metadata", pa.string()),
        ("period_start", _UTC),
        ("period_end", _UTC),
        ("started_at", _UTC),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("subjects", pa.list_(pa.struct([("source", pa.string()), ("id", pa.string())])), nullable=False),
        ("email_hash", pa.string()),
        pa.field("invoices", pa.list_(INVOICE), nullable=False),
    ]
)
OBSERVATIONS = pa.schema(
    [
        pa.field("account", pa.string(), nullable=False),
        ("label", pa.string()),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("used", pa.int64(), nullable=False),
        ("billed_plan", pa.string()),
        ("billed_period_start", pa.timestamp("us", "UTC")),
        ("billed_status", pa.string()),
        ("mark", pa.string()),
        pa.field("as_of", pa.timestamp("us", "UTC"), nullable=False),
        ("unanswered_since", pa.timestamp("us", "UTC")),
        ("gap", pa.int64()),
    ]
)

Progress = Callable[[int, int], None]
"""Called with (done, total); the terminal draws it, Dagster logs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What a billing pull brought, and how sure we are that it is all of it.

    `enumerated` is False where the provider's listing did not end by its own end mark, or the pull was given up.
    `problems` are sentences for a person, already without secrets.
    """

    table: pa.Table
    level: str
    enumerated: bool
    asked: int
    unanswered: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One immutable Parquet file: what a source said, when, and how sure we are that it is all of it.

    `as_of` is when the read began, `finished_at` when it ended (the age guard counts from there).
    """

    system: str
    noun: str
    run_id: str
    path: str
    sha256: str
    rows: int
    as_of: datetime
    finished_at: datetime
    level: str = "L3"
    enumerated: bool = True
    asked: int = 0
    unanswered: int = 0
    problems: tuple[str, ...] = ()
    audit_seq: int = 0
    """The head of the audit chain before the read began: our later corrections are not in it."""


class Snapshots(Protocol):
    """The archive of snapshots. Files are never overwritten."""

    def write(
        self,
        table: pa.Table,
        *,
        noun: str,
        run_id: str,
        as_of: datetime,
        finished_at: datetime,
        pull: Pull | None = None,
        audit_seq: int = 0,
    ) -> Snapshot:
        """Stores the table and returns its reference, with the pull's completeness where there is one."""
        ...

    def read(self, snapshot: Snapshot) -> pa.Table:
        """The table, after its hash was verified. Raises StoreError where the file was changed or is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSpend:
    """One deduction that the product could not make."""

    account_id: AccountId
    at: datetime
    amount: int | None
    reason: str | None


class Billing(Protocol):
    """A billing provider, read-only by construction."""

    provider: str
    lists: bool
    """Whether the provider can list its subscriptions; False means one look-up per known id (`store_only`)."""

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:
        """The state of every id; None means all there are, where the provider lists them.

        A provider without a list answers one row an id (SUBSCRIPTIONS), one with a list a row a subscription
        (LISTED_SUBSCRIPTIONS), all of a customer's, and a row of lookup `missing` or `error` for a customer without
        any answer. Raises SourceError where nothing at all can be learnt.
        """
        ...

    def identity(self) -> Mapping[str, str]:
        """Whose account at the provider this is, as names and values without a secret: account, livemode, app id,
        host, a digest of the key. What `init` pins. Raises SourceError where it cannot be told."""
        ...


class Store(Protocol):
    """The product's balances, read-only."""

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All balances (or those asked for) in one repeatable-read transaction; hidden rows are an error."""
        ...

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table, label → credits; empty where none is configured."""
        ...


@runtime_checkable
class IdentityStore(Store, Protocol):
    """A ledger's store, whose users have an id of their own. Read-only."""

    def identities(self) -> pa.Table:
        """Every user of the authentication system with what each layer says (schema IDENTITIES)."""
        ...

    def user_of(self, email_or_id: str) -> AuthId | None:
        """The user of that e-mail address (blanks and case do not matter) or id; None where there is none."""
        ...

    def failed_spends(self, since: datetime) -> Sequence[FailedSpend] | None:
        """Deductions that failed since then, newest first; None where the product keeps no such table."""
        ...

    def can_deduct(self, account: AccountId, *, probe: bool) -> bool | None:
        """Whether the product's deduct function may be executed; `probe` also runs it for one credit and rolls back.
        None where no such function is configured."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """One complete collection, as remembered: when it was read, how much there was, and its files."""

    run_id: str
    as_of: datetime
    answered: int
    population: int
    audit_seq: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Noun → `path#sha256` of each snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchRow:
    """One finding as the lifecycle keeps it."""

    fingerprint: str
    account_id: AccountId
    billing_id: BillingId | None
    code: str
    severity: str
    lane: str
    is_event: bool
    expected: Mapping[str, Any]
    actual: Mapping[str, Any]
    evidence: Mapping[str, Any]
    delta: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFinding:
    """A finding that waits for somebody: what the last complete collection left, less what was corrected since."""

    fingerprint: str
    account_id: AccountId
    billing_id: BillingId | None
    code: str
    severity: str
    lane: str
    billed_plan: str | None
    stored_plan: str | None
    opened_at: datetime
    first_seen: datetime


class MemoryStore(Protocol):
    """What we remember, in our own schema. One system per instance."""

    def installed(self) -> bool:
        """Whether `init` has been run for this system."""
        ...

    def observations(self) -> pa.Table:
        """The current observation of every account, at COPY speed (schema OBSERVATIONS)."""
        ...

    def last_collection(self) -> CollectionRecord | None:
        """The newest complete collection."""
        ...

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> Mapping[AccountId, Memory]:
        """All that is remembered of these accounts. Every account asked for is in the answer."""
        ...

    def watched(self) -> frozenset[AccountId]:
        """Accounts to judge whatever their balance: open mismatches, corrections since the last observation."""
        ...

    def exempt(self, now: datetime) -> frozenset[AccountId]:
        """Accounts exempted by a person, at `now`."""
        ...

    def waiting(self, now: datetime) -> Sequence[WaitingFinding]:
        """Open and acknowledged findings of accounts that are not exempt at `now`, longest open first, without those
        that our corrections answered since the last complete collection."""
        ...

    def collections(self, since: datetime, most: int) -> Sequence[datetime]:
        """When the complete collections since then were read, oldest first; at most `most`, evenly, the newest always
        among them."""
        ...

    def balances_at(self, times: Sequence[datetime]) -> Sequence[BalancePoint]:
        """What all accounts held together at these times of collections, in their order. Raises StoreError where the
        sum takes too long."""
        ...

    def record(
        self,
        collection: CollectionRecord,
        *,
        changed: pa.Table,
        mismatches: Sequence[MismatchRow],
        closed: Sequence[tuple[str, str]],
    ) -> None:
        """One transaction: the changed observations (old versions to the log), the findings opened or seen again, the
        events closed as (fingerprint, why), and every open non-event finding of an account answered in this
        collection but not among `mismatches` resolved.

        `changed` has schema OBSERVATIONS; a row whose `unanswered_since` is set only notes that the account had no
        answer and keeps everything else as it was.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A correction in a saved plan. `approved`: an approval names its digest; `outcome` is set by apply."""

    seq: int
    correction: Correction
    approved: bool = False
    outcome: str | None = None
    failures: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A correction plan as stored. States are those of design §3."""

    plan_id: str
    system: str
    digest: str
    state: str
    as_of: datetime
    created_at: datetime
    run_id: str
    population: int
    entitlements: int
    facts: Mapping[str, Any]
    """What the guards judged: completeness, unknowns, the last good run."""
    failures: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    limits_approved: bool = False
    four_eyes: bool = False
    """Whether the installation asks another database user than the plan's maker to approve it."""
    undoes: str | None = None
    """The plan whose changes this one takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """What one row of a batch came to."""

    seq: int
    account_id: AccountId
    outcome: str
    failure: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    delta: int = 0
    """The change of `available` that was meant, in credits."""
    granted: int = 0
    """The part of `delta` that is a grant's."""
    plan: str | None = None
    """The plan that was granted."""
    label: str | None = None
    """The label that was meant to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows an approval names. No code and no account means the whole lane."""

    lane: str
    codes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


class AuditSnapshot(Protocol):
    """The audit of one system and what must agree with it, of one moment. Each iterator is read once, row by row."""

    def head(self) -> tuple[int, str]:
        """The chain's head as the database has it: (sequence number, hash)."""
        ...

    def rows(self) -> Iterator[AuditRow]:
        """The whole chain, oldest first."""
        ...

    def keys(self) -> Iterator[TakenKey]:
        """Every taken key, by audit row."""
        ...

    def corrections(self) -> Iterator[AuditedCorrection]:
        """Every correction that says it was changed or names an audit row, by audit row."""
        ...

    def grants(self) -> Iterator[AuditedGrant]:
        """Every grant of ours, by the audit row of its key."""
        ...

    def plans(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """These saved plans without their rows, oldest first."""
        ...

    def approvals(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """The decisions about these plans, and earlier ones about rows that were changed in them, oldest first."""
        ...


class PlanStore(Protocol):
    """Saved plans, approvals, and the one door to the product's tables."""

    def save(self, plan: SavedPlan) -> SavedPlan:
        """Stores a proposed plan and returns it with its id; older proposed plans of the system become superseded.
        Rows whose digest an unexpired approval of this system names come back `approved`."""
        ...

    def load(self, plan_id: str) -> SavedPlan:
        """The plan with its rows. Raises PlanError where there is none."""
        ...

    def plans(self, limit: int = 20) -> Sequence[SavedPlan]:
        """The newest plans, without rows."""
        ...

    def set_state(self, plan_id: str, state: str, failures: Sequence[str] = ()) -> None:
        """Moves a plan to another state of design §3."""
        ...

    def approve(self, plan_id: str, selection: Selection, who: str, reason: str) -> int:
        """Records the approval and returns how many rows it released. Raises PlanError where it may not."""
        ...

    def reject(self, plan_id: str, who: str, reason: str) -> None:
        """Ends a waiting plan; earlier approvals of its rows count no more. Raises PlanError where it may not."""
        ...

    def ever_applied(self) -> bool:
        """Whether any plan of this system was ever applied; the first one needs approval."""
        ...

    def pinned(self) -> Mapping[str, int]:
        """The catalogue pinned at init: plan → credits."""
        ...

    def former(self) -> Mapping[str, Sequence[Amount]]:
        """What plans gave before a person accepted another amount, oldest first; only those that ever changed."""
        ...

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        """Gives rows a final outcome without a write: seq → (outcome, sentence)."""
        ...

    def pins(self) -> Mapping[str, Any]:
        """What this installation belongs to: `system_identifier`, `database`, `install`, `environment` and `billing`
        (the provider's identity, name -> value), each where init found it. Empty where an older version installed."""
        ...

    def clock(self) -> datetime:
        """The database's clock, now."""
        ...

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        """How many automatic corrections these accounts had in the last `within`, by the audit and the database's
        clock. An account without any may be missing."""
        ...

    def waiting(self, plan_id: str) -> int:
        """How many released rows of the plan have no outcome yet."""
        ...

    def upcoming(self, plan_id: str) -> Sequence[int]:
        """The numbers of the rows that wait, in the order in which `apply_batch` takes them: by account, as the
        database sorts text. A row that nobody released may be among them."""
        ...

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        """One transaction over at most `size` waiting rows; empty at the end. The only writer of product tables."""
        ...

    def invariants(self, plan_id: str) -> Mapping[str, int]:
        """What must hold between two batches: a true sentence's name -> in how many rows it is untrue, 0 included."""
        ...

    def note_apply(self, plan_id: str, failure: str | None) -> bool:
        """Notes how an apply ended: None is good and ends the count. True where this failure was the last that is
        allowed in a row, so that it stopped the system."""
        ...

    def audit(
        self, *, account: AccountId | None = None, plan_id: str | None = None, limit: int = 100
    ) -> Iterator[Mapping[str, Any]]:
        """Audit rows, newest first."""
        ...

    def audit_since(self, accounts: Sequence[AccountId], seq: int) -> Iterator[Mapping[str, Any]]:
        """Audit rows of these accounts after number `seq`, oldest first."""
        ...

    def audit_head(self) -> tuple[int, str]:
        """The chain's head: (sequence number, hash)."""
        ...

    def audit_snapshot(self) -> AbstractContextManager[AuditSnapshot]:
        """The whole audit, to be verified or exported; nothing that is committed later is seen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """One system's open connections, for the length of a run."""

    billing: Billing
    store: Store
    memory: MemoryStore
    plans: PlanStore
    snapshots: Snapshots
    inbox: Inbox | None = None
    """The failed webhooks; None where nobody asks about them."""
    outbox: Outbox | None = None
    """What people are to be told; None where nobody asks about it."""
    at_home: bool = False
    """Memory and plans are not in the product's database, which has none of ours: nothing can be applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Who decided, and why; both are kept with what was changed."""

    who: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which findings are meant: those that fit every word given. No word at all means all of them."""

    fingerprints: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMismatch:
    """A finding by its names. An acceptance that ran out counts as open."""

    fingerprint: str
    account_id: AccountId
    code: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMismatch:
    """A finding with its life. `opened_at` is of the current opening; who decided is told while that still counts."""

    fingerprint: str
    account_id: AccountId
    billing_id: BillingId | None
    code: str
    severity: str
    lane: str
    is_event: bool
    state: str
    delta: int | None
    expected: Mapping[str, Any]
    actual: Mapping[str, Any]
    evidence: Mapping[str, Any]
    opened_at: datetime
    first_seen: datetime
    last_seen: datetime
    seen_count: int
    closed_why: str | None
    accepted_until: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """An account that is left alone, and until when. None: until a person ends it."""

    account_id: AccountId
    reason: str
    until: datetime | None
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The kill switch, set. `by` is None where it was set past the command."""

    since: datetime
    by: str | None
    reason: str | None


class Lifecycle(Protocol):
    """What people decide outside of plans. Each change is written in one transaction with who, when and why."""

    def mismatches(self, states: Sequence[str], chosen: Chosen) -> Sequence[KnownMismatch]:
        """Findings in these states, longest open first."""
        ...

    def named(self, chosen: Chosen) -> Sequence[NamedMismatch]:
        """Findings in any state, by name only."""
        ...

    def counts(self, chosen: Chosen) -> Mapping[str, int]:
        """State → findings."""
        ...

    def acknowledge(self, fingerprints: Sequence[str], decided: Decided) -> Sequence[str]:
        """Notes that somebody looks after these. Returns those that were open; any other is left as it is."""
        ...

    def accept(self, fingerprints: Sequence[str], decided: Decided, *, until: datetime | None) -> Sequence[str]:
        """Makes these count no more, until then. Returns those it changed: a resolved one is left as it is."""
        ...

    def exemptions(self) -> Sequence[Exemption]:
        """Every exemption, those that ran out too."""
        ...

    def exempt(self, accounts: Sequence[AccountId], decided: Decided, *, until: datetime | None) -> Sequence[AccountId]:
        """Leaves these accounts alone. Returns those that were exempt already, with other words."""
        ...

    def end_exemptions(self, accounts: Sequence[AccountId], decided: Decided) -> None:
        """Ends all of them or, where one is not exempt, none. Raises DecisionError naming it."""
        ...

    def stopped(self) -> Stopped | None:
        """Since when nothing is applied, or None."""
        ...

    def stop(self, decided: Decided) -> bool:
        """Sets the kill switch, after the batch under way. False where it was set already; then it stays as it is."""
        ...

    def resume(self, decided: Decided) -> bool:
        """Clears the kill switch. False where it was not set."""
        ...
