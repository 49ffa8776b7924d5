"""Converts our errors to Dagster failures with one sentence, and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from credit_pipeline.domain import errors
from credit_pipeline.services.decision_log import DecisionLog

ERROR = "error"


@contextmanager
def one_sentence(system: str) -> Iterator[None]:
    """Turns a CreditPipelineError into a failed step with its sentence; other exceptions keep their traceback."""
    try:
        yield
    except errors.CreditPipelineError as error:
        DecisionLog(system).failed(str(error))
        raise dg.Failure(description=str(error), metadata={ERROR: type(error).__name__}, allow_retries=False) from None


def error_of(description: str | None, name: object) -> errors.CreditPipelineError:
    """The CreditPipelineError that made a step fail, by its description and class name."""
    kind = getattr(errors, str(name), errors.CreditPipelineError)
    error: errors.CreditPipelineError = kind(description or "the run failed: see its log in the Dagster UI")
    return error
