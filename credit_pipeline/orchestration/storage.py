"""Where Dagster keeps runs, events and schedules: the Postgres of the environment, as dagster.yaml asks.

Dagster reads a checkout's dagster.yaml also for commands that need no history, such as `dagster definitions validate`,
and its own Postgres storage fails where the variable is not set. Without a Dagster home there is no history to keep,
so those commands get SQLite in the working folder. With one, a missing variable is an error and never a second history.
"""

import os
from collections.abc import Mapping
from typing import Any, Self

from dagster import Field
from dagster._core.storage.base_storage import DagsterStorage  # a storage is private all over: hence dagster < 1.14
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.orchestration.instance import storage_url
from credit_pipeline.orchestration.resources import working_folder


class StorageOfTheEnvironment(DagsterStorage, ConfigurableClass):
    """Never an instance itself: it picks the storage of dagster-postgres or, without a home, that of SQLite."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The variable that holds the URL."""
        return {"url_env": Field(str)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage. Raises ConfigurationError where there is a Dagster home and no URL."""
        name = str(config_value["url_env"])
        url = os.environ.get(name)
        if url:
            return DagsterPostgresStorage(postgres_url=storage_url(url), inst_data=inst_data)  # type: ignore[return-value]
        if os.environ.get("DAGSTER_HOME"):
            raise ConfigurationError(f"Dagster's storage: set {name} to the Postgres URL that keeps its run history")
        folder = working_folder() / "dagster" / "storage"
        return DagsterSqliteStorage.from_local(str(folder), inst_data=inst_data)  # type: ignore[return-value]
