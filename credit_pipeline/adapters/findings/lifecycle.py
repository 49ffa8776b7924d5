"""The Lifecycle port on psycopg: findings, exemptions and the kill switch in our own schema.

Every change and its row in `credit_pipeline.act` are written in one transaction. Product tables are not touched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from credit_pipeline.adapters.findings import decisions as mismatch_decisions
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, not_installed
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import DecisionError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.findings.ports import Chosen, Decided, Exemption, Stopped

# A batch that is being applied locks the control row for up to a minute, a recorder its findings for seconds. Times are
# returned in UTC, because a time in the year 9999 may overflow in another zone.
_LIMITS = "SET LOCAL lock_timeout = '70s'; SET LOCAL statement_timeout = '80s'; SET LOCAL TimeZone = 'UTC'"

_EXEMPTIONS = """
SELECT account, reason, until, set_by, set_at FROM credit_pipeline.exemption WHERE system = %s ORDER BY account
"""
# Both parts see the table as it was before: `was` is the exemption that this one replaces.
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
# Each batch holds this lock shared (SQL function `admit`), so a waiter is served before the next batch.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('credit_pipeline.stop ' || %(system)s, 0))"
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


class PostgresLifecycle(SystemDatabase):
    """The Lifecycle of one system. Connects on first use. `clock` decides when an acceptance has expired."""

    def __init__(
        self, url: str, system: CreditSystem, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        super().__init__(url, system)
        self._clock = clock

    def mismatches(self, states: Sequence[str], chosen: Chosen) -> Sequence[Mismatch]:
        """Findings in these states, longest open first."""
        with self._begin() as cursor:
            return mismatch_decisions.known(cursor, self._system, states, chosen, self._clock())

    def named(self, chosen: Chosen) -> Sequence[Mismatch]:
        """Findings in any state, without evidence, expected and actual."""
        with self._begin() as cursor:
            return mismatch_decisions.named(cursor, self._system, chosen, self._clock())

    def counts(self, chosen: Chosen) -> Mapping[str, int]:
        """State → number of findings."""
        with self._begin() as cursor:
            return mismatch_decisions.counts(cursor, self._system, chosen, self._clock())

    def acknowledge(self, fingerprints: Sequence[str], decided: Decided) -> Sequence[str]:
        """Acknowledges findings. Returns the fingerprints of those that were open."""
        with self._begin() as cursor:
            return mismatch_decisions.acknowledge(cursor, self._system, fingerprints, decided, self._clock())

    def accept(self, fingerprints: Sequence[str], decided: Decided, *, until: datetime | None) -> Sequence[str]:
        """Accepts findings until `until` (None: for good). Returns the fingerprints of those accepted."""
        with self._begin() as cursor:
            return mismatch_decisions.accept(cursor, self._system, fingerprints, decided, self._clock(), until)

    def exemptions(self) -> Sequence[Exemption]:
        """Every exemption, including expired ones."""
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
        """Exempts accounts from corrections. Returns those whose earlier exemption it replaces."""
        distinct = sorted(set(accounts))
        params = {"accounts": distinct, "until": until, "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            rows = cursor.execute(_EXEMPT, {**params, "system": self._system}).fetchall()
        return sorted(AccountId(row["subject"]) for row in rows if row["again"])

    def end_exemptions(self, accounts: Sequence[AccountId], decided: Decided) -> None:
        """Ends all these exemptions or none. Raises DecisionError, naming an account that is not exempt."""
        params = {"system": self._system, "accounts": list(accounts), "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            ended = {row["subject"] for row in cursor.execute(_END, params)}
            absent = [account for account in accounts if account not in ended]
            if absent:
                raise DecisionError(
                    f"{self._system}: `{absent[0]}` is not exempt: "
                    f"`credit-pipeline exempt {self._system} --list` shows who is"
                )

    def stopped(self) -> Stopped | None:
        """Since when, by whom and why the kill switch is set, or None."""
        with self._begin() as cursor:
            row = self._control(cursor, _STOPPED)
        if row["stopped_at"] is None:
            return None
        return Stopped(since=row["stopped_at"], by=row["who"], reason=row["stop_reason"])

    def stop(self, decided: Decided) -> bool:
        """Sets the kill switch after the current batch. False if it was already set, which changes nothing."""
        return self._switch(_STOP, decided, stop=True)

    def resume(self, decided: Decided) -> bool:
        """Clears the kill switch. False if it was not set."""
        return self._switch(_RESUME, decided, stop=False)

    def _switch(self, statement: str, decided: Decided, *, stop: bool) -> bool:
        params = {"system": self._system, "who": decided.who, "reason": decided.reason}
        with self._begin() as cursor:
            cursor.execute(_LOCK, params)
            before = self._control(cursor, _SWITCH)
            if (before["stopped_at"] is not None) is stop:
                return False
            noted = {**params, **before, "what": "stop" if stop else "resume"}
            cursor.execute(statement.encode(), params)
            cursor.execute(_SWITCHED, noted)
            return True

    def _control(self, cursor: Cursor, query: str) -> Row:
        row = cursor.execute(query.encode(), {"system": self._system}).fetchone()
        if row is None:
            raise not_installed(self._system)
        return row

    @contextmanager
    def _begin(self) -> Iterator[Cursor]:
        with self._transactions.begin() as cursor:
            cursor.execute(_LIMITS)
            yield cursor
