"""What `init` pins about one system: the database, environment and billing account it belongs to, amounts, limits.

Live writes are checked against the pins, so a plain `init` adds missing pins and changes none. Changing a pin is a
person's decision; name and reason are stored in `credit_pipeline.act`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from psycopg import sql

from credit_pipeline.adapters.install.write_functions import config_hash
from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import DecisionError
from credit_pipeline.domain.policy import Limits
from credit_pipeline.services.findings.ports import Decided

Billing = Mapping[str, str]
"""The provider's identity, as `Billing.identity()` tells it."""

# The right side of || wins: what is pinned stays, what is missing is filled in. Two people are never made one here.
_PIN_SYSTEM = """
INSERT INTO credit_pipeline.control AS pinned (system, environment, config_hash, limits, four_eyes, pins, provider)
    VALUES ({system}, {environment}, {config}, {limits}, {four_eyes}, {pins}, {provider})
    ON CONFLICT (system) DO UPDATE SET config_hash = EXCLUDED.config_hash, limits = EXCLUDED.limits,
        provider = EXCLUDED.provider, four_eyes = pinned.four_eyes OR EXCLUDED.four_eyes,
        pins = EXCLUDED.pins || pinned.pins
    WHERE pinned.environment = EXCLUDED.environment;
"""
_PINS = """jsonb_build_object(
        'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
        'database', current_database(), 'install', gen_random_uuid()::text) || {billing}"""
_PIN_PLAN = """
INSERT INTO credit_pipeline.catalogue (system, plan, label, credits, rank)
    VALUES ({system}, {plan}, {label}, {credits}, {rank})
    ON CONFLICT (system, plan) DO NOTHING;
"""

_PINNED = "SELECT environment, four_eyes, pins FROM credit_pipeline.control WHERE system = %s FOR NO KEY UPDATE"
_REPIN = """
UPDATE credit_pipeline.control SET environment = %(environment)s, four_eyes = %(four_eyes)s, pins = pins
    || jsonb_build_object(
        'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
        'database', current_database())
    || %(billing)s::jsonb
WHERE system = %(system)s RETURNING environment, four_eyes, pins
"""
_ACCEPT = """
INSERT INTO credit_pipeline.catalogue (system, plan, label, credits, rank)
    SELECT %(system)s, * FROM unnest(%(plans)s::text[], %(labels)s::text[], %(credits)s::bigint[], %(ranks)s::int[])
    ON CONFLICT (system, plan) DO UPDATE SET label = EXCLUDED.label, credits = EXCLUDED.credits, rank = EXCLUDED.rank,
        pinned_at = CASE WHEN catalogue.credits = EXCLUDED.credits THEN catalogue.pinned_at ELSE now() END
"""
_FORGET = "DELETE FROM credit_pipeline.catalogue WHERE system = %s AND plan <> ALL (%s)"
_ACT = """
INSERT INTO credit_pipeline.act (system, what, who, reason, detail)
    VALUES (%(system)s, %(what)s, %(who)s, %(reason)s, %(detail)s::jsonb || jsonb_build_object('since', now()))
"""


def pins_sql(system: CreditSystem, billing: Billing | None) -> str:
    """The statements that pin what is not pinned yet, and renew the limits and the functions' hash."""
    name = sql.Literal(system.name)
    parts = [
        sql.SQL(_PIN_SYSTEM).format(
            system=name,
            environment=sql.Literal(system.environment),
            config=sql.Literal(config_hash(system)),
            limits=_json(limits_fields(system.policy.limits)),
            four_eyes=sql.Literal(system.four_eyes),
            provider=sql.Literal(system.billing.provider),
            pins=sql.SQL(_PINS).format(billing=_json({"billing": dict(billing)} if billing else {})),
        )
    ]
    for plan in system.catalogue.plans:
        words = {"plan": plan.name, "label": plan.label, "credits": plan.credits, "rank": plan.rank}
        parts.append(sql.SQL(_PIN_PLAN).format(system=name, **{key: sql.Literal(word) for key, word in words.items()}))
    return sql.Composed(parts).as_string(None)


def limits_fields(limits: Limits) -> dict[str, Any]:
    """The thresholds as the database reads them; times are seconds."""
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in asdict(limits).items()
    }


