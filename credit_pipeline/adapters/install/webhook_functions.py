"""SQL text of the functions over the product's own table of webhooks, if the YAML names one."""

from importlib.resources import files

from psycopg import sql

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.webhooks import WebhookTable

_SQL = files("credit_pipeline.adapters.install") / "sql"
LONGEST = 2000
"""Characters of a sentence that are told."""


def webhook_functions(system: CreditSystem) -> tuple[str, ...]:
    """The statements that create them; none where the product has no such table."""
    own = system.webhooks
    if own is None:
        return ()
    words = webhook_parameters(system)
    names = ("webhook_table.sql", "webhook_told.sql") if own.written_back else ("webhook_table.sql",)
    return tuple(sql.SQL((_SQL / name).read_text(encoding="utf-8")).format(**words).as_string(None) for name in names)


def take_function(system: CreditSystem) -> sql.Identifier:
    """The function that copies failed rows into our inbox."""
    return sql.Identifier("credit_pipeline", f"take_webhooks_{system.name}")


def tell_function(system: CreditSystem) -> sql.Identifier:
    """The function that writes a row's outcome back."""
    return sql.Identifier("credit_pipeline", f"tell_webhook_{system.name}")


def webhook_parameters(system: CreditSystem) -> dict[str, sql.Composable]:
    """The parameters of the functions' text; empty where the product has no such table."""
    own = system.webhooks
    if own is None:
        return {}
    return {
        "take_function": take_function(system),
        "tell_function": tell_function(system),
        "system": sql.Literal(system.name),
        "provider": sql.Literal(system.billing.provider),
        "schema": sql.Identifier(system.store.schema),
        "table": sql.Identifier(system.store.schema, own.table),
        "id": sql.Identifier(own.id),
        "status": sql.Identifier(own.status),
        "received": sql.Identifier(own.received),
        "failed": sql.SQL(", ").join(map(sql.Literal, own.statuses.failed)),
        "type": _text(own.type),
        "account": _text(own.account),
        "error": _text(own.error),
        "body": _bytes(own.body),
        "told": _told(own),
    }


def _text(column: str | None) -> sql.Composable:
    return sql.SQL("NULL::text") if column is None else sql.SQL("t.{}::text").format(sql.Identifier(column))


def _bytes(column: str | None) -> sql.Composable:
    """The body as bytes, whatever the product keeps it as; bytes print as themselves and are read back."""
    if column is None:
        return sql.SQL("NULL::bytea")
    return sql.SQL(
        "CASE WHEN pg_typeof(t.{0}) = 'bytea'::regtype THEN t.{0}::text::bytea ELSE convert_to(t.{0}::text, 'UTF8') END"
    ).format(sql.Identifier(column))


def _told(own: WebhookTable) -> sql.Composable:
    """The SET list. A state without a configured word keeps the product's own."""
    status, ends = sql.Identifier(own.status), own.statuses
    words = {"repaired": ends.repaired, "superseded": ends.repaired, "dead": ends.dead}
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(state), sql.Literal(word))
        for state, word in words.items()
        if word is not None
    )
    parts = [sql.SQL("{0} = CASE state {1} ELSE t.{0} END").format(status, cases)]
    if own.attempts is not None:
        parts.append(sql.SQL("{} = attempts").format(sql.Identifier(own.attempts)))
    if own.error is not None:
        parts.append(sql.SQL("{} = left(said, {})").format(sql.Identifier(own.error), sql.Literal(LONGEST)))
    return sql.SQL(", ").join(parts)
