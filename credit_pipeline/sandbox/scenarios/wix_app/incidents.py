"""Sites with a wrong plan: purchases that the product missed, labels and credits that differ from billing.

Each story carries its right answer by semantics §5 and §6.
"""

from datetime import timedelta

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Change, Move, Planted, Script, State, fold, give, relabel
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import FREE, ScenarioBuilder, billed, paying


def fill(plan: Plan) -> Change:
    """The repair of a shortfall: total rises to the allowance, what was spent stays spent."""
    return lambda state: state._replace(total=plan.credits)


def upgrade_missed(builder: ScenarioBuilder, kind: str) -> Script:
    """The seed incident: paid, and the webhook never came. Free with total 100 while billing says Pro."""
    plan = builder.paid_plan(("starter", "pro", "pro", "pro_plus"))
    since = builder.some_day()
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="auto",
        note=f"{plan.name} was bought and the product never heard of it: what is left of 100, and {plan.credits:,}",
        auto=fold(plan),
    )
    if builder.random.random() < 0.3:
        # From before the watch began: only the floor proves it. Nothing was used, so no renewal was missed besides.
        instance = paying(plan, builder.ago(850, 1_300))
        return builder.script(kind, State("free", 100, 0), instance, planted=planted)
    bought = Move(at=since, billing=billed(plan, since))
    return builder.script(kind, State("free", 100, builder.some(0, 100)), FREE, [bought], planted=planted)


def upgrade_missed_unused(builder: ScenarioBuilder, kind: str) -> Script:
    """Starter, 1,000 unused, upgraded to Pro: 6,000."""
    starter, pro, at = builder.plan("starter"), builder.plan("pro"), builder.some_day()
    bought = Move(at=at, billing=billed(pro, at))
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="auto",
        note="starter upgraded to pro with 1,000 unused: 1,000 + 5,000 = 6,000",
        auto=fold(pro),
    )
    return builder.subscriber(kind, starter, total=1_000, used=0, moves=[bought], planted=planted)


def upgrade_missed_with_surplus(builder: ScenarioBuilder, kind: str) -> Script:
    """Starter with more than Pro's allowance carried over: only the history proves that Pro's credits never came."""
    starter, pro, at = builder.plan("starter"), builder.plan("pro"), builder.some_day()
    total = 5_000 + builder.some(1, 900)
    bought = Move(at=at, billing=billed(pro, at))
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="auto",
        note="the total is above pro's allowance, but it has not moved since billing changed to pro",
        auto=fold(pro),
    )
    return builder.subscriber(kind, starter, total=total, moves=[bought], planted=planted)


def label_only_upgraded(builder: ScenarioBuilder, kind: str) -> Script:
    """The product wrote the label `pro`, and not the credits; the total carried over is above the allowance."""
    starter, pro, at = builder.plan("starter"), builder.plan("pro"), builder.some_day()
    total = 5_000 + builder.some(1, 900)
    wrote = Move(at=at, product=relabel(pro.label), billing=billed(pro, at))
    planted = Planted(
        code="grant_missing",
        lane="auto",
        note="the product wrote the label without the credits: proven by history, whatever the floor says",
        auto=fold(pro),
    )
    return builder.subscriber(kind, starter, total=total, moves=[wrote], planted=planted)


def paid_at_100(builder: ScenarioBuilder, kind: str) -> Script:
    """The seed incident's other half: labelled Pro, and sitting at 100."""
    plan = builder.paid_plan(("starter", "pro", "pro", "pro"))
    planted = Planted(
        code="grant_missing",
        lane="auto",
        note=f"labelled {plan.name} with total 100: raise to {plan.credits:,}, what was spent stays spent",
        auto=fill(plan),
    )
    return builder.subscriber(kind, plan, total=100, used=builder.some(0, 100), planted=planted)


def unproven(builder: ScenarioBuilder, kind: str) -> Script:
    """Free, total 5,000, used 3,000, billed Pro: was Pro granted and the label lost, or were credits bought?"""
    pro = builder.plan("pro")
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="approve",
        note="nothing proves that pro's credits never came: the label now, the credits only if a person says so",
        auto=relabel(pro.label),
        approve=fold(pro),
    )
    state, at = State("free", 5_000, 3_000), builder.some_day()
    if builder.random.random() < 0.5:
        return builder.script(kind, state, paying(pro, at), installed=at, planted=planted)
    # Billing gave no answer for more than a day while the plan changed: nobody watched, so nothing is proven.
    silent = Move(at=at - timedelta(hours=50), billing={"lookup_error": True})
    bought = Move(at=at, billing=billed(pro, at - timedelta(hours=9)) | {"lookup_error": False})
    return builder.script(kind, state, FREE, [silent, bought], planted=planted)


