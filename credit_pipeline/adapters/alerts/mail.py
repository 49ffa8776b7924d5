"""The Sink port over SMTP: one plain-text e-mail to all recipients.

A URL in the environment names the server: `smtp://user:password@host:587` or `smtps://…:465`. Error messages never
quote the server's replies, which may contain an address.
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

from credit_pipeline.adapters.alerts.sinks import TIMEOUT
from credit_pipeline.adapters.billing.http.transport import is_loopback
from credit_pipeline.config.alerts import EmailAlerts
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message

_PORTS = {"smtp": 587, "smtps": 465}
_MYSELF = "[127.0.0.1]"
"""Our name in EHLO. By default smtplib resolves the local host name, which can take a minute."""


class _Server(NamedTuple):
    tls: bool
    host: str
    port: int
    user: str
    password: str


class EmailSink:
    """Sends mail to all of `mail.to`. Requires TLS unless the server is loopback."""

    name = "email"

    def __init__(self, system: str, url: str, mail: EmailAlerts, timeout: timedelta = TIMEOUT) -> None:
        self._mail = mail
        self._about = f"{system}: the mail server of {mail.smtp_url_env}"
        self._server = _server(system, url, mail.smtp_url_env)
        self._timeout = timeout.total_seconds()

    def send(self, message: Message) -> None:
        """Sends the message. Raises DeliveryFailed unless the server accepts it for every recipient."""
        try:
            with self._connected() as smtp, _cut_off(smtp, self._timeout):
                self._secure(smtp)
                refused = smtp.send_message(self._email(message), self._mail.sender, list(self._mail.to))
                with suppress(smtplib.SMTPException, OSError):
                    smtp.quit()
        except smtplib.SMTPException as error:
            raise self._failed(error) from None
        except ssl.SSLError:
            raise self._down("failed the TLS handshake: check its certificate") from None
        except UnicodeEncodeError as error:
            if error.encoding != "ascii":
                raise
            raise self._down("accepts only ASCII in user and password: use such ones") from None
        except (OSError, UnicodeError):  # UnicodeError: an invalid host name
            raise self._down("cannot be reached, or did not answer in time: check it and the network") from None
        if refused:  # a retry would reach the accepted recipients a second time
            raise DeliveryFailed(
                f"{self._about} refused {len(refused)} of {len(self._mail.to)} recipients, who did not get it: "
                "correct `alerts.email.to`",
                partly=True,
            )

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection, closed at the end without QUIT."""
        tls, host, port, _, _ = self._server
        if tls:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = _Smtps(host, port, _MYSELF, timeout=self._timeout, context=context)
        else:
            smtp = _Smtp(host, port, _MYSELF, timeout=self._timeout)
        try:
            yield smtp
        finally:
            smtp.close()

    def _secure(self, smtp: smtplib.SMTP) -> None:
        """Starts TLS, then logs in."""
        smtp.ehlo()
        if not self._server.tls and not is_loopback(self._server.host):
            if not smtp.has_extn("starttls"):
                raise self._down("does not offer STARTTLS, and mail is never sent unencrypted: use a server that does")
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        if self._server.user:
            smtp.login(self._server.user, self._server.password)

    def _email(self, message: Message) -> EmailMessage:
        email = EmailMessage()
        email["Subject"] = message.title
        email["From"] = self._mail.sender
        email["To"] = ", ".join(self._mail.to)
        email["Date"] = formatdate()
        email["Message-ID"] = make_msgid(domain="credit-pipeline.invalid")
        email["Auto-Submitted"] = "auto-generated"  # suppresses out-of-office replies
        email.set_content("\n".join((*message.lines, "")))
        return email

    def _failed(self, error: smtplib.SMTPException) -> DeliveryFailed:
        env = self._mail.smtp_url_env
        if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPNotSupportedError):
            return self._down(f"did not accept the user or the password: correct {env}")
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            return self._down("refused every recipient: correct `alerts.email.to`")
        if isinstance(error, smtplib.SMTPSenderRefused):
            return self._down("refused the sender: correct `alerts.email.from`")
        code = f" with code {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        return self._down(f"refused the message{code}: see its log")

    def _down(self, what: str) -> DeliveryFailed:
        return DeliveryFailed(f"{self._about} {what}", down=True)


@contextmanager
def _cut_off(smtp: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Cuts the connection after `seconds`; smtplib's own timeout restarts with each byte received."""

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
    """An SMTP client whose time limit also covers the greeting, which the constructor reads."""

    timeout: float

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connects as smtplib does, within the total time limit."""
        with _cut_off(self, self.timeout):
            return super().connect(host, port, source_address)


class _Smtps(_Smtp, smtplib.SMTP_SSL):
    """The same over TLS from the start."""


def _server(system: str, url: str, env: str) -> _Server:
    """The parsed URL. Raises DeliveryFailed if it is not one of a mail server."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise DeliveryFailed(
            f"{system}: {env} is not a mail server URL: write it as smtp://user:password@host:587 or smtps://…, "
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
