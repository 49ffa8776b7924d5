"""The IO manager: values between steps as JSON records, one per step and run, never overwritten and never pickled.

For a snapshot the record holds a reference to its Parquet file. An input annotated `pandas.DataFrame` gets the rows as
a frame.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.orchestration.resources import working_folder
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.plans.apply_state import ApplyState
from credit_pipeline.services.report.identity_report import IdentityReport
from credit_pipeline.services.report.report import Report

MAY_BE_ABSENT = {"may_be_absent": True}
"""Metadata of an input that is None if the asset was never materialized."""

_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,120}")


class CreditRecords(dg.ConfigurableIOManager):
    """Stores each value in `<home>/records/<asset or step>/<run>[-n].json`, readable by its owner only."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Writes the record; a retried step of the same run gets the next number."""
        folder = _folder(_output_parts(context))
        path = _write_once(folder, context.run_id, json.dumps(to_record(obj), sort_keys=True).encode())
        if context.has_asset_key:
            context.add_output_metadata({"record": str(path.relative_to(working_folder()))})

    def load_input(self, context: dg.InputContext) -> Any:
        """The value recorded by this run, else by the latest materialization; None if absent and allowed to be.

        Raises StoreError if there is no record.
        """
        path = _newest(context)
        if path is None and "may_be_absent" in (context.definition_metadata or {}):
            return None
        if path is None:
            name = context.asset_key.to_user_string() if context.has_asset_key else context.name
            raise StoreError(f"{name} has no record in {working_folder()}: materialize it, or set CREDIT_PIPELINE_HOME")
        value = from_record(json.loads(path.read_bytes()))
        return to_frame(value) if context.dagster_type.typing_type is pd.DataFrame else value


def to_record(value: Any) -> dict[str, Any]:
    """A value as JSON with its kind."""
    if isinstance(value, Snapshot):
        times = {"as_of": value.as_of.isoformat(), "finished_at": value.finished_at.isoformat()}
        return {"kind": "snapshot", "value": asdict(value) | times}
    if isinstance(value, Report):
        return {"kind": "report", "value": value.to_record()}
    if isinstance(value, IdentityReport):
        return {"kind": "identities", "value": asdict(value)}
    if isinstance(value, ApplyState):
        return {"kind": "apply", "value": value.to_record()}
    return {"kind": "json", "value": value}


def from_record(record: Mapping[str, Any]) -> Any:
    """The inverse of to_record. Raises KeyError for an unknown kind."""
    return _KINDS[record["kind"]](record["value"])


def to_frame(value: Any) -> pd.DataFrame:
    """The rows of a snapshot, of a report (its mismatches) or of a plan."""
    if isinstance(value, Snapshot):
        archive = ParquetSnapshots(value.system, working_folder() / "snapshots")
        frame: pd.DataFrame = archive.read(value).to_pandas()
        return frame
    if isinstance(value, Report):
        return pd.DataFrame(value.as_json()["mismatches"])
    if isinstance(value, IdentityReport):
        return value.frame()
    return pd.DataFrame(value["rows"])


def _snapshot(fields: Mapping[str, Any]) -> Snapshot:
    times = {name: datetime.fromisoformat(fields[name]) for name in ("as_of", "finished_at")}
    return Snapshot(**{**fields, **times, "problems": tuple(fields["problems"])})


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "snapshot": _snapshot,
    "report": Report.from_record,
    "identities": IdentityReport.from_record,
    "apply": ApplyState.from_record,
    "json": lambda value: value,
}


def _output_parts(context: dg.OutputContext) -> tuple[str, ...]:
    return tuple(context.asset_key.path) if context.has_asset_key else ("steps", context.step_key, context.name)


def _newest(context: dg.InputContext) -> Path | None:
    if not context.has_asset_key:
        upstream = context.upstream_output
        assert upstream is not None
        return _latest(_folder(_output_parts(upstream)), upstream.run_id)
    folder = _folder(tuple(context.asset_key.path))
    if own := _latest(folder, context.step_context.run_id):
        return own
    # Only the run id is taken from the event, because anyone may report a materialization with any path.
    event = context.instance.get_latest_materialization_event(context.asset_key)
    return _latest(folder, event.run_id) if event else None


def _folder(parts: tuple[str, ...]) -> Path:
    assert all(_SAFE.fullmatch(part) and part.strip(".") for part in parts), parts
    return working_folder().joinpath("records", *parts)


def _latest(folder: Path, run_id: str) -> Path | None:
    if not _SAFE.fullmatch(run_id) or not folder.is_dir():
        return None
    found = list(folder.glob(f"{run_id}*.json"))
    return max(found, key=lambda path: (len(path.name), path.name), default=None)


def _write_once(folder: Path, run_id: str, content: bytes) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".") as draft:  # 0600
        draft.write(content)
        draft.flush()
        for turn in range(100):
            path = folder / (f"{run_id}-{turn}.json" if turn else f"{run_id}.json")
            try:
                os.link(draft.name, path)
            except FileExistsError:
                continue
            return path
    raise StoreError(f"{folder} already holds 100 records of run {run_id}: start a new run")
