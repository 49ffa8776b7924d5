"""The review pack of a plan: a folder with a summary, all rows as CSV, and 20 random rows to check closely."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SAMPLES = 20
COLUMNS = (
    "account_id",
    "lane",
    "codes",
    "outcome",
    "delta",
    "plan_before",
    "plan_after",
    "total_before",
    "total_after",
    "used_before",
    "used_after",
    "available_before",
    "available_after",
    "grant_key",
    "reasons",
    "failures",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Plan = Mapping[str, Any]


def write_pack(folder: Path, plan: Plan) -> Path:
    """Writes `<folder>/<plan id>/`, replacing an earlier pack of the plan, and returns it."""
    pack = folder / str(plan["plan_id"])
    pack.mkdir(mode=0o700, exist_ok=True)
    rows: Sequence[Mapping[str, Any]] = plan["rows"]
    _write_csv(pack / "rows.csv", rows)
    chosen = random.Random(str(plan["digest"]))  # noqa: S311 (the same sample for everyone who reviews this plan)
    _write_csv(pack / "samples.csv", chosen.sample(rows, min(SAMPLES, len(rows))))
    (pack / "summary.txt").write_text("\n".join(summary_lines(plan)) + "\n", encoding="utf-8")
    return pack


def summary_lines(plan: Plan) -> Iterator[str]:
    """The summary for approvers: totals, then rows and credits by code and lane."""
    rows: Sequence[Mapping[str, Any]] = plan["rows"]
    yield f"plan      {plan['plan_id']}"
    yield f"system    {plan['system']}"
    yield f"digest    {plan['digest']}"
    yield f"state     {plan['state']}"
    yield f"rows      {plan['totals']['rows']:,}"
    yield f"given     {sum(max(0, row['delta']) for row in rows):,} credits over all rows"
    yield f"taken     {sum(max(0, -row['delta']) for row in rows):,} credits over all rows"
    yield from (f"refused   {failure}" for failure in plan["failures"])
    yield ""
    counted: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        counted[", ".join(row["codes"]), row["lane"]].append(row["delta"])
    yield f"{'rows':>8}  {'credits':>12}  lane      codes"
    for (codes, lane), deltas in sorted(counted.items(), key=lambda pair: -len(pair[1])):
        yield f"{len(deltas):>8,}  {sum(deltas):>+12,}  {lane:<8}  {codes}"


def safe_cell(value: object) -> object:
    """The value as a CSV cell that no spreadsheet interprets as a formula. Numbers stay numbers."""
    if value is None or isinstance(value, int):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        path.chmod(0o600)
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([safe_cell(value) for value in _cells(row)])


def _cells(row: Mapping[str, Any]) -> list[object]:
    before, after = row["before"], row["after"]
    pairs = [state.get(name) for name in ("plan", "total", "used", "available") for state in (before, after)]
    head = [row["account_id"], row["lane"], "; ".join(row["codes"]), row["outcome"], row["delta"]]
    return [*head, *pairs, row["grant_key"], "; ".join(row["reasons"]), "; ".join(row["failures"])]
