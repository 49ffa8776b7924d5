"""The exit status of a command. Errors print one sentence on stderr, never a traceback."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from typing import Any

import click

from credit_pipeline.cli.session import ReaderLeft, Session
from credit_pipeline.domain.errors import CreditPipelineError, MissingExtra, missing_extra

NOTHING, ACT, COULD_NOT_TELL, INTERRUPTED = 0, 1, 2, 130


def exit_status(session: Session, command: Callable[[], Any]) -> int:
    """Run a command and return its exit status: 0, 1, 2, or 130 after an interruption."""
    try:
        return int(command() or NOTHING)
    except click.ClickException as error:
        error.show()
        return COULD_NOT_TELL
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(session)
    except CreditPipelineError as error:
        session.say(str(error))
        return COULD_NOT_TELL
    except ReaderLeft:
        # Else Python reports the closed pipe again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return COULD_NOT_TELL
    except ModuleNotFoundError as error:
        extra = missing_extra(error)
        session.say(str(extra) if isinstance(extra, MissingExtra) else _unexpected(session, error))
        return COULD_NOT_TELL
    except Exception as error:
        session.say(_DAGSTER_DATABASE_LOST if _is_from_dagsters_database(error) else _unexpected(session, error))
        return COULD_NOT_TELL
    except BaseException as error:
        if type(error).__name__ == "DagsterExecutionInterruptedError":  # by name: Dagster may not be imported
            return _interrupted(session)
        raise


_DAGSTER_DATABASE_LOST = (
    "The Postgres that keeps Dagster's run history went away: start it again (or correct CREDIT_PIPELINE_DAGSTER_URL), "
    "then run the command again. What was committed stays."
)


def _is_from_dagsters_database(error: BaseException) -> bool:
    """Whether dagster-postgres lost its database. Compares names: Dagster and its driver may not be imported."""
    kind = type(error)
    return kind.__name__ == "DagsterPostgresException" or (
        kind.__name__ == "OperationalError" and kind.__module__.partition(".")[0] in {"psycopg2", "sqlalchemy"}
    )


def _interrupted(session: Session) -> int:
    session.say("Interrupted: what was committed stays, the same command can be run again.")
    return INTERRUPTED


def _unexpected(session: Session, error: Exception) -> str:
    """One sentence with the file of the traceback. Only the owner can read it, since it may quote data."""
    kind = type(error).__name__
    try:
        path = session.private_folder("logs") / f"error-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except (OSError, CreditPipelineError):
        return f"credit-pipeline failed unexpectedly ({kind}), and its traceback could not be written: report it."
    return f"credit-pipeline failed unexpectedly ({kind}): the traceback is in {path}, please report it."
