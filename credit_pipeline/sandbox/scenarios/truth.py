"""What was planted: the right answer for every subject, stored beside the data for tests and the demo.

It states what docs/semantics.md requires, never what the code under test finds.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from credit_pipeline.sandbox.scenarios.wix_app.life import Planted, State


class ScriptLike(Protocol):
    """What the truth needs of a script."""

    @property
    def account_id(self) -> str:
        """The subject's account."""
        ...

    @property
    def billing_id(self) -> str | None:
        """The id at billing, if the subject has no account in the store."""
        ...

    @property
    def kind(self) -> str:
        """The story's name."""
        ...

    @property
    def planted(self) -> Planted | None:
        """The right answer, if something is wrong."""
        ...


def truth_of(
    scripts: Iterable[ScriptLike], states: Mapping[str, State], *, system: str, seed: int, present: datetime
) -> dict[str, Any]:
    """The truth as JSON: counts per primary code, every broken subject, and the healthy ones by kind."""
    broken: list[dict[str, Any]] = []
    healthy: dict[str, list[str]] = {}
    population = 0
    for script in scripts:
        population += 1
        if script.planted is None:
            healthy.setdefault(script.kind, []).append(script.account_id)
        else:
            broken.append(_account(script, script.planted, states[script.account_id]))
    return {
        "system": system,
        "seed": seed,
        "population": population,
        "as_of": present.isoformat(),
        "planted": dict(sorted(Counter(account["code"] for account in broken).items())),
        "in_sync": population - len(broken),
        "accounts": sorted(broken, key=lambda account: (account["code"], account["account_id"])),
        "healthy": {kind: sorted(healthy[kind]) for kind in sorted(healthy)},
    }


def save_truth(path: Path, truth: Mapping[str, Any]) -> None:
    """Writes the file atomically."""
    scratch = path.with_name(path.name + ".new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(truth, file)
    scratch.replace(path)


def _account(script: ScriptLike, planted: Planted, state: State) -> dict[str, Any]:
    relabelled = planted.auto(state) if planted.auto else state
    return {
        "account_id": script.account_id,
        "billing_id": script.billing_id,
        "kind": script.kind,
        "code": planted.code,
        "secondary": list(planted.secondary),
        "lane": planted.lane,
        "note": planted.note,
        "steps": list(planted.steps),
        "now": _row(state),
        "auto": _correction(state, relabelled) if planted.auto else None,
        "approve": _correction(relabelled, planted.approve(relabelled)) if planted.approve else None,
    }


def _correction(before: State, after: State) -> dict[str, Any]:
    return {
        "set_plan": after.label if after.label != before.label else None,
        "delta": after.available - before.available,
        "after": _row(after),
    }


def _row(state: State) -> dict[str, Any]:
    known = state.total is not None and state.used is not None
    available = state.available if known else None
    return {"plan": state.label, "total": state.total, "used": state.used, "available": available}
