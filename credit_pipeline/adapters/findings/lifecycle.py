"""The life of findings, exemptions and the kill switch in our own schema (port Lifecycle), on psycopg.

Every change is written with its row of `credit_pipeline.act` in one transaction; the product is never touched. The
statements about findings are in `mismatch_decisions.py`; which findings a person may mean is `services/lifecycle.py`'s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from credit_pipeline.adapters.findings import decisions as mismatch_decisions
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor, Row, Transactions
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import DecisionError, NotInstalled
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.findings.ports import Chosen, Decided, Exemption, KnownMismatch, NamedMismatch, Stopped

# A batch that is being applied holds the control row for at most a minute, a recorder its findings for seconds. Times
# come back in UTC: one of the year 9999 has no other.
_PATIENCE = "SET LOCAL lock_timeout = '70s'; SET LOCAL statement_timeout = '80s'; SET LOCAL TimeZone = 'UTC'"

_EXEMPTIONS = """
SELECT account, reason, until, set_by, set_at FROM credit_pipeline.exemption WHERE system = %s ORDER BY account
"""
# Both halves see the table as it was before: `was` is the exemption that this one replaces.
_EXEMPT = """
WITH made AS (
    INSERT INTO credit_pipeline.exemption AS e (system, account, reason, until, set_by)
    SELECT %(system)s, account, %(reason)s, %(until)s::timestamptz, %(who)s
    FROM unnest(%(accounts)s::text[]) AS named (account) ORDER BY account
    ON CONFLICT (system, account) DO UPDATE
    SET reason = EXCLUDED.reason, until = EXCLUDED.until, set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at
    RETURNING e.account
)
INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
SELECT %(system)s, 'exempt', made.account, %(who)s, %(reason)s,
       jsonb_build_object('until', %(until)s::timestamptz, 'was', to_jsonb(was))
FROM made LEFT JOIN credit_pipeline.exemption AS was ON was.system = %(system)s AND was.account = made.account
RETURNING subject, detail -> 'was' <> 'null' AS again
"""
_END = """
WITH ended AS (
    DELETE FROM credit_pipeline.exemption AS e
    WHERE e.system = %(system)s AND e.account = ANY (%(accounts)s::text[]) RETURNING e.*
)
INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
SELECT %(system)s, 'exempt_end', ended.account, %(who)s, %(reason)s, jsonb_build_object('was', to_jsonb(ended))
FROM ended RETURNING subject
"""
_STOPPED = """
SELECT c.stopped_at, c.stop_reason, (
    SELECT a.who FROM credit_pipeline.act AS a
    WHERE a.system = c.system AND a.subject IS NULL AND a.what = 'stop' AND a.at >= c.stopped_at
    ORDER BY a.id LIMIT 1) AS who
FROM credit_pipeline.control AS c WHERE c.system = %(system)s
"""
# Batches hold it shared, one after the other (`admit`): who waits for it goes before the next one.
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('credit_pipeline.stop ' || %(system)s, 0))"
_SWITCH = (
    "SELECT c.stopped_at, c.stop_reason FROM credit_pipeline.control AS c WHERE c.system = %(system)s FOR NO KEY UPDATE"
)
_STOP = """
UPDATE credit_pipeline.control SET stopped_at = clock_timestamp(), stop_reason = %(reason)s WHERE system = %(system)s
"""
_RESUME = """
UPDATE credit_pipeline.control SET stopped_at = NULL, stop_reason = NULL, failed_applies = 0 WHERE system = %(system)s
"""
_SWITCHED = """
INSERT INTO credit_pipeline.act (system, what, who, reason, detail)
VALUES (%(system)s, %(what)s, %(who)s, %(reason)s,
        jsonb_strip_nulls(jsonb_build_object(
            'stopped_at', %(stopped_at)s::timestamptz, 'stop_reason', %(stop_reason)s::text)))
