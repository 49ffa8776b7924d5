"""The session of one command: its shared options, its working folder, its output, and the connections it opens.

Results go to stdout, everything else to stderr. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from credit_pipeline.adapters.artifacts.log_files import LogFiles
from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from rich.console import Console, RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.collect.ports import Progress
    from credit_pipeline.services.findings.ports import Lifecycle
    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.plans.ports import PlanStore

HOME_ENV = "CREDIT_PIPELINE_HOME"
DEFS_ENV = "CREDIT_PIPELINE_DEFS"


class ReaderLeft(Exception):
    """The reader of stdout, such as `head`, has closed it."""


class Session:
    """What one command works with. `format`, `defs` and `verbose` are the shared options."""

    def __init__(self) -> None:
        self.format = "text"
        self.defs: str | None = None
        self.verbose = False
        self._out = sys.stdout
        self._logs = LogFiles()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logs.close()

    @property
    def home(self) -> Path:
        """The working folder, which may not exist yet."""
        return Path(os.environ.get(HOME_ENV) or ".credit_pipeline").expanduser().resolve()

    @property
    def folder(self) -> Path | None:
        """The folder of systems given by --defs or the environment; None means the packaged one."""
        named = self.defs or os.environ.get(DEFS_ENV)
        return Path(named).expanduser().resolve() if named else None

    def private_folder(self, name: str) -> Path:
        """A folder inside the working folder that only its owner can read."""
        path = self.home / name
        try:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"The working folder {self.home} cannot be written ({error.strerror}): "
                f"set {HOME_ENV} to a folder of your own."
            ) from None
        return path

    def say(self, sentence: str) -> None:
        """Print one line to stderr."""
        print(sentence, file=sys.stderr, flush=True)

    def show(self, result: Mapping[str, Any], text: Callable[[], Sequence[RenderableType]]) -> None:
        """Print the command's result: one JSON object, or the text that `text` renders."""
        with self._to_stdout() as out:
            if self.format == "json":
                json.dump(result, out, ensure_ascii=False, default=_as_json)
                out.write("\n")
            else:
                console = self._console()
                for part in text():
                    # rich joins texts before it prints them; the joined text loses these settings of its parts.
                    no_wrap, overflow = getattr(part, "no_wrap", None), getattr(part, "overflow", None)
                    console.print(part, crop=False, no_wrap=no_wrap, overflow=overflow)

    def write(self, text: str) -> None:
        """Write text to stdout unchanged, for another program to read."""
        with self._to_stdout() as out:
            out.write(text)

    def system(self, name: str) -> CreditSystem:
        """The configured system of that name."""
        from credit_pipeline.config.loader import load_system

        found = load_system(name, self.folder)
        self.follow(found.name)
        return found

    def follow(self, name: str) -> None:
        """Write the decision log of this system."""
        self._logs.follow(name, self.private_folder("logs"), verbose=self.verbose)

    def sandbox_answers(self, system: CreditSystem) -> bool:
        """Whether commands use the sandbox in place of this system's sources."""
        from credit_pipeline.cli.managed_servers import may_use_sandbox

        return may_use_sandbox(self, system)

    @contextlib.contextmanager
    def gateways(self, system: CreditSystem) -> Iterator[Gateways]:
        """The system's gateways. An error inside is written to the system's log as well."""
        from credit_pipeline.adapters.connect import open_gateways
        from credit_pipeline.cli.managed_servers import history_server, sandbox_for
        from credit_pipeline.services.decision_log import DecisionLog

        try:
            with (
                sandbox_for(self, system),
                history_server(self) as server,
                open_gateways(system, self.home, os.environ, server=server) as opened,
            ):
                yield opened
        except CreditPipelineError as error:
            DecisionLog(system.name).failed(str(error))
            raise

    @contextlib.contextmanager
    def lifecycle(self, system: CreditSystem) -> Iterator[Lifecycle]:
        """The lifecycle in the product's database: findings, exemptions, stop. Needs no billing keys."""
        from credit_pipeline.adapters.database_only import open_lifecycle
        from credit_pipeline.cli.managed_servers import sandbox_for

        with sandbox_for(self, system), open_lifecycle(system, os.environ) as opened:
            yield opened

    @contextlib.contextmanager
    def history(self, system: CreditSystem) -> Iterator[Lifecycle]:
        """The lifecycle of findings and exemptions. Kept at home if the product's database has no schema of ours."""
        from credit_pipeline.adapters.database_only import open_lifecycle
        from credit_pipeline.cli.managed_servers import history_server, sandbox_for

        with (
            sandbox_for(self, system),
            history_server(self) as server,
            open_lifecycle(system, os.environ, server=server) as opened,
        ):
            yield opened

    @contextlib.contextmanager
    def decisions(self, system: CreditSystem) -> Iterator[PlanStore]:
        """The system's plans, opened with the approver's login if it has one. Needs no billing keys."""
        from credit_pipeline.adapters.connect import Role
        from credit_pipeline.adapters.database_only import open_plans
        from credit_pipeline.cli.managed_servers import sandbox_for

        with sandbox_for(self, system), open_plans(system, os.environ, Role.APPROVER) as opened:
            yield opened

    @contextlib.contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """The Dagster instance of the working folder. Its server runs until the end of the block."""
        from credit_pipeline.cli.managed_servers import dagster_storage
        from credit_pipeline.orchestration.instance import instance, prepare_home

        with dagster_storage(self) as url:
            prepare_home(self.home, url)
            with instance() as opened:
                yield opened

    @contextlib.contextmanager
    def progress(self, doing: str) -> Iterator[Progress | None]:
        """A progress bar on the terminal; None without a terminal."""
        if not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextlib.contextmanager
    def waiting(self, doing: str) -> Iterator[None]:
        """A spinner on the terminal, for work of unknown length."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True, markup=False).status(doing):
            yield

    @contextlib.contextmanager
    def _to_stdout(self) -> Iterator[TextIO]:
        try:
            yield self._out
            self._out.flush()
        except BrokenPipeError as error:  # click would exit with 1, which means "act" here
            raise ReaderLeft from error

    def _console(self) -> Console:
        from rich.console import Console

        # Names from products and providers are printed verbatim, never as markup or emoji.
        return Console(file=self._out, markup=False, emoji=False, highlight=False, soft_wrap=False)


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
