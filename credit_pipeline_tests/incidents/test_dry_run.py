"""Looking changes nothing: not the product's rows, and not what is found and repaired later."""

from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, outcomes
from credit_pipeline_tests.incidents.world import World


def test_pro_at_100_is_still_repaired_after_days_of_checks_and_dry_runs(world: World) -> None:
    """The first dry run must not adopt the state it found as what the product granted."""
    short = world.site("short", "pro", 100, 40)
    world.site("carried over", "starter", 1_200)
    before = world.app.versions()
    for _ in range(4):
        assert [m.code for m in world.check().mismatches] == ["grant_missing"]
        world.later(hours=5)
        assert outcomes(world.plan()) == [("auto", None)]
        world.later(hours=5)
    assert world.app.versions() == before
    assert world.repair().state == "applied"
    assert world.app.row(short) == Row("pro", 5_000, 40)
    assert granted(world.url, short) == [("pro", 4_900)]


def test_the_commands_write_nothing_to_the_product_without_live(run: Run, live_world: World) -> None:
    short = live_world.site("short", "pro", 100, 40)
    before = live_world.app.versions()
    statuses = [run("check", "wix_app").status, run("fix", "wix_app").status]
    saved = run("fix", "wix_app", "--save", "--format", "json")
    plan = saved.json["plan_id"]
    statuses += [saved.status, run("apply", plan).status, run("check", "wix_app", "--all").status]
    assert statuses == [1, 1, 1, 1, 1]
    assert run("approve", plan, "--as", "eva", "--reason", "I looked").status == 0
    assert live_world.app.versions() == before

    assert run("apply", plan, "--live").status == 0
    assert live_world.app.row(short) == Row("pro", 5_000, 40)
    assert live_world.app.versions() != before
    assert_audited(live_world.url, changes=1)
