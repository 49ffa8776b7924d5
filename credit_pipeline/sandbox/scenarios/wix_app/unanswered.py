"""Sites about which billing says something unknown, something final, or nothing. None moves credits by itself."""

from credit_pipeline.sandbox.scenarios.wix_app.author import Author
from credit_pipeline.sandbox.scenarios.wix_app.healthy import Kind
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Planted, Script, relabel


def unknown_to_billing(author: Author, kind: str) -> Script:
    """Wix names a plan that is in no catalogue."""
    renamed = Move(at=author.some_day(), billing={"package_name": author.random.choice(("Enterprise", "Pro ++ 2"))})
    planted = Planted(code="plan_unmapped", lane="review", note="billing's word for the plan is in no catalogue")
    return author.subscriber(kind, author.plan("pro"), moves=[renamed], planted=planted)


def unknown_to_store(author: Author, kind: str) -> Script:
    """The product calls the plan `beta`, which nobody sells any more."""
    renamed = Move(at=author.some_day(), product=relabel("beta"))
    planted = Planted(code="plan_unmapped", lane="review", note="the product's word for the plan is in no catalogue")
    return author.subscriber(kind, author.plan("pro"), moves=[renamed], planted=planted)


def ended_just_now(author: Author, kind: str) -> Script:
    """Billing says free since a few hours; the product still says paid. Seen once, acted on by nobody yet."""
    over = Move(at=author.lately(), billing={"is_free": True})
    planted = Planted(code="subscription_ended", lane="none", note="1 of 2: a second run a day later must agree")
    return author.subscriber(kind, author.paid_plan(), moves=[over], planted=planted)


def ended_days_ago(author: Author, kind: str) -> Script:
    """Billing has said free for more than a day; the label waits for a person, the credits are kept."""
    over = Move(at=author.ago(48, 240), billing={"is_free": True})
    planted = Planted(
        code="subscription_ended",
        lane="approve",
        note="2 of 2: the label goes to free if a person says so, the credits stay",
        approve=relabel("free"),
    )
    return author.subscriber(kind, author.paid_plan(), moves=[over], planted=planted)


def not_at_source(author: Author, kind: str) -> Script:
    """Wix answers 404: it knows no such instance."""
    forgot = Move(at=author.some_day(), billing={"not_found": True})
    planted = Planted(
        code="subscription_missing_at_source", lane="review", note="billing does not know it: nothing is written"
    )
    return author.subscriber(kind, author.paid_plan(), moves=[forgot], planted=planted)


def uninstalled(author: Author, kind: str) -> Script:
    """The app was removed: no token is given, with 400 or 403. An answer, but not about a plan."""
    removed = Move(at=author.some_day(), billing={"uninstalled": True})
    planted = Planted(code="source_gone", lane="none", note="the app was uninstalled from this site")
    return author.subscriber(kind, author.paid_plan(), moves=[removed], planted=planted)


def no_answer(author: Author, kind: str) -> Script:
    """Wix answers 500, every time. Unknown is not free."""
    broke = Move(at=author.some_day(), billing={"lookup_error": True})
    planted = Planted(code="source_lookup_error", lane="review", note="billing gives no answer: nothing is known")
    return author.subscriber(kind, author.paid_plan(), moves=[broke], planted=planted)


DOUBTS = (
    Kind(name="unknown_to_billing", share=0.0015, write=unknown_to_billing),
    Kind(name="unknown_to_store", share=0.001, write=unknown_to_store),
    Kind(name="no_answer", share=0.0015, write=no_answer),
    Kind(name="ended_just_now", share=0.002, write=ended_just_now),
    Kind(name="ended_days_ago", share=0.004, write=ended_days_ago),
    Kind(name="not_at_source", share=0.002, write=not_at_source),
    Kind(name="uninstalled", share=0.004, write=uninstalled),
)
