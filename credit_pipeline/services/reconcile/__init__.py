"""Screen, then judge: two snapshots and the memory become a report, and are remembered."""
