"""An error of ours as the failure Dagster shows: its one sentence, and the class by which it is raised again."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from credit_pipeline.domain import errors
from credit_pipeline.services.decision_log import DecisionLog

ERROR = "error"


@contextmanager
def one_sentence(system: str) -> Iterator[None]:
    """Turn a CreditPipelineError into a failed step that says what it said; a fault of the code stays a traceback."""
    try:
        yield
    except errors.CreditPipelineError as error:
        DecisionLog(system).failed(str(error))
        raise dg.Failure(description=str(error), metadata={ERROR: type(error).__name__}, allow_retries=False) from None


def error_of(description: str | None, name: object) -> errors.CreditPipelineError:
    """The error a failed step was made from, to be raised on the other side of a run."""
    kind = getattr(errors, str(name), errors.CreditPipelineError)
    error: errors.CreditPipelineError = kind(description or "the run failed: see its log in the Dagster UI")
    return error
