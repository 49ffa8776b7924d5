"""`make calendar`: plays the demo, and with --cli the tests of the command line, on many dates; status 1 if one fails.

`make calendar ARGS="--dates 2028-02-29 '2027-03-01 00:05' --cli"`; a date without a time means noon, UTC.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from credit_pipeline_tests.calendar.clock import moved
from credit_pipeline_tests.calendar.dates import MOMENTS, parse

CLI = str(Path(__file__).parent.parent / "cli")
REPORTED = ("FAILED", "ERROR")
Play = Callable[[str], list[str]]


def main() -> int:
    """Run the campaign, two dates at a time, and say how each came out as soon as it has."""
    parser = argparse.ArgumentParser(prog="make calendar")
    parser.add_argument("--dates", nargs="+", default=MOMENTS, metavar="DATE")
    parser.add_argument("--accounts", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2, help="dates at a time")
    parser.add_argument(
        "--cli", nargs="*", metavar="TEST", help="run these tests (default: the folder cli) in place of the demo"
    )
    asked = parser.parse_args()

    def play(moment: str) -> list[str]:
        return demo(moment, asked.accounts, asked.seed) if asked.cli is None else tests(moment, asked.cli or [CLI])

    failed = [moment for moment, faults in campaign(asked.dates, play, asked.jobs) if faults]
    print(f"{len(asked.dates)} dates, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def campaign(moments: Sequence[str], play: Play, jobs: int) -> Iterator[tuple[str, list[str]]]:
    """Each moment with what is wrong on it."""

    def timed(moment: str) -> tuple[str, list[str]]:
        started = time.monotonic()
        faults = play(moment)
        print(f"{moment}  {'FAILED' if faults else 'ok'}  {time.monotonic() - started:.0f} s", flush=True)
        for fault in faults:
            print(f"    {fault}", flush=True)
        return moment, faults

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(timed, moments)


def demo(moment: str, accounts: int = 120, seed: int = 7) -> list[str]:
    """What is wrong with the demo at that moment."""
    command = [sys.executable, "-m", "credit_pipeline_tests.calendar.play", str(accounts), str(seed)]
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_calendar-") as folder:
        done = _run(moment, command, folder)
    if done.returncode != 0:
        return done.stderr.splitlines()[-5:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def tests(moment: str, paths: Sequence[str]) -> list[str]:
    """The tests that fail at that moment."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=line", *paths]
    done = _run(moment, command, os.getcwd())
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(REPORTED)]
    return failed or ([*lines, *done.stderr.splitlines()][-5:] if done.returncode != 0 else [])


def _run(moment: str, command: Sequence[str], folder: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parent.parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = moved(os.environ | {"PYTHONPATH": paths}, parse(moment))
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
