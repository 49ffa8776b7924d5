"""Whether the audit chain still says what was written: numbers without gaps, hashes that follow, a head that matches.

Pure over the rows; reading them is `plan_store.py`'s. Cutting the tail *and* rewinding the head is only seen by
comparing with a head noted elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

START = "0" * 64
_MOST = 20
"""More problems than this are not listed: one edit breaks every later row."""


def chain_problems(system: str, rows: Iterable[Mapping[str, Any]], head: tuple[int, str]) -> list[str]:
    """Sentences, oldest first; empty when the chain verifies. `rows` in order: seq, payload, prev_hash, hash."""
    problems: list[str] = []
    seq, last = 0, START
    for row in rows:
        problems += _row_problems(system, row, seq, last)
        seq, last = row["seq"], row["hash"]
        if len(problems) >= _MOST:
            return [*problems[:_MOST], f"{system}: the list of problems ends here, more rows were not checked"]
    if (seq, last) != head:
        problems.append(f"{system}: the chain ends at row {seq}, but its head says {head[0]} or has another hash")
    return problems


def _row_problems(system: str, row: Mapping[str, Any], seq: int, last: str) -> Iterable[str]:
    if row["seq"] != seq + 1:
        yield f"{system}: audit row {seq + 1} is missing before row {row['seq']}"
    if row["prev_hash"] != last:
        yield f"{system}: audit row {row['seq']} does not follow from the row before it"
    if hashlib.sha256((row["prev_hash"] + row["payload"]).encode()).hexdigest() != row["hash"]:
        yield f"{system}: audit row {row['seq']} was edited: its hash is of another text"
    payload = json.loads(row["payload"])
    if (payload["system"], payload["seq"]) != (system, row["seq"]):
        yield f"{system}: audit row {row['seq']} holds another row's text"
