"""The code location: all systems in $CREDIT_PIPELINE_DEFS or, if it is not set, the packaged ones.

Loading only reads the YAML files: no secrets, no connections.
"""

import dagster as dg

from credit_pipeline.config.loader import load_systems
from credit_pipeline.orchestration.assemble import reconciliation_defs


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of all systems. Raises ConfigurationError with file, line and key if a file is invalid."""
    systems = [reconciliation_defs(system) for system in load_systems()]
    # In one process: by default Dagster starts a process per step, which takes five seconds each.
    return dg.Definitions.merge(*systems, dg.Definitions(executor=dg.in_process_executor))
