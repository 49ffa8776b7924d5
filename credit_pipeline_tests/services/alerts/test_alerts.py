"""What people are told, as a table of texts; and that no alert, whatever it carries, names a customer or a server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.guards.ceilings import ceilings_of
from credit_pipeline.domain.guards.plan_guards import BillingPin, Circumstances, judge_plan
from credit_pipeline.domain.guards.verdict import PlanFacts
from credit_pipeline.domain.policy import Limits
from credit_pipeline.services.alerts.alerts import compose, try_sinks
from credit_pipeline.services.alerts.ports import Alert, AlertKind, DeliveryFailed, Message
from credit_pipeline_tests.adapters.products.counter_product import an_upgrade

AT = datetime(2026, 3, 1, tzinfo=UTC)
RUN = "5f1c0f2e-8d3c-4f1e-9a57-0c2b7f6d1e90"


def an_alert(kind: AlertKind, subject: str = "run-1", **content: Any) -> Alert:
    return Alert(id=1, kind=kind, subject=subject, content=content, created_at=AT)


def findings(how: dict[str, int], codes: dict[str, int], severities: dict[str, int], lost: int = 0) -> Alert:
    return an_alert(AlertKind.FINDINGS, how=how, codes=codes, severities=severities, lost=lost)


def quarantined(*failures: str, subject: str = "acme-0a1b2c3d", rows: int = 101, credits_: int = 505_000) -> Alert:
    content: dict[str, Any] = {"rows": rows, "credits": credits_, "failures": list(failures)}
    return an_alert(AlertKind.PLAN_QUARANTINED, subject, **content)


ONE = findings({"new": 1}, {"plan_mismatch": 1}, {"error": 1})
MANY = findings({"changed": 2, "new": 1200}, {"grant_missing": 1202}, {"critical": 1202})
LOST = findings({"reopened": 1}, {"unexplained_decrease": 1}, {"critical": 1}, lost=1200)
ROWS = (
    "would change 101/2,000 (5.1%) accounts, limit 100: review, then credit-pipeline approve acme-0a1b2c3d --lane auto"
)
FIRST = "the first applied plan of a system needs approval: credit-pipeline approve acme-0a1b2c3d"
TEXTS = [
    pytest.param(
        [ONE],
        """\
        acme: 1 finding to act on: 1 new
        1 error
        1 plan_mismatch
        next: credit-pipeline mismatches acme list""",
        id="one finding",
    ),
    pytest.param(
        [ONE, MANY, LOST],
        """\
        acme: 1,204 findings to act on: 1,201 new, 1 reopened, 2 changed
        1,203 critical, 1 error
        1 plan_mismatch, 1,202 grant_missing, 1 unexplained_decrease
        1,200 credits vanished without being spent
        next: credit-pipeline mismatches acme list""",
        id="three runs at once",
    ),
    pytest.param(
        [an_alert(AlertKind.AGED, hours=24, codes={"grant_missing": 3, "id_conflict": 1}, severities={"critical": 4})],
        """\
        acme: 4 findings open for more than 24 h
        4 critical
        1 id_conflict, 3 grant_missing
        next: credit-pipeline mismatches acme list""",
        id="aged",
    ),
    pytest.param(
        [quarantined(ROWS, FIRST)],
        """\
        acme: 1 correction plan quarantined, nothing of it was written
        acme-0a1b2c3d, 101 rows, 505,000 credits: would change 101/2,000 (5.1%) accounts, limit 100; the first applied \
