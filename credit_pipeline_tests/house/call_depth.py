"""The deepest chain of the package's own functions during `check bestauth` on a small sandbox."""

import contextlib
import inspect
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import credit_pipeline
from credit_pipeline.cli.main import main
from credit_pipeline.sandbox import lifecycle

PACKAGE = Path(credit_pipeline.__file__).parent


def deepest_check(accounts: int = 60, seed: int = 5) -> list[str]:
    """The chain, outermost call first, as `room/module.py:function`. Takes about half a minute.

    Every thread counts from its own start. Raises AssertionError where the check could not be completed.
    """
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_house-") as folder:
        Path(folder).chmod(0o755)  # as root the embedded Postgres runs as another account
        home = Path(folder) / "home"
        try:
            environment = lifecycle.up(home, accounts=accounts, seed=seed)
            depth = CallDepth()
            environment["CREDIT_PIPELINE_HOME"] = str(home)
            with _environment(environment), contextlib.redirect_stdout(io.StringIO()), depth.measured():
                status = main(["check", "bestauth", "--format", "json"])
        finally:
            lifecycle.down(home)
    assert status == 1, f"check ended with {status}: a planted sandbox has mismatches"
    return depth.deepest


class CallDepth:
    """Counts the package's functions on each thread's stack; bodies of modules and classes are not calls."""

    def __init__(self) -> None:
        self.deepest: list[str] = []
        self._thread = threading.local()
        self._counted: dict[CodeType, bool] = {}

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measures this thread and those started meanwhile."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in {"call", "return"} or not self._counts(frame.f_code):
            return
        depth = getattr(self._thread, "depth", 0) + (1 if event == "call" else -1)
        self._thread.depth = depth
        if depth > len(self.deepest):
            self.deepest = self._chain(frame)

    def _counts(self, code: CodeType) -> bool:
        if code not in self._counted:
            ours = Path(code.co_filename).is_relative_to(PACKAGE)
            self._counted[code] = ours and bool(code.co_flags & inspect.CO_OPTIMIZED)
        return self._counted[code]

    def _chain(self, frame: FrameType | None) -> list[str]:
        chain = []
        while frame is not None:
            code = frame.f_code
            if self._counts(code):
                chain.append(f"{Path(code.co_filename).relative_to(PACKAGE)}:{code.co_qualname}")
            frame = frame.f_back
        return chain[::-1]


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
