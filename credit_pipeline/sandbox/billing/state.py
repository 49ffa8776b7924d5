"""The state file of a billing process: its address and credentials, readable by its owner only."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from credit_pipeline.sandbox.wix.api import Credentials

APP_ID = "sandbox-app"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """A billing process: address, credentials, pid, and its start time, since pids are reused."""

    port: int
    pid: int
    created: float
    app_id: str
    app_secret: str
    control_token: str
    book: str
    stripe_key: str = ""
    stripe_book: str | None = None
    """The file of Stripe's book; None if the process does not serve Stripe."""

    def __repr__(self) -> str:
        return f"ServerState({self.base_url!r}, pid={self.pid})"

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def of_this_process(
        cls, *, port: int, credentials: Credentials, book: Path, stripe_book: Path | None = None
    ) -> Self:
        """The state of the calling process."""
        return cls(
            port=port,
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            app_id=credentials.app_id,
            app_secret=credentials.app_secret,
            control_token=credentials.control_token,
            book=str(book.resolve()),
            stripe_key=credentials.stripe_key,
            stripe_book=None if stripe_book is None else str(stripe_book.resolve()),
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The state in a file; None if the file is missing or invalid."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Writes the file atomically."""
        scratch = path.with_name(path.name + ".new")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        scratch.replace(path)

    def serves(self, book: Path, stripe_book: Path | None) -> bool:
        """Whether the process serves these books."""
        stripe = None if stripe_book is None else str(stripe_book.resolve())
        return (self.book, self.stripe_book) == (str(book.resolve()), stripe)

    def process(self) -> psutil.Process | None:
        """The running process; None if it ended, even if another process has its pid now."""
        try:
            process = psutil.Process(self.pid)
            alive = process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if alive else None


def known_secrets(path: Path) -> tuple[str | None, str | None]:
    """The app secret and Stripe's key of the home's earlier process, each or None, so that an exported environment
    stays valid.
    """
    earlier = ServerState.read(path)
    return (earlier.app_secret or None, earlier.stripe_key or None) if earlier else (None, None)
