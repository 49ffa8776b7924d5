"""The sink for alerts by e-mail (port Sink): one plain-text message to all recipients over SMTP.

The server is named by a URL in the environment, `smtp://user:password@host:587` or `smtps://…:465`. Nothing that a
server says gets into a sentence of ours: it may repeat an address.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from credit_pipeline.adapters.alerts.sinks import PATIENCE
from credit_pipeline.adapters.billing.http.transport import is_loopback
from credit_pipeline.config.system import EmailAlerts
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message

_PORTS = {"smtp": 587, "smtps": 465}
_MYSELF = "[127.0.0.1]"
"""What we call ourselves: smtplib would ask the name service for our own name, which can take a minute."""


class _Server(NamedTuple):
    tls: bool
    host: str
    port: int
    user: str
    password: str


class EmailSink:
    """Mail to everybody in `mail.to`. TLS is a must, unless the server is this machine."""

    name = "email"

    def __init__(self, system: str, url: str, mail: EmailAlerts, patience: timedelta = PATIENCE) -> None:
        self._mail = mail
        self._about = f"{system}: the mail server of {mail.smtp_url_env}"
        self._server = _server(system, url, mail.smtp_url_env)
        self._patience = patience.total_seconds()

    def send(self, message: Message) -> None:
        """Hands the mail over. Raises DeliveryFailed where the server does not take it for everybody."""
        try:
            with self._connected() as smtp, _cut_off(smtp, self._patience):
                self._secure(smtp)
                refused = smtp.send_message(self._letter(message), self._mail.sender, list(self._mail.to))
                with suppress(smtplib.SMTPException, OSError):
                    smtp.quit()
        except smtplib.SMTPException as error:
            raise self._failed(error) from None
        except ssl.SSLError:
            raise self._down("could not agree on TLS: check its certificate") from None
        except UnicodeEncodeError as error:
            if error.encoding != "ascii":
                raise
            raise self._down("takes a user and a password without accents only: give it such ones") from None
        except (OSError, UnicodeError):  # a name that no name service takes is the latter
            raise self._down("cannot be reached, or did not answer in time: check it and the network") from None
        if refused:  # sent again it would reach those a second time who have it
            raise DeliveryFailed(
                f"{self._about} refused {len(refused)} of {len(self._mail.to)} recipients, who were not told: "
                "correct `alerts.email.to`",
                partly=True,
            )

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection, closed without a word in the end."""
        tls, host, port, _, _ = self._server
        if tls:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = _Smtps(host, port, _MYSELF, timeout=self._patience, context=context)
        else:
            smtp = _Smtp(host, port, _MYSELF, timeout=self._patience)
        try:
            yield smtp
        finally:
            smtp.close()

    def _secure(self, smtp: smtplib.SMTP) -> None:
        """TLS first, then user and password."""
        smtp.ehlo()
        if not self._server.tls and not is_loopback(self._server.host):
            if not smtp.has_extn("starttls"):
                raise self._down("does not offer STARTTLS, and nothing is sent in the clear: use one that does")
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        if self._server.user:
            smtp.login(self._server.user, self._server.password)

    def _letter(self, message: Message) -> EmailMessage:
        letter = EmailMessage()
        letter["Subject"] = message.title
        letter["From"] = self._mail.sender
        letter["To"] = ", ".join(self._mail.to)
        letter["Date"] = formatdate()
        letter["Message-ID"] = make_msgid(domain="credit-pipeline.invalid")
        letter["Auto-Submitted"] = "auto-generated"  # no vacation notices, please
        letter.set_content("\n".join((*message.lines, "")))
        return letter

    def _failed(self, error: smtplib.SMTPException) -> DeliveryFailed:
        env = self._mail.smtp_url_env
        if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPNotSupportedError):
            return self._down(f"did not accept the user or the password: correct {env}")
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            return self._down("refused every recipient: correct `alerts.email.to`")
        if isinstance(error, smtplib.SMTPSenderRefused):
            return self._down("refused the sender: correct `alerts.email.from`")
        code = f" with code {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        return self._down(f"refused the message{code}: look at its log")

    def _down(self, what: str) -> DeliveryFailed:
        return DeliveryFailed(f"{self._about} {what}", down=True)


@contextmanager
def _cut_off(smtp: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Ends the connection after so long: smtplib's own limit counts from each byte that arrives."""

    def cut() -> None:
        if smtp.sock is not None:
            with suppress(OSError):
                smtp.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Smtp(smtplib.SMTP):
    """Does not wait longer for the server's first words either, which the constructor reads."""

    timeout: float

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """As smtplib's, within the time that is allowed in all."""
        with _cut_off(self, self.timeout):
            return super().connect(host, port, source_address)


class _Smtps(_Smtp, smtplib.SMTP_SSL):
    """The same under TLS."""


def _server(system: str, url: str, env: str) -> _Server:
    """What the URL says. Raises DeliveryFailed where it is none."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise DeliveryFailed(
            f"{system}: {env} is no address of a mail server: write it as smtp://user:password@host:587 or smtps://…, "
            "with special characters of the password percent-encoded",
            down=True,
        )
    return _Server(
        tls=parts.scheme == "smtps",
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
