"""Servers on loopback that alerts are delivered to: a chat's webhook over HTTP, and a mail server. No assertions."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, Session


class Chat:
    """What the webhook received, and how it answers: a status, `drip` (a byte a moment) or `redirect`."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.how = "answers"
        self.ended = threading.Event()
        self.url = ""

    @property
    def texts(self) -> list[str]:
        """What was said, oldest first."""
        return [body["text"] for _, _, body in self.posts]


def _handler(chat: Chat) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if chat.status < 300:
                chat.posts.append((self.path, dict(self.headers), body))
            if chat.how == "drip":
                while not chat.ended.wait(0.05):
                    self.wfile.write(b"H")
                return
            self.send_response(chat.status)
            if chat.how == "redirect":
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # who asked has gone away
                return

    return Handler


@contextmanager
def a_chat() -> Iterator[Chat]:
    """A webhook on a loopback port."""
    chat = Chat()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(chat))
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}/hooks/T0/SECRET"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        chat.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Post:
    """What the mail server received, and how it answers."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.refuses: dict[str, str] = {}
        """A recipient -> the server's answer to it; `DATA` -> its answer to the message."""
        self.port = 0
        self.tls: list[bool] = []
        """Of each letter, whether it came over TLS."""
        self.known: list[bool] = []
        """Of each letter, whether its sender had logged in."""

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        if "DATA" in self.refuses:
            return self.refuses["DATA"]
        self.letters.append(envelope)
        self.tls.append(session.ssl is not None)
        self.known.append(bool(session.authenticated))
        return "250 OK"


def _let_in(server: Server, session: Session, envelope: Envelope, mechanism: str, words: Any) -> AuthResult:
    return AuthResult(success=(words.login, words.password) == (b"eva", b"p@ss/word"), handled=False)


@contextmanager
def a_post(*, host: str = "127.0.0.1", starttls: ssl.SSLContext | None = None, login: bool = False) -> Iterator[Post]:
    """A mail server on a port; with `login` it knows eva and nobody else."""
    post = Post()
    words: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
    if login:
        words |= {"auth_require_tls": False, "authenticator": _let_in}
    loop = asyncio.new_event_loop()
    spoken: list[Server] = []

    def one() -> Server:
        spoken.append(Server(post, loop=loop, **words))
        return spoken[-1]

    server = loop.run_until_complete(loop.create_server(one, host, 0))
    post.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield post
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_ended(loop, spoken))
        loop.close()


async def _ended(loop: asyncio.AbstractEventLoop, spoken: list[Server]) -> None:
    """Every connection is closed, and what still runs is cancelled."""
    for one in spoken:
        if one.transport is not None:
            one.transport.close()
    await asyncio.sleep(0)
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
