"""A plan's amount changes: who was sold the old one looks neither robbed nor paid too much; nothing moves unasked."""

from dataclasses import replace
from datetime import timedelta

import psycopg

from credit_pipeline.adapters.install.install import Wanted, install
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted
from credit_pipeline_tests.incidents.world import World


def sold_as(world: World, credits: int) -> None:
    """From now on defs.yaml says that Pro gives so many."""
    plans = world.system.catalogue.plans
    dearer = tuple(replace(plan, credits=credits) if plan.name == "pro" else plan for plan in plans)
    world.system = replace(world.system, catalogue=replace(world.system.catalogue, plans=dearer))
    world.restart()


def accepted(world: World) -> None:
    """`init --accept-catalogue`, as of the world's clock."""
    install(world.url, world.system, None, Wanted(accept_catalogue=Decided(who="eva", reason="a better offer")))
    with psycopg.connect(world.url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")  # the act is append-only, and its clock real
        connection.execute("UPDATE credit_pipeline.act SET at = %s WHERE what = 'accept_catalogue'", (world.now,))


def missed(world: World, name: str) -> str:
    """A site that bought Pro a moment ago, unheard."""
    return world.site(name, "starter", 1_000, 100, billed="pro", since=world.now - timedelta(hours=3))


def test_until_somebody_accepts_it_everybody_is_judged_by_the_old_amount_and_grants_are_halted(world: World) -> None:
    world.site("in order", "pro", 5_000, 100)
    world.site("first", "free", 100, billed="pro")
    world.repair()
    world.later()
    sold_as(world, 6_000)
    waiting = missed(world, "waiting")
    plan = world.fix()
    assert world.report is not None
    assert world.report.classes == {"plan_mismatch": 1}
    assert world.report.notices[0] == (
        "wix_app: pro gives 6,000 credits in defs.yaml, 5,000 is pinned, so it is judged by that and its grants are "
        "halted until credit-pipeline init wix_app --accept-catalogue --as YOU --reason WHY"
    )
    assert [(row.outcome, row.failures) for row in plan.rows] == [
        (
            "blocked_by_guard",
            ("pro gives 6000 credits in defs.yaml, 5000 when pinned at init: its grants are halted",),
        )
    ]
    assert world.app.row(waiting) == Row("starter", 1_000, 100)


def test_a_raised_amount_is_for_periods_that_start_after_it(world: World) -> None:
    in_order = world.site("in order", "pro", 5_000, 100)
    world.site("first", "free", 100, billed="pro")
    world.repair()
    world.later()
    old = missed(world, "of the old price")
    sold_as(world, 6_000)
    accepted(world)
    world.later(hours=24)
    new = missed(world, "of the new price")
    world.repair()
    assert world.app.row(old) == Row("pro", 5_900, 0), "900 and the 5,000 that it was sold with"
    assert world.app.row(new) == Row("pro", 6_900, 0), "900 and 6,000"
    assert granted(world.url, old) == [("pro", 5_000)]
    assert granted(world.url, new) == [("pro", 6_000)]
    assert world.app.row(in_order) == Row("pro", 5_000, 100)
    assert world.check().classes == {}
    assert_audited(world.url, changes=3)


def test_a_lowered_amount_takes_nothing_and_an_old_period_keeps_its_own(world: World) -> None:
    world.site("in order", "pro", 5_000, 100)
    world.site("first", "free", 100, billed="pro")
    world.repair()
    world.later()
    short = world.site("short", "pro", 4_500, 0)
    sold_as(world, 4_000)
    accepted(world)
    world.later()
    plan = world.repair()
    assert [(row.correction.account_id, row.correction.delta) for row in plan.rows] == [(short, 500)]
    assert world.app.row(short) == Row("pro", 5_000, 0)
    assert world.check().classes == {}


def test_who_renews_after_a_raise_has_lost_nothing_and_is_given_nothing(world: World) -> None:
    bought = world.now - timedelta(days=25)
    regular = world.site("regular", "pro", 5_000, 0, since=bought)
    world.site("first", "free", 100, billed="pro")
    world.repair()
    world.later()
    sold_as(world, 6_000)
    accepted(world)
    world.later(hours=24 * 5)
    stranger = world.site("seen now for the first time", "pro", 5_000, 0, since=bought)
    short = world.site("short", "pro", 4_500, 0, since=bought)
    plan = world.repair()
    assert [(row.correction.account_id, row.correction.delta) for row in plan.rows] == [(short, 500)]
    assert {world.app.row(name) for name in (regular, stranger, short)} == {Row("pro", 5_000, 0)}
    for _ in range(4):
        world.later(hours=24)
        assert world.check().classes == {}
    assert world.gateways.memory.remembered([regular], world.now)[regular].states[-1].mark is not None


def test_a_plan_that_is_not_pinned_yet_gets_no_grants_and_the_report_says_why(world: World) -> None:
    world.site("first", "free", 100, billed="pro")
    world.repair()
    world.later()
    plans = world.system.catalogue.plans
    team = Plan(name="team", credits=20_000, rank=9, label="pro_plus_team", aliases=("Team",))
    world.system = replace(world.system, catalogue=Catalogue(plans=(*plans, team)))
    world.restart()
    bought = world.site("of the new plan", "starter", 1_000, billed="Team", since=world.now - timedelta(hours=3))
    plan = world.fix()
    assert world.report is not None
    assert world.report.notices == (
        "wix_app: team is new in defs.yaml and not pinned: its grants are halted until credit-pipeline init wix_app",
    )
    assert [(row.outcome, row.failures) for row in plan.rows] == [
        (
            "blocked_by_guard",
            ("team is new in defs.yaml and not pinned: its grants are halted until init wix_app is run",),
        )
    ]
    assert world.app.row(bought) == Row("starter", 1_000, 0)
