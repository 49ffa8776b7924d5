"""The use cases, written against ports. No SQL, no HTTP, no Dagster."""