def note_act(cursor: Cursor, system: CreditSystem, what: str, made: Decided, detail: Mapping[str, Any]) -> None:
    """Store a person's decision about the installation, and since when it is in force."""
    if not made.who.strip() or not made.reason.strip():
        raise DecisionError("a decision needs a name and a reason: give both --as WHO and --reason TEXT")
    words = {"system": system.name, "what": what, "who": made.who, "reason": made.reason, "detail": json.dumps(detail)}
    cursor.execute(_ACT, words)


def repin(cursor: Cursor, system: CreditSystem, billing: Billing | None, made: Decided) -> str:
    """Pins this database, the YAML's environment and four eyes, and this billing account; returns the environment."""
    was = cursor.execute(_PINNED, (system.name,)).fetchone()
    words = {
        "system": system.name,
        "environment": system.environment,
        "four_eyes": system.four_eyes,
        "billing": json.dumps({"billing": dict(billing)} if billing else {}),
    }
    now = cursor.execute(_REPIN, words).fetchone()
    note_act(cursor, system, "repin", made, {"was": was, "now": now})
    return system.environment


def accept_catalogue(cursor: Cursor, system: CreditSystem, made: Decided) -> None:
    """Pin the amounts of the YAML. Periods that started earlier keep the amount in force then, from `act`."""
    plans, was = system.catalogue.plans, pinned_credits(cursor, system)
    now = {plan.name: plan.credits for plan in plans}
    changed = {name: [was.get(name), now.get(name)] for name in {**was, **now} if was.get(name) != now.get(name)}
    words = {
        "system": system.name,
        "plans": list(now),
        "labels": [plan.label for plan in plans],
        "credits": list(now.values()),
        "ranks": [plan.rank for plan in plans],
    }
    cursor.execute(_ACCEPT, words)
    cursor.execute(_FORGET, (system.name, list(now)))
    detail = {name: {"was": before, "now": after} for name, (before, after) in changed.items()}
    note_act(cursor, system, "accept_catalogue", made, {"plans": detail})


def pinned_credits(cursor: Cursor, system: CreditSystem) -> dict[str, int]:
    """Plan → credits, as pinned."""
    rows = cursor.execute(
        "SELECT plan, credits FROM credit_pipeline.catalogue WHERE system = %s ORDER BY rank", (system.name,)
    )
    return {row["plan"]: row["credits"] for row in rows}


def differences(cursor: Cursor, system: CreditSystem, billing: Billing | None) -> tuple[str, ...]:
    """One sentence per pin that the YAML or the environment contradicts; the pin stays in force."""
    pinned = pinned_credits(cursor, system)
    keep = f"the pin stands until `credit-pipeline init {system.name} --accept-catalogue`"
    changed = (
        f"{plan.name}: pinned at {pinned[plan.name]:,} credits, the YAML says {plan.credits:,}: {keep}"
        for plan in system.catalogue.plans
        if pinned[plan.name] != plan.credits
    )
    gone = (
        f"{name}: pinned at {credits:,} credits, but not in the YAML any more: {keep}"
        for name, credits in pinned.items()
        if system.catalogue.named(name) is None
    )
    return (*changed, *gone, *_moved(cursor, system, billing))


def _moved(cursor: Cursor, system: CreditSystem, billing: Billing | None) -> Iterator[str]:
    row = cursor.execute(_PINNED.removesuffix(" FOR NO KEY UPDATE"), (system.name,)).fetchone()
    here = cursor.execute(
        "SELECT system_identifier::text AS system_identifier, current_database() AS database "
        "FROM pg_catalog.pg_control_system()"
    ).fetchone()
    assert row is not None
    assert here is not None
    keep = f"the pin stands until `credit-pipeline init {system.name} --repin`"
    if any(row["pins"][name] != value for name, value in here.items()):
        yield f"database: `{row['pins']['database']}` of another place is pinned, this is `{here['database']}`: {keep}"
    if billing and row["pins"]["billing"] != dict(billing):
        other = [name for name in billing if row["pins"]["billing"].get(name) != billing[name]]
        yield f"billing: another {' and '.join(other)} is pinned than the variables name: {keep}"
    if row["four_eyes"] and not system.four_eyes:
        yield f"four_eyes: pinned true, the YAML says false: {keep}"


def _json(fields: Mapping[str, Any]) -> sql.Composable:
    return sql.SQL("{}::jsonb").format(sql.Literal(json.dumps(fields)))
