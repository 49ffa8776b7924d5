"""Sites for which billing gives an unknown plan, an end, or no answer. None of them moves credits automatically."""

from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Planted, Script, relabel
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import ScenarioBuilder


def unknown_to_billing(builder: ScenarioBuilder, kind: str) -> Script:
    """Wix names a plan that is in no catalogue."""
    renamed = Move(at=builder.some_day(), billing={"package_name": builder.random.choice(("Enterprise", "Pro ++ 2"))})
    planted = Planted(code="plan_unmapped", lane="review", note="billing's word for the plan is in no catalogue")
    return builder.subscriber(kind, builder.plan("pro"), moves=[renamed], planted=planted)


def unknown_to_store(builder: ScenarioBuilder, kind: str) -> Script:
    """The product calls the plan `beta`, which nobody sells any more."""
    renamed = Move(at=builder.some_day(), product=relabel("beta"))
    planted = Planted(code="plan_unmapped", lane="review", note="the product's word for the plan is in no catalogue")
    return builder.subscriber(kind, builder.plan("pro"), moves=[renamed], planted=planted)


def ended_just_now(builder: ScenarioBuilder, kind: str) -> Script:
    """Billing says free since a few hours; the product still says paid. Seen once, acted on by nobody yet."""
    over = Move(at=builder.lately(), billing={"is_free": True})
    planted = Planted(code="subscription_ended", lane="none", note="1 of 2: a second run a day later must agree")
    return builder.subscriber(kind, builder.paid_plan(), moves=[over], planted=planted)


def ended_days_ago(builder: ScenarioBuilder, kind: str) -> Script:
    """Billing has said free for more than a day; the label waits for a person, the credits are kept."""
    over = Move(at=builder.ago(48, 240), billing={"is_free": True})
    planted = Planted(
        code="subscription_ended",
        lane="approve",
        note="2 of 2: the label goes to free if a person says so, the credits stay",
        approve=relabel("free"),
    )
    return builder.subscriber(kind, builder.paid_plan(), moves=[over], planted=planted)


def not_at_source(builder: ScenarioBuilder, kind: str) -> Script:
    """Wix answers 404: it knows no such instance."""
    forgot = Move(at=builder.some_day(), billing={"not_found": True})
    planted = Planted(
        code="subscription_missing_at_source", lane="review", note="billing does not know it: nothing is written"
    )
    return builder.subscriber(kind, builder.paid_plan(), moves=[forgot], planted=planted)


def uninstalled(builder: ScenarioBuilder, kind: str) -> Script:
    """The app was removed: no token is given, with 400 or 403. An answer, but not about a plan."""
    removed = Move(at=builder.some_day(), billing={"uninstalled": True})
    planted = Planted(code="source_gone", lane="none", note="the app was uninstalled from this site")
    return builder.subscriber(kind, builder.paid_plan(), moves=[removed], planted=planted)


def no_answer(builder: ScenarioBuilder, kind: str) -> Script:
    """Wix answers 500, every time. Unknown is not free."""
    broke = Move(at=builder.some_day(), billing={"lookup_error": True})
    planted = Planted(code="source_lookup_error", lane="review", note="billing gives no answer: nothing is known")
    return builder.subscriber(kind, builder.paid_plan(), moves=[broke], planted=planted)


UNANSWERED = (
    Story(name="unknown_to_billing", share=0.0015, write=unknown_to_billing),
    Story(name="unknown_to_store", share=0.001, write=unknown_to_store),
    Story(name="no_answer", share=0.0015, write=no_answer),
    Story(name="ended_just_now", share=0.002, write=ended_just_now),
    Story(name="ended_days_ago", share=0.004, write=ended_days_ago),
    Story(name="not_at_source", share=0.002, write=not_at_source),
    Story(name="uninstalled", share=0.004, write=uninstalled),
)
