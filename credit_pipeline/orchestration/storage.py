"""Where Dagster keeps runs, events and schedules: the Postgres of the environment, as dagster.yaml asks.

Dagster reads a checkout's dagster.yaml also for commands that need no history, such as `dagster definitions validate`,
and its own Postgres storage fails where the variable is not set. Without a Dagster home there is no history to keep,
so those commands get SQLite in the working folder. With one, a missing variable is an error and never a second history.
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
    """The storage of dagster-postgres at the URL that a variable holds or, without a home, SQLite."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The variable that holds the URL."""
        return {"url_env": dg.Field(str)}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """The storage. Raises ConfigurationError where there is a Dagster home and no URL."""
        name = str(config_value["url_env"])
        if url := os.environ.get(name):
            return cls(storage_url(url), inst_data=inst_data)
        if os.environ.get("DAGSTER_HOME"):
            raise ConfigurationError(f"Dagster's storage: set {name} to the Postgres URL that keeps its run history")
        folder = working_folder() / "dagster" / "storage"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with dg.DagsterInstance.local_temp(str(folder)) as temporary:
            return temporary.get_ref().storage  # type: ignore[return-value]
