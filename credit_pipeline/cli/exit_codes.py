"""How a command ends: an exit status and, where it could not tell, one sentence on stderr. Never a traceback."""

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
    """Run a command and name its end by a number (README: exit status)."""
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
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return COULD_NOT_TELL
    except ModuleNotFoundError as error:
        extra = missing_extra(error)
        session.say(str(extra) if isinstance(extra, MissingExtra) else _unexpected(session, error))
        return COULD_NOT_TELL
    except Exception as error:
        session.say(_HISTORY_AWAY if _of_dagsters_storage(error) else _unexpected(session, error))
        return COULD_NOT_TELL
    except BaseException as error:
        if type(error).__name__ == "DagsterExecutionInterruptedError":  # not imported: Dagster may not be loaded
            return _interrupted(session)
        raise


_HISTORY_AWAY = (
    "The Postgres that keeps Dagster's run history went away: start it again (or correct CREDIT_PIPELINE_DAGSTER_URL), "
    "then run the command again. What was committed stays."
)


def _of_dagsters_storage(error: BaseException) -> bool:
    """Whether dagster-postgres lost its database. By name: neither Dagster nor its driver need be loaded."""
    kind = type(error)
    return kind.__name__ == "DagsterPostgresException" or (
        kind.__name__ == "OperationalError" and kind.__module__.partition(".")[0] in {"psycopg2", "sqlalchemy"}
    )


def _interrupted(session: Session) -> int:
    session.say("Interrupted: what was committed stays, the same command can be run again.")
    return INTERRUPTED


def _unexpected(session: Session, error: Exception) -> str:
    """One sentence with where the traceback is; it may quote data, so its file is the owner's alone."""
    kind = type(error).__name__
    try:
        path = session.private_folder("logs") / f"error-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except (OSError, CreditPipelineError):
        return f"credit-pipeline failed unexpectedly ({kind}), and its traceback could not be written: report it."
    return f"credit-pipeline failed unexpectedly ({kind}): the traceback is in {path}, please report it."
