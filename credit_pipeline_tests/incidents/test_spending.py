"""Users spend while a live run goes on: nothing is lost and nothing is given twice, to the credit."""

from datetime import timedelta

import psycopg

from credit_pipeline_tests.incidents.app import Spenders
from credit_pipeline_tests.incidents.conftest import Ended, Run
from credit_pipeline_tests.incidents.evidence import granted
from credit_pipeline_tests.incidents.gate import until
from credit_pipeline_tests.incidents.world import World

# Spending noted by the product's own trigger between our first change and our last.
_BETWEEN = """
SELECT count(*) FROM instance_changes WHERE changed_by = 'wix_app' AND id BETWEEN
    (SELECT min(id) FROM instance_changes WHERE changed_by LIKE 'credit_pipeline%')
    AND (SELECT max(id) FROM instance_changes WHERE changed_by LIKE 'credit_pipeline%')
"""


def live(run: Run) -> Ended:
    """`fix --live` by a person who approves the limits."""
    ended = run("fix", "wix_app", "--live", "--format", "json")
    plan = ended.json["plan_id"]
    if ended.json["state"] == "quarantined":
        assert run("approve", plan, "--as", "eva", "--reason", "I looked").status == 0
        ended = run("apply", plan, "--live", "--format", "json")
    return ended


def test_initial_plus_granted_less_spent_is_what_is_left(run: Run, live_world: World) -> None:
    hour_ago = live_world.now - timedelta(hours=1)
    missed = [live_world.site(f"missed {n}", "starter", 1_000, n, billed="pro", since=hour_ago) for n in range(60)]
    others = [live_world.site(f"in order {n}", "starter", 1_200, n) for n in range(20)]
    before = live_world.app.rows()
    with Spenders(live_world.url, [*missed, *others], users=2) as users:
        until(lambda: users.spent.total() > 50)
        ended = live(run)
        assert set(ended.json["outcomes"]) <= {"changed", "busy"}
        for _ in range(5):  # a row that a user held is busy, and the next run has it
            if not ended.json["outcomes"].get("busy"):
                break
            ended = live(run)
        reached = users.spent.total()
        until(lambda: users.spent.total() > reached + 50)
    for account, row in live_world.app.rows().items():
        given = 5_000 if account in missed else 0
        assert row.available == before[account].available + given - users.spent[account]
        assert granted(live_world.url, account) == ([("pro", 5_000)] if given else [])
        assert row.label == ("pro" if given else "starter")
    with psycopg.connect(live_world.url) as connection:
        overlapping = connection.execute(_BETWEEN).fetchone()
    assert overlapping is not None
    assert overlapping[0] > 10
    assert run("check", "wix_app").status == 0
