"""The section `webhooks` of a file: the product's own table, its words, and the mistakes one may make in it."""

from pathlib import Path

import pytest

from credit_pipeline.config.loader import load_file
from credit_pipeline.config.webhooks import WebhookStatuses, WebhookTable
from credit_pipeline_tests.config.test_loader import ACME, a_system, refusal


def with_webhooks(section: str) -> str:
    lines = "".join(f"    {line}\n" for line in section.splitlines())
    return ACME.replace("  policy:\n", f"  webhooks:\n{lines}  policy:\n")


def test_without_the_section_there_is_no_such_table(tmp_path: Path) -> None:
    assert load_file(a_system(tmp_path)).webhooks is None


def test_every_key_has_its_place(tmp_path: Path) -> None:
    section = (
        "table: hooks\nid: hook\nstatus: state\nreceived: came\ntype: kind\naccount: site\nbody: json\n"
        "attempts: tries\nerror: why\nstatuses:\n  failed: [failed, stuck]\n  repaired: done\n  dead: lost"
    )
    assert load_file(a_system(tmp_path, with_webhooks(section))).webhooks == WebhookTable(
        table="hooks", id="hook", status="state", received="came", type="kind", account="site", body="json",
        attempts="tries", error="why",
        statuses=WebhookStatuses(failed=("failed", "stuck"), repaired="done", dead="lost"),
    )  # fmt: skip


def test_a_table_is_only_read_unless_words_for_the_ends_are_given(tmp_path: Path) -> None:
    own = load_file(a_system(tmp_path, with_webhooks("table: hooks\nbody: payload"))).webhooks
    assert own is not None
    assert (own.statuses.failed, own.written_back) == (("failed",), False)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("table: hooks", "nothing says whose a webhook is"),
        (
            "table: hooks\nbody: b\nstatuses:\n  failed: [lost]\n  dead: lost",
            "a word of `failed` stands for an end too",
        ),
        ("table: hooks\nbody: b\nstatuses:\n  failed: []", "must hold at least 1"),
        ("table: hooks; drop\nbody: b", "a table or column name is letters"),
        ("body: b", "`webhooks` has no `table`"),
        ("table: hooks\nbody: b\nacount: c", "did you mean `account`?"),
    ],
)
def test_mistakes_are_shown_with_their_line(tmp_path: Path, section: str, said: str) -> None:
    told = refusal(a_system(tmp_path, with_webhooks(section)))
    assert said in told
    assert "line " in told
