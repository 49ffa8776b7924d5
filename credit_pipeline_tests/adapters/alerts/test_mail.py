"""Alerts by e-mail, to a real SMTP server: the letter, TLS before anything else, and what is said of a server's no."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from credit_pipeline.adapters.alerts.mail import EmailSink
from credit_pipeline.config.alerts import EmailAlerts
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message
from credit_pipeline_tests.adapters.alerts.alert_servers import Post, a_post

SAID = Message(
    title="acme: 3 failed webhooks given up", lines=("next: credit-pipeline webhooks acme list --state dead",)
)
MAIL = EmailAlerts(smtp_url_env="SMTP_URL", sender="bot@example.com", to=("ann@example.com", "bob@example.com"))
ELSEWHERE = "0.0.0.0"


@pytest.fixture
def post() -> Iterator[Post]:
    with a_post() as opened:
        yield opened


def send(url: str) -> None:
    EmailSink("acme", url, MAIL).send(SAID)


def refusal(url: str) -> str:
    with pytest.raises(DeliveryFailed) as failed:
        send(url)
    assert failed.value.down
    assert "@" not in str(failed.value).replace("smtp://user:password@host:587", "")
    return str(failed.value)


def test_the_letter_says_the_message_to_everybody(post: Post) -> None:
    send(f"smtp://127.0.0.1:{post.port}")
    [envelope] = post.letters
    assert (envelope.mail_from, envelope.rcpt_tos) == ("bot@example.com", ["ann@example.com", "bob@example.com"])
    assert isinstance(envelope.content, bytes)
    letter = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(letter, EmailMessage)
    assert letter["Subject"] == "acme: 3 failed webhooks given up"
    assert (letter["From"], letter["To"]) == ("bot@example.com", "ann@example.com, bob@example.com")
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"]
    assert letter["Message-ID"].endswith("@credit-pipeline.invalid>")
    assert letter.get_content().strip() == "next: credit-pipeline webhooks acme list --state dead"


def test_user_and_password_are_read_from_the_url() -> None:
    with a_post(login=True) as post:
        send(f"smtp://eva:p%40ss%2Fword@127.0.0.1:{post.port}")
        assert post.known == [True]
        said = refusal(f"smtp://eva:wrong@127.0.0.1:{post.port}")
        assert said == "acme: the mail server of SMTP_URL did not accept the user or the password: correct SMTP_URL"
        assert len(post.letters) == 1


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        ({"ann@example.com": "550 no", "bob@example.com": "550 no bob@example.com"}, "refused every recipient"),
        ({"DATA": "554 5.7.1 eva@example.com is spam"}, "refused the message with code 554"),
        ({"DATA": "451 try again later"}, "refused the message with code 451"),
    ],
)
def test_a_servers_no_is_said_without_its_words(post: Post, refuses: dict[str, str], said: str) -> None:
    post.refuses = refuses
    assert said in refusal(f"smtp://127.0.0.1:{post.port}")
    assert post.letters == []


def test_one_refused_recipient_does_not_have_the_others_told_again_and_is_said(post: Post) -> None:
    post.refuses = {"bob@example.com": "550 no such user bob@example.com"}
    with pytest.raises(DeliveryFailed) as failed:
        send(f"smtp://127.0.0.1:{post.port}")
    assert [envelope.rcpt_tos for envelope in post.letters] == [["ann@example.com"]]
    assert (failed.value.partly, failed.value.down) == (True, False)
    assert str(failed.value) == (
        "acme: the mail server of SMTP_URL refused 1 of 2 recipients, who did not get it: correct `alerts.email.to`"
    )


def test_nothing_is_sent_in_the_clear_to_another_machine() -> None:
    with a_post(host=ELSEWHERE) as post:
        assert "does not offer STARTTLS" in refusal(f"smtp://{ELSEWHERE}:{post.port}")
        assert post.letters == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key, for that address."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=mail", "-addext", f"subjectAltName=IP:{ELSEWHERE}", "-days", "2"]
    subprocess.run([*words, "-keyout", path, "-out", path.with_name("cert.pem")], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_name("cert.pem").read_text())
    return path


def test_another_machine_is_spoken_to_over_tls_with_a_certificate_that_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with a_post(host=ELSEWHERE, starttls=context) as post:
        url = f"smtp://{ELSEWHERE}:{post.port}"
        assert "failed the TLS handshake" in refusal(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
        send(url)
        assert post.tls == [True]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("smtp://127.0.0.1:9", "cannot be reached"),
        ("smtps://127.0.0.1:9", "cannot be reached"),
        ("http://mail.example.com", "not a mail server URL"),
        ("smtp://mail.example.com:port", "not a mail server URL"),
        ("smtp://", "not a mail server URL"),
        ("eva:hush@mail.example.com", "not a mail server URL"),
        ("smtps://mail..example.com", "cannot be reached"),
    ],
)
def test_an_address_to_which_nothing_can_be_sent_is_said_without_it(url: str, said: str) -> None:
    told = refusal(url)
    assert said in told
    assert "hush" not in told


def test_tls_from_the_first_byte_is_not_spoken_with_a_server_that_does_not(post: Post) -> None:
    assert "failed the TLS handshake" in refusal(f"smtps://127.0.0.1:{post.port}")
    assert post.letters == []


def test_a_password_with_accents_is_said_to_be_one() -> None:
    with a_post(login=True) as post:
        assert "accepts only ASCII" in refusal(f"smtp://eva:h%C3%BCsh@127.0.0.1:{post.port}")


@pytest.mark.parametrize("first", [b"", b"220 ready\r\n"])
def test_a_server_that_speaks_a_byte_at_a_time_is_left_alone_in_time(first: bytes) -> None:
    ended = threading.Event()

    def drip(listening: socket.socket) -> None:
        spoken, _ = listening.accept()
        with spoken, suppress(OSError):
            spoken.sendall(first)
            while not ended.wait(0.05):
                spoken.sendall(b"2")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        try:
            began = time.monotonic()
            url = f"smtp://127.0.0.1:{listening.getsockname()[1]}"
            watchdog = threading.Timer(40, ended.set)  # a test that fails is to end as well
            watchdog.start()
            with pytest.raises(DeliveryFailed):
                EmailSink("acme", url, MAIL, timedelta(seconds=0.4)).send(SAID)
            assert time.monotonic() - began < 30
        finally:
            watchdog.cancel()
            ended.set()
            thread.join()
