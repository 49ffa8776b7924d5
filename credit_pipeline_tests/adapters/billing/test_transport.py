"""Where connections may lead, and Retry-After in both its forms."""

import time
from datetime import UTC, datetime

import httpcore
import pytest

from credit_pipeline.adapters.billing.http.client import retry_after
from credit_pipeline.adapters.billing.http.transport import (
    BoundedBackend,
    Deadline,
    DeadlinePassed,
    PrivateAddress,
    is_loopback,
)


class FakeStream(httpcore.NetworkStream):
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.closed = False
        self.timeouts: list[float | None] = []

    def get_extra_info(self, info):
        return (self.peer, 443) if info == "server_addr" else None

    def close(self):
        self.closed = True

    def read(self, max_bytes, timeout=None):
        self.timeouts.append(timeout)
        return b"x"


class FakeNetwork(httpcore.NetworkBackend):
    """Every name leads to one address."""

    def __init__(self, peer: str) -> None:
        self.stream = FakeStream(peer)

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        return self.stream


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.1.1", "169.254.169.254", "127.0.0.1", "::1", "fe80::1"])
def test_a_public_name_that_leads_into_a_private_network_is_hung_up_on(peer):
    network = FakeNetwork(peer)

    with pytest.raises(PrivateAddress):
        BoundedBackend(Deadline(), inner=network).connect_tcp("billing.example.com", 443)

    assert network.stream.closed


@pytest.mark.parametrize(
    ("host", "peer", "allowed"),
    [
        ("billing.example.com", "34.149.87.45", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("billing.internal", "10.0.0.7", True),
    ],
)
def test_public_loopback_and_allowed_addresses_are_connected(host, peer, allowed):
    network = FakeNetwork(peer)

    BoundedBackend(Deadline(), allow_private=allowed, inner=network).connect_tcp(host, 443)

    assert not network.stream.closed


def test_each_read_gets_what_is_left_of_the_deadline():
    deadline, network = Deadline(), FakeNetwork("34.149.87.45")
    stream = BoundedBackend(deadline, inner=network).connect_tcp("billing.example.com", 443)

    with deadline.until(time.monotonic() + 5):
        stream.read(1, 10.0)
        stream.read(1, 1.0)
    with deadline.until(time.monotonic() - 1), pytest.raises(DeadlinePassed):
        stream.read(1, 10.0)
    stream.read(1, 10.0)

    clipped, short, free = network.stream.timeouts
    assert clipped == pytest.approx(5, abs=0.5)
    assert (short, free) == (1.0, 10.0)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_known_by_its_very_name(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("9" * 400, 999_999_999.0),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(header, seconds):
    assert retry_after(header, datetime(2026, 11, 20, 12, tzinfo=UTC)) == seconds
