"""One demo as of the present clock: what is wrong with it goes to stdout, as one JSON list of sentences."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from credit_pipeline.domain.codes import Code
from credit_pipeline.sandbox.demo import run_demo
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.conftest import in_memory


def faults(came: dict[str, Any]) -> Iterator[str]:
    """Where found is not planted, a healthy account is reported, a second run changes something, a credit is lost."""
    planted = set[str]()
    for name, system in came["systems"].items():
        planted |= {code for code, count in system["planted"].items() if count}
        if system["found"] != system["planted"]:
            yield f"{name}: planted {system['planted']}, found {system['found']}"
        for what in ("missed", "healthy_reported", "second_run_changed", "credits_lost"):
            if system[what]:
                yield f"{name}: {what} {system[what]}"
    if missing := sorted(set(Code) - planted):
        yield f"never planted: {missing}"


def main() -> None:
    """Play the demo in a folder of its own; arguments: accounts, seed."""
    accounts, seed = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_calendar-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        home = Path(folder) / "home"
        try:
            found = list(faults(run_demo(home, accounts=accounts, seed=seed)))
        finally:
            EmbeddedPostgres(home).remove()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
