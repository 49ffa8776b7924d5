"""The section `alerts` of a file: who is told, and the mistakes one may make in it."""

from pathlib import Path

import pytest

from credit_pipeline.config.alerts import AlertsConfig, EmailAlerts, WebhookAlerts
from credit_pipeline.config.loader import load_file
from credit_pipeline_tests.config.test_loader import ACME, a_system, refusal


def with_alerts(section: str) -> str:
    lines = "".join(f"    {line}\n" for line in section.splitlines())
    return ACME.replace("  policy:\n", f"  alerts:\n{lines}  policy:\n")


def test_without_the_section_the_log_is_told(tmp_path: Path) -> None:
    assert load_file(a_system(tmp_path)).alerts == AlertsConfig(log=True)


def test_every_key_has_its_place(tmp_path: Path) -> None:
    section = (
        "log: false\nwebhook: {url_env: ACME_HOOK}\n"
        "email: {smtp_url_env: ACME_SMTP, from: bot@example.com, to: [ann@example.com, bob+x@mail.example.com]}"
    )
    alerts = load_file(a_system(tmp_path, with_alerts(section))).alerts
    to = ("ann@example.com", "bob+x@mail.example.com")
    assert alerts == AlertsConfig(
        log=False,
        webhook=WebhookAlerts(url_env="ACME_HOOK"),
        email=EmailAlerts(smtp_url_env="ACME_SMTP", sender="bot@example.com", to=to),
    )
    assert alerts.variables == ("ACME_HOOK", "ACME_SMTP")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("log: false", "nobody would be told of anything"),
        ("log: 'yes'", "log"),
        ("webhook: {url: ACME_HOOK}", "did you mean `url_env`"),
        ("webhook: {url_env: https://hooks.example.com/T0}", "name of an environment variable"),
        ("webhook: {}", "url_env"),
        ("email: {smtp_url_env: A, from: a@b.example, to: []}", "to"),
        ("email: {smtp_url_env: A, sender: a@b.example, to: [a@b.example]}", "sender"),
        ("email: {smtp_url_env: A, from: 'Ann <a@b.example>', to: [a@b.example]}", "one plain e-mail address"),
        ("email: {smtp_url_env: A, from: a@b.example, to: ['a@b.example, c@d.example']}", "one plain e-mail address"),
        ('email: {smtp_url_env: A, from: a@b.example, to: ["a@b.example\\nBcc: c@d.example"]}', "one plain e-mail"),
        ("email: {smtp_url_env: 'smtp://eva:hush@mail.example', from: a@b.example, to: [a@b.example]}", "variable"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, section: str, said: str) -> None:
    told = refusal(a_system(tmp_path, with_alerts(section)))
    assert said in told
    assert "hush" not in told
