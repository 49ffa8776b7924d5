"""The embedded Postgres: one server per working folder, started when needed, on a unix socket only.

Creates its data, starts and stops it, and cleans up after a killed server. Knows no tables.

If root's working folder is closed to the server's account, the data is in a folder under /var/tmp, and the working
folder links to it. No other folder's permissions are changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from credit_pipeline.domain.errors import StoreError
from credit_pipeline.sandbox.postgres.programs import OWN_FOLDERS, Programs

_PORT = 5432  # part of the socket's file name; set because libpq would use the user's PGPORT otherwise
# A socket's path may have about 100 bytes, and TMPDIR differs between processes that must find the same one.
_SOCKETS = Path("/tmp")  # noqa: S108
# Postgres 18 never finishes a fast stop during recovery from a killed backend, so it is killed after this time.
_STOP_SECONDS = "15"
# fsync and synchronous_commit keep their defaults (a commit takes 0.2 ms): beside the sandbox's data, which
# can be planted again, this server keeps the run history, which must survive a kill and a power cut.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",  # nobody rotates this log
    "cluster_name": "credit_pipeline",  # in the list of processes
}
# The same order and upper case on every machine, whatever locales it has.
_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")


class EmbeddedPostgres:
    """One server per working folder. As a context manager it stops the server only if it started it."""

    def __init__(self, home: Path) -> None:
        self._home = Path(home).expanduser().resolve()
        self._folder = self._home / "postgres"
        self._programs = Programs()
        name = hashlib.sha256(f"{os.geteuid()}:{self._home}".encode()).hexdigest()[:12]
        self._socket = _SOCKETS / f"credit_pipeline-{name}"
        self._started_here = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started_here:
            self.stop()

    def url(self, database: str = "postgres") -> str:
        """The libpq URL of a database. It stays the same over restarts."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={self._socket}&port={_PORT}"

    def is_running(self) -> bool:
        """Whether the server accepts connections now."""
        if not self._programs.owns(self._socket):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket / f".s.PGSQL.{_PORT}"))
            except OSError:
                return False
        return self._pid_file()[7:8] == ["ready"]

    def start(self) -> None:
        """Start the server unless it runs, and wait for it. The first start creates its data."""
        with self._lock():
            if self.is_running():
                return
            data = self._data()
            self._end_leftovers(data)
            if not (data / "PG_VERSION").exists():
                self._make_data(data)
            self._programs.private_folder(self._socket)
            options = f"-k {self._socket} -p {_PORT}"
            try:
                self._control(data, "-l", "server.log", "-o", options, "start")
            except StoreError as error:
                self._end_leftovers(data)
                raise StoreError(
                    f"The embedded Postgres does not start: look at the end of {data / 'server.log'}."
                ) from error
            except BaseException:
                self._end_leftovers(data)
                raise
            self._started_here = True

    def stop(self) -> None:
        """Stop the server, whoever started it. Open connections are closed."""
        self._started_here = False
        if not self._folder.exists():
            return
        with self._lock():
            data = self._data()
            if self._pid_file():
                with contextlib.suppress(StoreError):  # what is left of a killed server does not answer
                    self._control(data, "-t", _STOP_SECONDS, "-m", "fast", "stop")
            self._end_leftovers(data)

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        if self._folder.exists():
            data = self._data()
            shutil.rmtree(data if data.parent == self._folder else data.parent)
            shutil.rmtree(self._folder)
        if self._programs.owns(self._socket):
            shutil.rmtree(self._socket)

    def create_database(self, name: str) -> None:
        """Create an empty database of that name unless it exists."""
        # Two concurrent processes can pass the existence check and collide at the unique index of pg_database.
        exists = contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)
        with psycopg.connect(self.url(), autocommit=True) as connection, exists:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time start or stop this folder's server."""
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._folder.chmod(0o711)  # our own: the server's account goes through it to its data
            lock = (self._folder / "lock").open("a")
        except OSError as error:
            raise StoreError(
                f"The working folder {self._home} cannot be written ({error.strerror}): "
                "set CREDIT_PIPELINE_HOME to a folder of your own."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _data(self) -> Path:
        """The real path of the data folder, created if it is missing."""
        place = self._folder / "data"
        if not place.exists():
            place.unlink(missing_ok=True)  # a link whose target was cleaned away
            if self._programs.can_enter(self._folder):
                self._programs.private_folder(place)
            else:
                own = Path(tempfile.mkdtemp(prefix="credit_pipeline-", dir=OWN_FOLDERS))
                own.chmod(0o711)
                self._programs.private_folder(own / "data")
                place.symlink_to(own / "data")
        return place.resolve()

    def _control(self, data: Path, *arguments: str) -> None:
        # pg_ctl passes paths to a shell in double quotes. Run inside the folder, it passes none.
        self._programs.run("pg_ctl", "-D", ".", "-w", "-s", *arguments, inside=data)

    def _make_data(self, data: Path) -> None:
        """Run initdb beside the data folder, then move the result in place, so that it is never incomplete."""
        fresh = data.with_name("data.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        self._programs.private_folder(fresh)
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._programs.run(
            "initdb", "-D", fresh, "--no-sync", "--username=postgres", "--auth=trust", *_LOCALE, *settings
        )
        shutil.rmtree(data)
        fresh.rename(data)

    def _pid_file(self) -> list[str]:
        """The lines of the server's pid file, with its state on line eight; empty after a clean stop."""
        try:
            text = (self._folder / "data" / "postmaster.pid").read_text()
        except OSError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _end_leftovers(self, data: Path) -> None:
        """Kill processes that a killed server left, and delete its files, which hold reusable ids."""
        if not (data / "postmaster.pid").exists():
            return
        processes = [process for process in psutil.process_iter() if _works_in(process, data)]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT)  # to Postgres: end at once, recover at the next start
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=10)
        (data / "postmaster.pid").unlink(missing_ok=True)
        for file in self._socket.glob(f".s.PGSQL.{_PORT}*"):
            file.unlink(missing_ok=True)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether its working directory is the data folder, as for every Postgres process. False for zombies."""
    try:
        return process.cwd() == str(folder)
    except (psutil.Error, OSError):
        return False
