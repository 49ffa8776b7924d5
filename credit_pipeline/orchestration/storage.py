"""Dagster's storage of runs, events and schedules in the Postgres that an environment variable names.

Dagster also reads dagster.yaml for commands that need no history, such as `dagster definitions validate`, and its own
Postgres storage fails if the variable is not set. Without DAGSTER_HOME those commands get SQLite in the working folder.
With DAGSTER_HOME a missing variable is an error, so that no second history is started.
"""

import os
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster_postgres import DagsterPostgresStorage

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.orchestration.instance import storage_url
from credit_pipeline.orchestration.resources import working_folder


class EnvironmentStorage(DagsterPostgresStorage):
    """Postgres storage at the URL in a variable or, without DAGSTER_HOME, SQLite."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The config: `url_env`, the variable that holds the URL."""
        return {"url_env": dg.Field(str)}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """The storage. Raises ConfigurationError if DAGSTER_HOME is set and the URL is not."""
        name = str(config_value["url_env"])
        if url := os.environ.get(name):
            return cls(storage_url(url), inst_data=inst_data)
        if os.environ.get("DAGSTER_HOME"):
            raise ConfigurationError(f"Dagster's storage: set {name} to the Postgres URL that keeps its run history")
        folder = working_folder() / "dagster" / "storage"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with dg.DagsterInstance.local_temp(str(folder)) as temporary:
            return temporary.get_ref().storage  # type: ignore[return-value]
