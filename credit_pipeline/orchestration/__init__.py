"""The Dagster side: assets, checks, jobs and schedules, thin over the services."""
