"""Records every judgement that this process makes: its inputs, and its outcome without any wording.

Runs in a checkout of 0.1.0 as well, where it records outcomes alone: load it by its path, with that checkout first on
PYTHONPATH. As a pytest plugin (`-p`) it records while CREDIT_PIPELINE_JUDGEMENTS names a folder.
"""

import functools
import gzip
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = "CREDIT_PIPELINE_JUDGEMENTS"
RECONCILE = ("credit_pipeline.services.reconcile.reconcile", "credit_pipeline.services.reconcile")
"""The module of `reconcile`, and where 0.1.0 keeps it."""
_LOCK = threading.Lock()


class Recorder:
    """Appends judgements to one file of the folder. `origin` names what is being played."""

    def __init__(self, folder: Path, origin: Callable[[], str], inputs: Callable[..., Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}.jsonl.gz"
        self._origin, self._inputs = origin, inputs
        self._numbers: Counter[str] = Counter()

    def install(self) -> None:
        """Put the recorder around `reconcile`, wherever it was imported to, now and later."""
        module = next(import_module(name) for name in RECONCILE if _has(name, "reconcile"))
        judge = module.reconcile
        recorded = functools.wraps(judge)(functools.partial(self._recorded, judge))
        module.reconcile = recorded
        for loaded in list(sys.modules.values()):
            if getattr(loaded, "__name__", "").startswith("credit_pipeline") and vars(loaded).get("reconcile") is judge:
                loaded.reconcile = recorded  # type: ignore[attr-defined]

    def _recorded(self, judge: Callable[..., Any], system: Any, gateways: Any, *snapshots: Any, **given: Any) -> Any:
        from dataclasses import replace

        memory = Listening(gateways.memory)
        plans = Listening(gateways.plans)
        listening = replace(gateways, memory=memory, plans=plans)
        if given.get("observations") is not None:
            read = given["observations"]
            given["observations"] = lambda: memory.heard("observations", read())
        report = judge(system, listening, *snapshots, **given)
        judged = {"outcome": outcome(report, memory.remembering)}
        if self._inputs is not None:
            judged["inputs"] = self._inputs(system, gateways, snapshots, given, memory.answers, plans.answers)
        with _LOCK:
            origin = self._origin()
            self._numbers[origin] += 1
            line = json.dumps({"origin": origin, "number": self._numbers[origin], **judged}, sort_keys=True)
            with gzip.open(self._file, "at", encoding="utf-8") as file:
                file.write(line + "\n")
        return report


class Listening:
    """A port whose answers are noted: name of the question -> the newest answer."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.answers: dict[str, Any] = {}
        self.remembering: dict[str, Any] = {}

    def heard(self, name: str, answer: Any) -> Any:
        """Note an answer."""
        self.answers[name] = answer
        return answer

    def record(self, record: Any, **what: Any) -> Any:
        """What is remembered belongs to the outcome."""
        marks = [(row["account"], row["mark"]) for row in what["changed"].to_pylist() if row["mark"]]
        self.remembering = {
            "marks": sorted(marks),
            "found": sorted((one.fingerprint, one.code, one.lane, one.is_event) for one in what["mismatches"]),
            "closed": sorted(fingerprint for fingerprint, _ in what["closed"]),
        }
        return self._port.record(record, **what)

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._port, name)
        if not callable(asked):
            return asked
        return lambda *given, **named: self.heard(name, asked(*given, **named))


def outcome(report: Any, remembering: Mapping[str, Any]) -> dict[str, Any]:
    """A report without its wording: codes, lanes, deltas, keys and steps, and what is remembered."""
    shown = report.as_json()
    kept = ("account_id", "billing_id", "code", "secondary", "lane", "severity", "delta")
    found = [[one[name] for name in kept] for one in shown["mismatches"]]
    steps = [[one["account_id"], one["lane"], one["codes"], one["steps"]] for one in report.to_record()["corrections"]]
    return {
        "population": shown["population"],
        "in_sync": shown["in_sync"],
        "exempt": shown["exempt"],
        "classes": {code: count for code, count in shown["classes"].items() if count},
        "refused": len(shown["refusals"]),
        "mismatches": sorted(found, key=json.dumps),
        "corrections": sorted(steps, key=json.dumps),
        "remembered": json.loads(json.dumps(remembering)),
    }


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(import_module(module), name)
    except ModuleNotFoundError:
        return False


def pytest_configure() -> None:
    """Record the judgements of the tests that follow."""
    if folder := os.environ.get(FOLDER):
        inputs = None
        if _has("credit_pipeline_tests.judgements.inputs", "inputs_of"):
            inputs = import_module("credit_pipeline_tests.judgements.inputs").inputs_of
        Recorder(Path(folder), _current_test, inputs).install()


def _current_test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "fixture").rsplit(" (", 1)[0].rpartition("credit_pipeline_tests/")[2]
