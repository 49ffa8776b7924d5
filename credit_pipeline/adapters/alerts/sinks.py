"""Sinks for alerts that need no mail server: the log, and a webhook that takes Slack's JSON (port Sink).

Mail is `alert_mail.py`'s. What a message says is `services/alerts.py`'s. No address appears in any sentence: a Slack
webhook's is a secret by itself.
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

PATIENCE = timedelta(seconds=10)
"""Wall clock for one message, answer included. A sensor's tick may take a minute in all."""

_TOO_MANY, _TIMED_OUT, _SERVER = 429, 408, 500


class LogSink:
    """The system's logger, one line a message; where no handler is, as in a daemon, Python prints it to stderr."""

    name = "log"

    def __init__(self, system: str) -> None:
        self._logger = logging.getLogger(f"credit_pipeline.{system}")

    def send(self, message: Message) -> None:
        """Writes it as a warning."""
        self._logger.warning("ALERT: %s", "; ".join((message.title, *message.lines)))


class SilentSink:
    """A sink that cannot work as it is configured; `why` is the sentence that says so at every message."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def send(self, message: Message) -> None:  # noqa: ARG002 (the port's signature)
        """Raises DeliveryFailed."""
        raise DeliveryFailed(self._why, down=True)


class WebhookSink:
    """`{"text": …}` by POST to one address over https, or http on loopback. Redirects are not followed.

    The address is the operator's own and may be in a private network, as that of a chat server often is.
    """

    name = "webhook"

    def __init__(self, system: str, url: str, env: str, patience: timedelta = PATIENCE) -> None:
        self._about = f"{system}: the webhook of {env}"
        self._url = _checked(system, url, env)
        self._patience = patience.total_seconds()

    def send(self, message: Message) -> None:
        """Hands the message over. Raises DeliveryFailed where the answer is not 2xx, or none comes in time."""
        deadline = Deadline()
        transport = BoundedTransport(
            deadline=deadline, connections=1, tls=self._url.scheme == "https", allow_private=True
        )
        body = json.dumps({"text": message.text}).encode()
        with closing(transport):
            try:
                with deadline.until(time.monotonic() + self._patience):
                    response = transport.handle_request(self._request(body))
                    response.close()
            except (DeadlinePassed, httpcore.TimeoutException):
                raise DeliveryFailed(f"{self._about} did not answer in time: check it", down=True) from None
            except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError):  # the last: no host name
                raise DeliveryFailed(f"{self._about} cannot be reached: check it and the network", down=True) from None
        if not response.is_success:
            status = response.status_code
            down = status in {_TOO_MANY, _TIMED_OUT} or status >= _SERVER
            remedy = "it is tried again" if down else "correct the variable"
            raise DeliveryFailed(f"{self._about} answered with HTTP {status}: {remedy}", down=down)

    def _request(self, body: bytes) -> httpx.Request:
        """Made by hand: an httpx client logs every address it asks, and this one is a secret."""
        request = httpx.Request("POST", self._url, content=body, headers={"Content-Type": "application/json"})
        if self._url.username or self._url.password:
            request = next(httpx.BasicAuth(self._url.username, self._url.password).auth_flow(request))
        return request


def _checked(system: str, url: str, env: str) -> httpx.URL:
    """The address. Raises DeliveryFailed where it is none to which anything may be sent."""
    try:
        found = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError):
        found = httpx.URL("")
    if found.scheme not in {"http", "https"} or not found.host:
        raise DeliveryFailed(f"{system}: {env} is no address of a webhook: write it as https://host/path", down=True)
    if found.scheme == "http" and not is_loopback(found.host):
        raise DeliveryFailed(f"{system}: {env} is an http address, which anybody may read: use https", down=True)
    return found
