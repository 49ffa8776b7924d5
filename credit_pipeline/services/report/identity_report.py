"""The ID-mapping report: who is mapped by which layer, who is not, and what belongs to nobody (semantics §4).

Set-based over three snapshots, for all users, paid or not. Writes nothing.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
import pyarrow as pa

from credit_pipeline.services import table_sql

LAYERS: Mapping[int | None, str] = {1: "mapping", 2: "metadata", 3: "same_id", None: "none"}
STATES: Mapping[str, str] = {
    "mapped": "in the mapping table, and nothing contradicts it",
    "metadata_missing": "mapped, but the local subscription row does not name the account: written by the next fix",
    "link_missing": "only the metadata names the account: the mapping row is written by the next fix",
    "unknown_account": "the metadata names an account that the store does not have",
    "guess": "only the id is the same in both worlds: a guess, never granted to",
    "conflict": "the layers name different accounts",
    "shared": "another user claims the same account",
    "unmapped": "no layer names an account",
}
MAPPED = frozenset({"mapped", "metadata_missing"})
"""States in which the mapping table has the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedUser:
    """One user of the authentication system."""

    auth_id: str
    account_id: str | None
    """None where no layer, or more than one account, is named."""
    layer: str
    state: str
    paying: bool
    claimed: tuple[str, ...]
    """Every account that any layer names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A store account that no user claims, or a paying customer that names no known user."""

    what: str
    id: str
    suggestion: str | None
    """A user with the same e-mail address: worth a look, never a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReport:
    """All users by layer and by state; each of both adds up to `users`."""

    system: str
    as_of: str
    users: int
    by_layer: Mapping[str, int]
    by_state: Mapping[str, int]
    paying_unmapped: int
    orphan_accounts: int
    orphan_customers: int
    problems: tuple[MappedUser, ...]
    """Users that are not in order, paying ones first."""
    orphans: tuple[Orphan, ...]

    @property
    def unmapped(self) -> int:
        """Users without verified evidence: nothing, a guess, or an account that does not exist."""
        return sum(self.by_state.get(state, 0) for state in ("unmapped", "guess", "unknown_account"))

    @property
    def coverage(self) -> float:
        """Share of the users that the mapping table or the metadata maps."""
        verified = self.by_layer.get("mapping", 0) + self.by_layer.get("metadata", 0)
        return verified / self.users if self.users else 1.0

    def summary(self) -> dict[str, Any]:
        """The object `identities` in the JSON of `check`."""
        return {
            "by_layer": dict(self.by_layer),
            "unmapped": self.unmapped,
            "conflicts": self.by_state.get("conflict", 0),
            "shared": self.by_state.get("shared", 0),
            "metadata_missing": self.by_state.get("metadata_missing", 0),
            "link_missing": self.by_state.get("link_missing", 0),
            "orphan_accounts": self.orphan_accounts,
            "orphan_customers": self.orphan_customers,
            "users": self.users,
        }

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "system": self.system,
            "as_of": self.as_of,
            **self.summary(),
            "coverage": round(self.coverage, 4),
            "by_state": dict(self.by_state),
            "paying_unmapped": self.paying_unmapped,
            "problems": [asdict(user) for user in self.problems],
            "orphans": [asdict(orphan) for orphan in self.orphans],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "IdentityReport":
        """The inverse of dataclasses.asdict: what is kept between two assets."""
        problems = (MappedUser(**{**user, "claimed": tuple(user["claimed"])}) for user in record["problems"])
        orphans = (Orphan(**orphan) for orphan in record["orphans"])
        return cls(**{**record, "problems": tuple(problems), "orphans": tuple(orphans)})

    def frame(self) -> pd.DataFrame:
        """The users that are not in order, one a row."""
        return pd.DataFrame([asdict(user) for user in self.problems], columns=list(MappedUser.__dataclass_fields__))


def identity_report(
    system: str, balances: pa.Table, identities: pa.Table, subscriptions: pa.Table, *, as_of: str
) -> IdentityReport:
    """The report over one run's snapshots (LEDGER_BALANCES, IDENTITIES, LISTED_SUBSCRIPTIONS)."""
    tables = {
        "run": pa.table({"partial": [False]}),
        "balances": balances.select(["account_id"]),
        "identities": identities,
        "subscriptions": subscriptions.select(
            ["billing_id", "subscription_id", "lookup", "status", "subjects", "email_hash"]
        ),
    }
    with table_sql.over(tables) as db:
        for name in ("reconcile/subjects.sql", "report/identity_report.sql"):
            db.execute(files("credit_pipeline.services").joinpath(name).read_text())
        counts = db.execute("SELECT layer, state, paying, count(*) FROM mapped_user GROUP BY ALL").fetchall()
        problems = db.execute(PROBLEMS).fetchall()
        orphans = db.execute("SELECT what, id, suggestion FROM orphan ORDER BY what, id").fetchall()
    layers, states = Counter[str](), Counter[str]()
    for layer, state, _, count in counts:
        layers[LAYERS[layer]] += count
        states[state] += count
    return IdentityReport(
        system=system,
        as_of=as_of,
        users=layers.total(),
        by_layer={name: layers[name] for name in LAYERS.values()},
        by_state={state: states[state] for state in STATES if states[state]},
        paying_unmapped=sum(n for _, state, paying, n in counts if paying and state not in MAPPED),
        orphan_accounts=sum(1 for what, _, _ in orphans if what == "account"),
        orphan_customers=sum(1 for what, _, _ in orphans if what == "customer"),
        problems=tuple(
            MappedUser(
                auth_id=auth_id,
                account_id=account_id,
                layer=LAYERS[layer],
                state=state,
                paying=paying,
                claimed=tuple(claimed or ()),
            )
            for auth_id, account_id, layer, state, paying, claimed in problems
        ),
        orphans=tuple(Orphan(what=what, id=id_, suggestion=suggestion) for what, id_, suggestion in orphans),
    )


PROBLEMS = """
SELECT auth_id, account_id, layer, state, paying, claimed FROM mapped_user
WHERE state <> 'mapped' ORDER BY paying DESC, state, auth_id
"""
