"""Sites with wrong credits and no purchase: resets, lost rows, gifts, missed renewals, broken numbers.

Each story carries its right answer by semantics §5 to §7.
"""

from datetime import timedelta

from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import (
    Change,
    Move,
    Planted,
    Script,
    State,
    give,
    relabel,
    renew,
    spend,
)
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import FREE, ScenarioBuilder


def reset_to_allowance(builder: ScenarioBuilder, kind: str) -> Script:
    """The well-meant repair job, SET credits_total = monthly_credits: 200 + 1,000 = 1,200 became 1,000."""
    plan = builder.paid_plan()
    surplus = builder.random.choice((200, builder.some(10, 900)))
    used = builder.some(0, plan.credits)
    reset = Move(at=builder.some_day(), product=give(-surplus))
    planted = Planted(
        code="unexplained_decrease",
        lane="approve",
        note=f"a job set the total to the allowance and destroyed {surplus:,} carried-over credits",
        approve=give(surplus),
    )
    return builder.subscriber(kind, plan, total=plan.credits + surplus, used=used, moves=[reset], planted=planted)


def credits_taken(builder: ScenarioBuilder, kind: str) -> Script:
    """Credits vanished, of a site that never paid for a plan."""
    taken = builder.some(50, 200)
    lost = Move(at=builder.some_day(), product=give(-taken))
    planted = Planted(
        code="unexplained_decrease",
        lane="approve",
        note=f"{taken} of the 600 credits it had vanished without being spent",
        approve=give(taken),
    )
    return builder.script(kind, State("free", 600, builder.some(0, 300)), FREE, [lost], planted=planted)


def row_made_anew(builder: ScenarioBuilder, kind: str) -> Script:
    """The row was deleted and made anew at 100, after the period's credits had been granted and adopted."""
    plan = builder.paid_plan(("starter", "pro"))
    return _made_anew(builder, kind, State(plan.label, 100, 0), plan.name, "grant_lost", ("unexplained_decrease",))


def row_made_anew_as_free(builder: ScenarioBuilder, kind: str) -> Script:
    """The same, and the label was lost with it."""
    return _made_anew(
        builder, kind, State("free", 100, 0), "pro", "plan_mismatch", ("grant_lost", "unexplained_decrease")
    )


def _made_anew(
    builder: ScenarioBuilder, kind: str, fresh: State, plan_name: str, code: str, secondary: tuple[str, ...]
) -> Script:
    plan = builder.plan(plan_name)
    total, used = plan.credits + builder.random.choice((0, 300)), builder.some(0, plan.credits // 2)
    gone = (total - used) - fresh.available
    owed = max(gone, plan.credits - 100)
    anew = Move(at=builder.some_day(), product=lambda _: fresh)
    planted = Planted(
        code=code,
        secondary=secondary,
        lane="approve",
        note=f"the {plan.name} credits were there and are gone: {owed:,} are given back if a person says so",
        auto=relabel(plan.label) if fresh.label != plan.label else None,
        approve=give(owed),
    )
    return builder.subscriber(kind, plan, total=total, used=used, moves=[anew], planted=planted)


def gift(builder: ScenarioBuilder, kind: str) -> Script:
    """Credits appeared that nobody billed: information, nothing to mend."""
    plan = builder.plan("starter")
    given = Move(at=builder.lately(), product=give(builder.random.choice((50, 300, 2_500))))
    planted = Planted(
        code="unexplained_increase", lane="none", note="credits appeared without a billed reason: a gift, perhaps"
    )
    return builder.subscriber(kind, plan, moves=[given], planted=planted)


def granted_twice(builder: ScenarioBuilder, kind: str) -> Script:
    """The same period's credits came a second time."""
    plan = builder.paid_plan(("starter", "pro"))
    again = Move(at=builder.some_day(), product=give(plan.credits))
    planted = Planted(
        code="grant_duplicate",
        lane="approve",
        note=f"{plan.credits:,} were granted twice: the second is taken back if a person says so",
        approve=give(-plan.credits),
    )
    return builder.subscriber(kind, plan, moves=[again], planted=planted)


JUDGED_NOW = (26.2, 31.8)
"""Hours since a renewal whose grace ended after the newest observation."""


def renewal_missed(builder: ScenarioBuilder, kind: str) -> Script:
    """A period began and `used` was not zeroed."""
    plan = builder.paid_plan()
    if builder.random.random() < 0.5:
        return _not_renewed(builder, kind, plan.name, hours=builder.random.uniform(*JUDGED_NOW))
    return _not_renewed(builder, kind, plan.name, hours=builder.random.uniform(33, 600))


def renewal_missed_lately(builder: ScenarioBuilder, kind: str) -> Script:
    """The same, and its time was over since the newest observation; there is always one of these."""
    return _not_renewed(builder, kind, builder.paid_plan().name, hours=builder.random.uniform(*JUDGED_NOW))


def _not_renewed(builder: ScenarioBuilder, kind: str, plan_name: str, *, hours: float) -> Script:
    plan, due = builder.plan(plan_name), builder.ago(hours, hours)
    planted = Planted(
        code="renewal_missing",
        lane="approve",
        note="what was used before the renewal is still counted: zeroed if a person says so",
        approve=renew,
    )
    whole = builder.subscriber(kind, plan, used=0, renewed=due)
    # It spends after any earlier renewal, so that there is something worth zeroing.
    spent: Change = spend(builder.some(plan.credits // 8, plan.credits // 2))
    before = Move(at=due - timedelta(days=3), product=spent)
    moves = [before, *(move for move in whole.moves if move.at != due)]
    start = State(plan.label, plan.credits, builder.some(0, plan.credits // 3))
    return builder.script(kind, start, whole.instance, moves, planted=planted)


def overdrawn(builder: ScenarioBuilder, kind: str) -> Script:
    """A deduction went through without credits: more was used than granted."""
    plan = builder.paid_plan()
    left = builder.some(1, 40)
    over = Move(at=builder.some_day(), product=spend(left + builder.some(1, 60)))
    planted = Planted(code="balance_negative", lane="review", note="used is above total: a person must look")
    return builder.subscriber(kind, plan, used=0, moves=[_down_to(builder, left), over], planted=planted)


def _down_to(builder: ScenarioBuilder, left: int) -> Move:
    return Move(at=builder.ago(250, 350), product=lambda state: state._replace(used=(state.total or 0) - left))


def numbers_missing(builder: ScenarioBuilder, kind: str) -> Script:
    """The total became NULL: unknown is not zero."""
    lost = Move(at=builder.some_day(), product=lambda state: state._replace(total=None))
    planted = Planted(code="balance_missing", lane="review", note="no total: an unknown balance is never corrected")
    return builder.subscriber(kind, builder.paid_plan(), moves=[lost], planted=planted)


ACCIDENTS = (
    Story(name="reset_to_allowance", share=0.005, write=reset_to_allowance),
    Story(name="credits_taken", share=0.001, write=credits_taken),
    Story(name="row_made_anew", share=0.002, write=row_made_anew),
    Story(name="row_made_anew_as_free", share=0.001, write=row_made_anew_as_free),
    Story(name="gift", share=0.002, write=gift),
    Story(name="granted_twice", share=0.002, write=granted_twice),
    Story(name="renewal_missed", share=0.002, write=renewal_missed),
    Story(name="renewal_missed_lately", share=0.001, write=renewal_missed_lately),
    Story(name="overdrawn", share=0.001, write=overdrawn),
    Story(name="numbers_missing", share=0.001, write=numbers_missing),
)
