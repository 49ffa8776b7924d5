"""The sandbox's billing server: Wix and Stripe on one loopback port, in a thread of this process or as a process.

`python -m credit_pipeline.sandbox.billing.server --book FILE [--stripe-book FILE] --state FILE` serves until SIGTERM.
"""

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from credit_pipeline.sandbox.billing.control import ControlApi
from credit_pipeline.sandbox.billing.state import APP_ID, ServerState, known_secrets
from credit_pipeline.sandbox.faults.faults import FaultBook
from credit_pipeline.sandbox.stripe.api import KEY_PREFIX, StripeApi
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.versions import VERSION
from credit_pipeline.sandbox.wix.api import BillingApi, Credentials
from credit_pipeline.sandbox.wix.book import BillingBook

HOST = "127.0.0.1"


class _OpenConnection(H11Protocol):
    """Gives each request its connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Stores the transport for the application."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _AnnouncedServer(uvicorn.Server):
    """Announces itself only when it serves and can be stopped: a reader of the state may stop it at once."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()


class _PromptServer(uvicorn.Server):
    """Stops within 10 ms; uvicorn's own loop takes 100 ms, which adds up over hundreds of tests."""

    async def main_loop(self) -> None:
        """Serves until it should exit."""
        while not self.should_exit:
            await asyncio.sleep(0.01)


def new_credentials(app_secret: str | None = None, stripe_key: str | None = None) -> Credentials:
    """The sandbox app's secret, a restricted key of Stripe's test mode and a token for the control API, all random."""
    return Credentials(
        app_id=APP_ID,
        app_secret=app_secret or secrets.token_urlsafe(24),
        stripe_key=stripe_key or KEY_PREFIX + secrets.token_hex(16),
        control_token=secrets.token_urlsafe(24),
    )


class BillingServer:
    """A billing server in a thread, for tests: `with BillingServer(book) as server: … server.base_url`.

    Wix serves `book` and Stripe `stripe`; each is empty by default. `stripe_version` is the version for requests
    without one.
    """

    def __init__(
        self,
        book: BillingBook | None = None,
        *,
        stripe: StripeBook | None = None,
        credentials: Credentials | None = None,
        port: int = 0,
        per_minute: int = 200,
        per_second: int = 25,
        stripe_version: str = VERSION,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.book = BillingBook() if book is None else book
        self.stripe = StripeBook() if stripe is None else stripe
        self.faults = FaultBook()
        self.credentials = credentials or new_credentials()
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        wix = BillingApi(self.book, self.faults, self.credentials, per_minute=per_minute, clock=clock)
        key = self.credentials.stripe_key
        api = StripeApi(self.stripe, self.faults, key, per_second=per_second, version=stripe_version, clock=clock)
        control = ControlApi(self.book, self.stripe, self.faults, self.credentials.control_token)
        self._server = _PromptServer(_config(Starlette(routes=[*wix.routes(), *api.routes(), *control.routes()])))
        self._thread = threading.Thread(target=self._serve, name="sandbox-billing", daemon=True)

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> Self:
        """Starts to answer. Connections are accepted since the object was created."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops serving and frees the port; a second call does nothing."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def serve(book_path: Path, state_path: Path, port: int, stripe_path: Path | None = None) -> None:
    """Serves the books of files until SIGTERM or SIGINT, and writes its address to the state file."""
    listening = _listen(port)
    credentials = new_credentials(*known_secrets(state_path))
    state = ServerState.of_this_process(
        port=listening.getsockname()[1], credentials=credentials, book=book_path, stripe_book=stripe_path
    )
    application = _application(
        BillingBook.load(book_path), None if stripe_path is None else StripeBook.load(stripe_path), credentials
    )
    server = _AnnouncedServer(_config(application), lambda: state.write(state_path))
    with suppress(PermissionError):
        os.setsid()  # our own session: the terminal's Ctrl-C is for the command that started us
    # uvicorn stops gracefully and then raises the signal once more.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run(sockets=[listening])


def main(arguments: list[str] | None = None) -> None:
    """The command line of the server process."""
    parser = argparse.ArgumentParser(
        prog="credit_pipeline.sandbox.billing.server", description="Sandbox billing server."
    )
    parser.add_argument("--book", type=Path, required=True, help="file of the billing book")
    parser.add_argument("--stripe-book", type=Path, help="file of Stripe's book; without it no Stripe is served")
    parser.add_argument("--state", type=Path, required=True, help="file to write the server's address to")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    given = parser.parse_args(arguments)
    serve(given.book, given.state, given.port, given.stripe_book)


def _application(book: BillingBook, stripe: StripeBook | None, credentials: Credentials) -> Starlette:
    """Both providers with one set of faults and default rate limits."""
    faults = FaultBook()
    routes = BillingApi(book, faults, credentials).routes()
    if stripe is not None:
        routes += StripeApi(stripe, faults, credentials.stripe_key).routes()
    return Starlette(routes=[*routes, *ControlApi(book, stripe, faults, credentials.control_token).routes()])


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError:
        listening.close()
        raise
    listening.listen(256)
    return listening


def _config(application: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=_OpenConnection,
        ws="none",
        log_config=None,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        lifespan="off",
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