"""


class PostgresLifecycle:
    """The Lifecycle of one system. Opens its connection when first asked; `clock` says when an acceptance is over."""

    def __init__(
        self, url: str, system: CreditSystem, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._system = system.name
        env = system.store.url_env
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)
        self._clock = clock

    def close(self) -> None:
        """Ends the connection; a later call opens another."""
        self._transactions.close()

    def mismatches(self, states: Sequence[str], chosen: Chosen) -> Sequence[KnownMismatch]:
        """Findings in these states, longest open first."""
        with self._begin() as cursor:
            return mismatch_decisions.known(cursor, self._system, states, chosen, self._clock())

    def named(self, chosen: Chosen) -> Sequence[NamedMismatch]:
        """Findings in any state, by name only."""
        with self._begin() as cursor:
            return mismatch_decisions.named(cursor, self._system, chosen, self._clock())

    def counts(self, chosen: Chosen) -> Mapping[str, int]:
        """State → findings."""
        with self._begin() as cursor:
            return mismatch_decisions.counts(cursor, self._system, chosen, self._clock())

    def acknowledge(self, fingerprints: Sequence[str], decided: Decided) -> Sequence[str]:
        """Notes that somebody looks after these. Returns those that were open."""
        with self._begin() as cursor:
            return mismatch_decisions.acknowledge(cursor, self._system, fingerprints, decided, self._clock())

    def accept(self, fingerprints: Sequence[str], decided: Decided, *, until: datetime | None) -> Sequence[str]:
        """Makes these count no more, until then. Returns those it changed."""
        with self._begin() as cursor:
            return mismatch_decisions.accept(cursor, self._system, fingerprints, decided, self._clock(), until)

    def exemptions(self) -> Sequence[Exemption]:
        """Every exemption, those that ran out too."""
        with self._begin() as cursor:
            rows = cursor.execute(_EXEMPTIONS, (self._system,)).fetchall()
        return [
            Exemption(
                account_id=AccountId(row["account"]),
                reason=row["reason"],
                until=row["until"],
                set_by=row["set_by"],
                set_at=row["set_at"],
            )
            for row in rows
        ]

    def exempt(self, accounts: Sequence[AccountId], decided: Decided, *, until: datetime | None) -> Sequence[AccountId]:
        """Leaves these accounts alone. Returns those that were exempt already, with other words."""
        distinct = sorted(set(accounts))
        words = {"accounts": distinct, "until": until, "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            rows = cursor.execute(_EXEMPT, {**words, "system": self._system}).fetchall()
        return sorted(AccountId(row["subject"]) for row in rows if row["again"])

    def end_exemptions(self, accounts: Sequence[AccountId], decided: Decided) -> None:
        """Ends all of them or none. Raises DecisionError naming one that is not exempt."""
        words = {"system": self._system, "accounts": list(accounts), "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            ended = {row["subject"] for row in cursor.execute(_END, words)}
            absent = [account for account in accounts if account not in ended]
            if absent:
                raise DecisionError(
                    f"{self._system}: `{absent[0]}` is not exempt: "
                    f"`credit-pipeline exempt {self._system} --list` shows who is"
                )

    def stopped(self) -> Stopped | None:
        """Since when nothing is applied, or None."""
        with self._begin() as cursor:
            row = self._control(cursor, _STOPPED)
        if row["stopped_at"] is None:
            return None
        return Stopped(since=row["stopped_at"], by=row["who"], reason=row["stop_reason"])

    def stop(self, decided: Decided) -> bool:
        """Sets the kill switch, after the batch under way. False where it was set already; then it stays as it is."""
        return self._switch(_STOP, decided, stop=True)

    def resume(self, decided: Decided) -> bool:
        """Clears the kill switch. False where it was not set."""
        return self._switch(_RESUME, decided, stop=False)

    def _switch(self, statement: str, decided: Decided, *, stop: bool) -> bool:
        words = {"system": self._system, "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            cursor.execute(_TURN, words)
            before = self._control(cursor, _SWITCH)
            if (before["stopped_at"] is not None) is stop:
                return False
            noted = {**words, **before, "what": "stop" if stop else "resume"}
            cursor.execute(statement.encode(), words)
            cursor.execute(_SWITCHED, noted)
            return True

    def _control(self, cursor: Cursor, query: str) -> Row:
        row = cursor.execute(query.encode(), {"system": self._system}).fetchone()
        if row is None:
            raise NotInstalled(
                f"{self._system}: not installed in this database: run `credit-pipeline init {self._system}`"
            )
        return row

    @contextmanager
    def _begin(self) -> Iterator[Cursor]:
        with self._transactions.begin() as cursor:
            cursor.execute(_PATIENCE)
            yield cursor