def free_short(builder: ScenarioBuilder, kind: str) -> Script:
    """A free site with less than the free allowance: a person's case."""
    free, total = builder.plan("free"), builder.some(1, 90)
    planted = Planted(
        code="grant_missing",
        lane="approve",
        note="free below its 100: raised only if a person says so",
        approve=fill(free),
    )
    return builder.script(kind, State("free", total, builder.some(0, total)), FREE, planted=planted)


def paid_without_time(builder: ScenarioBuilder, kind: str) -> Script:
    """Labelled Pro at 100, and Wix sends no timeStamp: no period, no grant key, nothing to offer."""
    pro = builder.plan("pro")
    planted = Planted(
        code="grant_missing",
        lane="review",
        note="the grant is missing, but without a purchase time there is no key that would make it happen once",
    )
    return builder.script(kind, State("pro", 100, 0), paying(pro, builder.begin, time_stamp=None), planted=planted)


def label_lost(builder: ScenarioBuilder, kind: str) -> Script:
    """The credits are in order, only the label fell back to free: nothing is owed."""
    plan = builder.paid_plan()
    return _label_changed(builder, kind, plan, "free")


def label_cleared(builder: ScenarioBuilder, kind: str) -> Script:
    """The credits are in order, the label is NULL."""
    return _label_changed(builder, kind, builder.paid_plan(), None)


def _label_changed(builder: ScenarioBuilder, kind: str, plan: Plan, label: str | None) -> Script:
    lost = Move(at=builder.some_day(), product=relabel(label))
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="the period's credits were granted and adopted: the label is repaired, nothing is owed",
        auto=relabel(plan.label),
    )
    return builder.subscriber(kind, plan, moves=[lost], planted=planted)


def downgrade_missed(builder: ScenarioBuilder, kind: str) -> Script:
    """Went from Pro to Starter, and the product still says Pro: label only, credits kept."""
    starter, at = builder.plan("starter"), builder.some_day()
    went = Move(at=at, billing=billed(starter, at))
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="a downgrade between paid plans changes the label and no credits",
        auto=relabel(starter.label),
    )
    return builder.subscriber(kind, builder.plan("pro"), moves=[went], planted=planted)


def reset_then_upgrade_missed(builder: ScenarioBuilder, kind: str) -> Script:
    """Two faults: the repair job took 200, then an upgrade was missed. The proven part is applied, the rest waits."""
    starter, pro, at = builder.plan("starter"), builder.plan("pro"), builder.lately()
    used = builder.some(0, 900)
    moves = [Move(at=builder.ago(30, 240), product=give(-200)), Move(at=at, billing=billed(pro, at))]
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing", "unexplained_decrease"),
        lane="approve",
        note="pro is granted by itself; the 200 that vanished before are given back if a person says so",
        auto=fold(pro),
        approve=give(200),
    )
    return builder.subscriber(kind, starter, total=1_200, used=used, moves=moves, planted=planted)


PLAN_INCIDENTS = (
    Story(name="upgrade_missed", share=0.012, write=upgrade_missed),
    Story(name="upgrade_missed_unused", share=0.004, write=upgrade_missed_unused),
    Story(name="upgrade_missed_with_surplus", share=0.002, write=upgrade_missed_with_surplus),
    Story(name="label_only_upgraded", share=0.002, write=label_only_upgraded),
    Story(name="paid_at_100", share=0.008, write=paid_at_100),
    Story(name="unproven", share=0.003, write=unproven),
    Story(name="free_short", share=0.002, write=free_short),
    Story(name="paid_without_time", share=0.0005, write=paid_without_time),
    Story(name="label_lost", share=0.005, write=label_lost),
    Story(name="label_cleared", share=0.001, write=label_cleared),
    Story(name="downgrade_missed", share=0.003, write=downgrade_missed),
    Story(name="reset_then_upgrade_missed", share=0.001, write=reset_then_upgrade_missed),
)
