"""`make judgements`: records the judgements of demos, incidents and simulations, replays them, or compares two records.

`--record DIR` plays everything and keeps inputs and outcomes. `--against DIR` has today's code judge recorded inputs
again. `--compare A B` compares the outcomes of two records of one play. Status 1 where something differs.
"""

import argparse
import gzip
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from credit_pipeline_tests.judgements import demos
from credit_pipeline_tests.judgements.inputs import inputs_of, replayed
from credit_pipeline_tests.judgements.recorder import FOLDER, outcome

TESTS = Path(__file__).parents[1]
PLAYED = ("incidents", "simulation")
_DRAWN = re.compile(r"\b[0-9a-f]{20}\b|\d{4}-\d\d-\d\dT[\d:.]+\+00:00|(?<=/)1[78]\d{8}\b")
"""Fingerprints and keys made of ids, instants, and instants in grant keys."""
SAMPLE = Path(__file__).parent
"""Where the judgements lie that the suite replays."""


def main() -> int:
    """Record, replay or compare."""
    logging.getLogger("credit_pipeline").setLevel(logging.CRITICAL)  # the decisions of a play are not news
    parser = argparse.ArgumentParser(prog="make judgements", description=__doc__)
    parser.add_argument("--record", type=Path, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--against", type=Path, metavar="DIR")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="DIR")
    parser.add_argument("--sample", type=Path, metavar="DIR", help="renew the judgements that the suite replays")
    asked = parser.parse_args()
    if asked.compare:
        return compared(*asked.compare)
    if asked.against:
        return replay(asked.against)
    if asked.sample:
        sample(asked.sample)
        return 0
    record(asked.record or Path(".credit_pipeline/judgements"), asked.seeds)
    return 0


def record(folder: Path, seeds: int) -> None:
    """Play the demos in this process, incidents and simulations as tests."""
    demos.play(folder, range(1, seeds + 1), inputs_of)
    environment = os.environ | {FOLDER: str(folder.resolve())}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "credit_pipeline_tests.judgements.recorder", "-n", "2"]
    subprocess.run([*command, *(str(TESTS / name) for name in PLAYED)], env=environment, check=True)
    print(f"{sum(1 for _ in judgements(folder)):,} judgements in {folder}")


def judgements(folder: Path) -> Iterator[dict[str, Any]]:
    """Every recorded judgement."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def sample(folder: Path) -> None:
    """Keep each judgement that shows a code in a lane, a kind of step or a mark that none before it showed."""
    seen: set[str] = set()
    with gzip.open(SAMPLE / "sample.jsonl.gz", "wt", encoding="utf-8") as file:
        for one in judgements(folder):
            found = {f"{code} {lane}" for _, code, lane, _ in one["outcome"]["remembered"].get("found", ())}
            steps = {f"{lane} {step['step']}" for _, lane, _, all_ in one["outcome"]["corrections"] for step in all_}
            marks = {f"mark {mark}" for _, mark in one["outcome"]["remembered"].get("marks", ())}
            if not (shown := found | steps | marks) <= seen:
                seen |= shown
                file.write(json.dumps(one, sort_keys=True) + "\n")


def replay(folder: Path) -> int:
    """Judge the recorded inputs again."""
    count, differing = 0, 0
    for one in judgements(folder):
        count += 1
        now = json.loads(json.dumps(outcome(*replayed(one["inputs"]))))
        differing += _told(f"{one['origin']} #{one['number']}", one["outcome"], now)
    print(f"{count:,} judgements replayed, {differing:,} differ")
    return 1 if differing else 0


def compared(one: Path, other: Path) -> int:
    """The same play, recorded twice."""
    first, second = ({(j["origin"], j["number"]): j["outcome"] for j in judgements(folder)} for folder in (one, other))
    both = sorted(first.keys() & second)
    unequal = [key for key in both if first[key] != second[key]]
    differing = sum(_told(f"{key[0]} #{key[1]}", *map(masked, (first[key], second[key]))) for key in unequal)
    alone = first.keys() ^ second.keys()
    for key in sorted(alone)[:20]:
        print(f"only in one record: {key[0]} #{key[1]}")
    print(
        f"{len(first.keys() & second):,} judgements compared, {differing:,} differ, {len(alone):,} in one record only"
    )
    return 1 if differing or alone else 0


def masked(judged: dict[str, Any]) -> dict[str, Any]:
    """An outcome without what another play of the same world has otherwise."""
    text = _DRAWN.sub("*", json.dumps(judged, sort_keys=True))
    shown: dict[str, Any] = json.loads(text)
    for name in ("mismatches", "corrections"):
        shown[name].sort(key=json.dumps)
    shown["remembered"] = {name: sorted(kept, key=json.dumps) for name, kept in shown["remembered"].items()}
    return shown


def _told(where: str, was: dict[str, Any], now: dict[str, Any]) -> bool:
    for name in was.keys() | now:
        if was.get(name) == now.get(name):
            continue
        if not isinstance(was.get(name), list):
            print(f"{where}: {name}: was {was.get(name)}, is {now.get(name)}"[:400])
            continue
        before, after = ({json.dumps(entry) for entry in side[name]} for side in (was, now))
        for entry in sorted(before - after)[:5]:
            print(f"{where}: {name}: was {entry}"[:400])
        for entry in sorted(after - before)[:5]:
            print(f"{where}: {name}: is {entry}"[:400])
    return was != now


if __name__ == "__main__":
    sys.exit(main())