plan of a system needs approval
        next: credit-pipeline plans acme""",
        id="quarantined",
    ),
    pytest.param(
        [quarantined(subject=f"acme-0000000{number}", rows=1, credits_=0) for number in range(7)],
        """\
        acme: 7 correction plans quarantined, nothing of it was written
        acme-00000006, 1 row, 0 credits
        acme-00000005, 1 row, 0 credits
        acme-00000004, 1 row, 0 credits
        acme-00000003, 1 row, 0 credits
        acme-00000002, 1 row, 0 credits
        and 2 more
        next: credit-pipeline plans acme""",
        id="many quarantined",
    ),
    pytest.param(
        [an_alert(AlertKind.WEBHOOK_DEAD, "17:8"), an_alert(AlertKind.WEBHOOK_DEAD, "18:8")],
        """\
        acme: 2 failed webhooks given up
        next: credit-pipeline webhooks acme list --state dead""",
        id="dead webhooks",
    ),
    pytest.param(
        [an_alert(AlertKind.RUN_FAILED, RUN, job=f"acme_{verb}") for verb in ("reconcile", "health", "reconcile")],
        """\
        acme: 3 runs failed
        acme_health 1
        acme_reconcile 2
        next: credit-pipeline ui, then Runs""",
        id="failed runs",
    ),
    pytest.param(
        [an_alert(AlertKind.NOT_COMPARED, hours=24)],
        """\
        acme: no complete comparison for more than 24 h
        nobody looks for what is wrong: see the last runs and whether the daemon runs
        next: credit-pipeline check acme""",
        id="silence",
    ),
]


@pytest.mark.parametrize(("alerts", "said"), TEXTS)
def test_the_texts(alerts: list[Alert], said: str) -> None:
    expected = "\n".join(line.strip() for line in said.splitlines())
    assert compose("acme", alerts[0].kind, alerts).text == expected


def test_every_kind_has_a_text() -> None:
    assert {parameter.values[0][0].kind for parameter in TEXTS} == set(AlertKind)  # type: ignore[index, union-attr]


ACCOUNTS = [
    "site-17",
    "acct_1PqR2sT3uV",
    "0e5f6a2b-4c1d-4f3e-8a9b-7c6d5e4f3a2b",
    "inst_2c",
    "40012345678",
    "cus_NffrFeUfNV2Hib",
]
HOSTILE = st.one_of(
    st.sampled_from(ACCOUNTS),
    st.emails(),
    st.builds("postgresql://{}:{}@db.internal:5432/app".format, st.just("eva"), st.text("abcxyz0189", min_size=6)),
    st.uuids().map(str),
)
WORDS = st.recursive(
    st.one_of(HOSTILE, st.integers(0, 10**6), st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(HOSTILE, inner, max_size=3)),
    max_leaves=6,
)
CONTENT = st.dictionaries(
    st.one_of(HOSTILE, st.sampled_from(["how", "codes", "severities", "lost", "hours", "rows", "credits", "job"])),
    WORDS,
    max_size=6,
)
SENTENCES = st.builds(
    lambda first, hostile, rest: f"{first} {hostile}{rest}",
    st.sampled_from([ROWS, FIRST, "for"]),
    HOSTILE,
    st.just(": x"),
) | st.builds("{} is not there: correct it".format, HOSTILE)


def strings(value: Any) -> list[str]:
    """Every text in it that is none of ours."""
    match value:
        case dict():
            return [text for pair in value.items() for one in pair for text in strings(one)]
        case list():
            return [text for one in value for text in strings(one)]
        case str():
            return [value]
    return []


@given(
    kind=st.sampled_from(AlertKind),
    subject=HOSTILE,
    content=CONTENT,
    failures=st.lists(SENTENCES, max_size=3),
    hostile=HOSTILE,
)
def test_no_message_carries_what_an_alert_carries_beside_counts(
    kind: AlertKind, subject: str, content: dict[str, Any], failures: list[str], hostile: str
) -> None:
    alert = an_alert(kind, subject, **content, failures=[*failures, f"at {hostile} 3/4 accounts"])
    said = compose("acme", kind, [alert]).text
    foreign = [
        text for text in (subject, hostile, *strings(content)) if text not in {"how", "codes", "severities", "lost"}
    ]
    ours = {"hours", "rows", "credits", "job"}
    assert not [text for text in foreign if text in said and text not in ours]
    assert "@" not in said
    assert "://" not in said


@given(
    population=st.integers(0, 10**6),
    unanswered=st.integers(0, 10**4),
    unknown=st.integers(0, 10**4),
    account=st.sampled_from(ACCOUNTS),
    first=st.booleans(),
)
def test_what_the_guards_really_say_is_told_up_to_the_remedy(
    population: int, unanswered: int, unknown: int, account: str, first: bool
) -> None:
    facts = PlanFacts(
        population=population, entitlements=10**6, largest_allowance=5000, unknown=unknown, asked=population,
        unanswered=unanswered, enumerated=False, store_rows=population, answered=0, last_answered=population,
        finished_at=AT - timedelta(days=2),
    )  # fmt: skip
    pin = BillingPin(pinned={"account": "acct_1", "host": "a.example"}, found={"account": account, "host": "b.example"})
    there = Circumstances(
        system="acme", now=AT, clock=AT + timedelta(minutes=20), first_plan=first, unattended=True, flapping=9,
        pin=pin,
    )  # fmt: skip
    rows = [an_upgrade(f"{account}-{number}") for number in range(12)]
    verdict = judge_plan("acme-0a1b2c3d", rows, facts, ceilings_of(Limits(), facts, lifted=False), Limits(), there)
    assert len(verdict.failures) > 4
    said = compose("acme", AlertKind.PLAN_QUARANTINED, [quarantined(*(f.sentence for f in verdict.failures))]).text
    assert account not in said
    assert "…" not in said, "every word of a real refusal is told"
    assert "limit" in said


class Deaf:
    def __init__(self, name: str, error: Exception | None) -> None:
        self.name, self.error = name, error

    def send(self, message: Message) -> None:
        if self.error is not None:
            raise self.error


def test_a_test_message_goes_through_every_sink_whatever_becomes_of_the_others() -> None:
    broken = Deaf("webhook", RuntimeError("secret"))
    sinks = [broken, Deaf("email", DeliveryFailed("it is away")), Deaf("log", None)]
    tried = try_sinks("acme", sinks)
    assert tried == {
        "webhook": "webhook: failed unexpectedly (RuntimeError): report it",
        "email": "it is away",
        "log": None,
    }
