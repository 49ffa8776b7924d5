"""The Sink port over the log and over a webhook that accepts Slack's JSON.

Error messages never contain the webhook's address, because a Slack webhook's URL is itself a secret.
"""

import json
import logging
import time
from contextlib import closing
from datetime import timedelta

import httpcore
import httpx

from credit_pipeline.adapters.billing.http.transport import BoundedTransport, Deadline, DeadlinePassed, is_loopback
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message

TIMEOUT = timedelta(seconds=10)
"""Wall-clock limit for one message including the response. A sensor's tick may take a minute in total."""

_TOO_MANY, _TIMED_OUT, _SERVER = 429, 408, 500


class LogSink:
    """Writes one log line per message; without a handler, as in a daemon, Python prints it to stderr."""

    name = "log"

    def __init__(self, system: str) -> None:
        self._logger = logging.getLogger(f"credit_pipeline.{system}")

    def send(self, message: Message) -> None:
        """Logs the message as a warning."""
        self._logger.warning("ALERT: %s", "; ".join((message.title, *message.lines)))


class SilentSink:
    """A misconfigured sink: every message fails with `why`."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def send(self, message: Message) -> None:  # noqa: ARG002 (the port's signature)
        """Raises DeliveryFailed."""
        raise DeliveryFailed(self._why, down=True)


class WebhookSink:
    """POSTs `{"text": …}` to one URL over https, or http on loopback. Redirects are not followed.

    The URL is the operator's and may be in a private network, as chat servers often are.
    """

    name = "webhook"

    def __init__(self, system: str, url: str, env: str, timeout: timedelta = TIMEOUT) -> None:
        self._about = f"{system}: the webhook of {env}"
        self._url = _checked(system, url, env)
        self._timeout = timeout.total_seconds()

    def send(self, message: Message) -> None:
        """Sends the message. Raises DeliveryFailed unless a 2xx response arrives in time."""
        deadline = Deadline()
        transport = BoundedTransport(
            deadline=deadline, connections=1, tls=self._url.scheme == "https", allow_private=True
        )
        body = json.dumps({"text": message.text}).encode()
        with closing(transport):
            try:
                with deadline.until(time.monotonic() + self._timeout):
                    response = transport.handle_request(self._request(body))
                    response.close()
            except (DeadlinePassed, httpcore.TimeoutException):
                raise DeliveryFailed(f"{self._about} did not answer in time: check it", down=True) from None
            except (
                httpcore.NetworkError,
                httpcore.ProtocolError,
                OSError,
                UnicodeError,
            ):  # UnicodeError: an invalid host name
                raise DeliveryFailed(f"{self._about} cannot be reached: check it and the network", down=True) from None
        if not response.is_success:
            status = response.status_code
            down = status in {_TOO_MANY, _TIMED_OUT} or status >= _SERVER
            remedy = "it is tried again" if down else "correct the variable"
            raise DeliveryFailed(f"{self._about} answered with HTTP {status}: {remedy}", down=down)

    def _request(self, body: bytes) -> httpx.Request:
        """Built by hand, because an httpx client logs every URL it requests, and this one is a secret."""
        request = httpx.Request("POST", self._url, content=body, headers={"Content-Type": "application/json"})
        if self._url.username or self._url.password:
            request = next(httpx.BasicAuth(self._url.username, self._url.password).auth_flow(request))
        return request


def _checked(system: str, url: str, env: str) -> httpx.URL:
    """The parsed URL. Raises DeliveryFailed if it is invalid, or http to another host."""
    try:
        found = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError):
        found = httpx.URL("")
    if found.scheme not in {"http", "https"} or not found.host:
        raise DeliveryFailed(f"{system}: {env} is not a webhook URL: write it as https://host/path", down=True)
    if found.scheme == "http" and not is_loopback(found.host):
        raise DeliveryFailed(f"{system}: {env} is an http URL, which is not encrypted: use https", down=True)
    return found
