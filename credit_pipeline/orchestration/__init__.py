"""Dagster definitions: assets, checks, jobs, schedules and sensors, each a thin layer over one service."""
