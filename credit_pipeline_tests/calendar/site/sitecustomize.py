"""Python loads this at its start: under libfaketime 0.9.10 `time.sleep` fails, so sleep by `select` instead."""

import os
import select
import time


def _sleep(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


if "FAKETIME" in os.environ:
    time.sleep = _sleep
