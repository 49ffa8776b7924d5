"""Run config of jobs that may write: dry run, and limits that may only tighten the policy's."""

from typing import Any

import dagster as dg
from pydantic import Field


class RunLimits(dg.Config):
    """Limits of this run. A field left out keeps the policy's limit; the guards refuse a looser one."""

    rows: int | None = Field(default=None, description="Rows that may be changed.")
    credits: int | None = Field(default=None, description="Credits that may be moved, given and taken together.")
    unknown: int | None = Field(default=None, description="Accounts that could not be judged.")
    unanswered: int | None = Field(default=None, description="Accounts for which billing gave no answer.")
    answers_ratio: float | None = Field(
        default=None, description="Required answers as a share of the last good run's; greater is tighter."
    )
    max_snapshot_age: float | None = Field(default=None, description="Maximum age of the snapshots, in minutes.")
    max_clock_skew: float | None = Field(
        default=None, description="Maximum difference of our clock and the database's, in seconds."
    )
    flap_changes: int | None = Field(
        default=None, description="Automatic corrections a day from which an account is held."
    )
    canary: int | None = Field(default=None, description="Rows of the first batch.")
    batch: int | None = Field(default=None, description="Rows of the largest batch.")

    def given(self) -> dict[str, float]:
        """The limits that were set."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class WriteConfig(dg.Config):
    """Whether a run may write, and its limits. The default writes nothing to the product's tables."""

    dry_run: bool = Field(
        default=True,
        description="False applies the plan, if the guards pass and automation.apply or an approval allows it.",
    )
    limits: RunLimits = Field(default=RunLimits(), description="Tighter limits than the policy's, for this run.")

    def write_config(self) -> dict[str, Any]:
        """`dry_run` and `limits` as config of the asset `applied_corrections`."""
        return {"dry_run": self.dry_run, "limits": self.limits.given()}
