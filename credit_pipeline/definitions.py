"""The code location: every system of the folder in effect ($CREDIT_PIPELINE_DEFS, else the packaged ones).

Loading reads the YAML files and nothing else: no environment secrets, no connections. What a system's definitions are
stands in `orchestration/assemble.py`.
"""

import dagster as dg

from credit_pipeline.config.loader import load_systems
from credit_pipeline.orchestration.assemble import reconciliation_defs


@dg.definitions
def defs() -> dg.Definitions:
    """All systems; a fault in one file stops the load with that file, line and key."""
    systems = [reconciliation_defs(system) for system in load_systems()]
    # In one process: Dagster's default starts another for every step, which costs five seconds each.
    return dg.Definitions.merge(*systems, dg.Definitions(executor=dg.in_process_executor))
