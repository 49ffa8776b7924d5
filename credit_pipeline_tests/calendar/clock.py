"""Moves the clock of a process and its children by libfaketime (Debian package `libfaketime`).

The clock is shifted, not stopped: all processes, the Postgres server among them, agree, and time goes on.
"""

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

SITE = Path(__file__).parent / "site"
NAME = "faketime/libfaketime.so.1"


def library() -> Path | None:
    """libfaketime, where Debian and others install it; None where it is not installed."""
    for folder in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        found = [folder / NAME, *sorted(folder.glob(f"*/{NAME}"))]
        for path in found:
            if path.exists():
                return path
    return None


def moved(environment: Mapping[str, str], to: datetime) -> dict[str, str]:
    """The environment of a process at whose start it is that moment."""
    path = library()
    if path is None:
        raise RuntimeError("libfaketime is not installed (Debian: apt-get install libfaketime)")
    python_path = [str(SITE), *filter(None, [environment.get("PYTHONPATH")])]
    return dict(environment) | {
        "LD_PRELOAD": str(path),
        "FAKETIME": f"{to.timestamp() - time.time():+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join(python_path),
    }
