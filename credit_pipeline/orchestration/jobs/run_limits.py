"""The limits of one run, as the launchpad offers them. They may only tighten the policy's; the guards see to that."""

import dagster as dg
from pydantic import Field


class RunLimits(dg.Config):
    """What this run may do at most. Left out, the policy's limit holds; looser than it, the run is refused."""

    rows: int | None = Field(default=None, description="Rows that may be changed.")
    credits: int | None = Field(default=None, description="Credits that may be moved, given and taken together.")
    unknown: int | None = Field(default=None, description="Accounts that could not be judged.")
    unanswered: int | None = Field(default=None, description="Accounts about which billing gave no answer.")
    answers_ratio: float | None = Field(
        default=None, description="Answers needed, as a share of the last good run's; greater is tighter."
    )
    max_snapshot_age: float | None = Field(default=None, description="Minutes since the end of the read.")
    max_clock_skew: float | None = Field(default=None, description="Seconds between our clock and the database's.")
    flap_changes: int | None = Field(default=None, description="Automatic corrections from which an account is held.")
    canary: int | None = Field(default=None, description="Rows of the first batch.")
    batch: int | None = Field(default=None, description="Rows of the largest batch.")

    def asked(self) -> dict[str, float]:
        """The words that were given."""
        return {word: value for word in type(self).model_fields if (value := getattr(self, word)) is not None}
