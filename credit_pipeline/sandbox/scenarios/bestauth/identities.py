"""Users, accounts and customers that do not match: missing links, conflicts, accounts without a user.

Each story carries its right answer by semantics §4: only the mapping and the metadata are evidence, and a link is
written only if nothing contradicts them.
"""

from datetime import timedelta

from credit_pipeline.sandbox.scenarios.bestauth.contract import FLOOR, MISSED, Contract
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import BONUS, Link, User, adds, puts, shifts
from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Change, Planted, State, give, relabel

NEVER_HEARD = ("plan_mismatch", "status_mismatch", "grant_missing")
"""The codes of a first purchase that the product never heard of."""


def same(state: State) -> State:
    """A correction that changes neither label nor points: a link, a status."""
    return state


def then(*changes: Change) -> Change:
    """One after the other."""

    def all_of_them(state: State) -> State:
        for change in changes:
            state = change(state)
        return state

    return all_of_them


def metadata_only(user: UserScenario) -> Script:
    """Nobody wrote the mapping; the app grants by the subscription's metadata."""
    plan = paid_plan(user)
    subscriber(user, plan, mapped=False).live()
    planted = Planted(
        code="id_unmapped",
        lane="auto",
        note="the metadata names an account that nobody else claims: the mapping's row is written",
        auto=same,
        steps=("LinkIdentity",),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def metadata_only_free(user: UserScenario) -> Script:
    """The same for a user who pays nothing."""
    user.names(user.sign_up(mapped=False) + timedelta(minutes=1))
    planted = Planted(
        code="id_unmapped",
        lane="auto",
        note="free, and unmapped: the metadata names the account",
        auto=same,
        steps=("LinkIdentity",),
    )
    return user.script(planted)


def metadata_only_never_granted(user: UserScenario) -> Script:
    """The mapping failed, so the first grant failed too: paid, and without its points."""
    at, plan = user.builder.some_day(), paid_plan(user)
    user.sign_up(mapped=False)
    Contract(user, plan, at, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        secondary=NEVER_HEARD,
        lane="auto",
        note=f"the missing link, the label and {plan.name}'s {plan.credits:,} points in one correction",
        auto=then(relabel(plan.label), give(plan.credits)),
        steps=("LinkIdentity", "SetPlan", "SetSubscription", "GrantCredits"),
    )
    return user.script(planted)


def same_id_only(user: UserScenario) -> Script:
    """Pays, has 0 points, and only the same id in both worlds says whose the account is: a guess, never granted to."""
    user.account = user.auth_id
    opened = user.sign_up(mapped=False, welcome=False) + timedelta(seconds=3)
    user.do(opened, shifts(user.account, 0))
    Contract(user, paid_plan(user), user.builder.some_day(), metadata={}, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        secondary=NEVER_HEARD,
        lane="review",
        note="layer 3 alone: a person must say whose account it is before anything is written",
    )
    return user.script(planted)


def same_id_only_free(user: UserScenario) -> Script:
    """The same for a user who pays nothing."""
    user.account = user.auth_id
    user.sign_up(mapped=False)
    planted = Planted(code="id_unmapped", lane="review", note="free, and only the same id says whose account it is")
    return user.script(planted)


def nobody(user: UserScenario) -> Script:
    """Stripe names a user we do not know. A user of the same e-mail exists: a suggestion, not a link."""
    user.register()
    Contract(user, paid_plan(user), user.builder.some_day(), names=user.builder.id(), local=False, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        lane="review",
        note="the subscription belongs to no user we know; the e-mail address is a suggestion for a person",
    )
    return user.script(planted, subject=f"customer:{user.customer}")


def account_unknown(user: UserScenario) -> Script:
    """The metadata names an account that the store does not have."""
    user.register()
    Contract(user, paid_plan(user), user.builder.some_day(), first=MISSED)
    planted = Planted(code="id_unmapped", lane="review", note="the account that the metadata names does not exist")
    return user.script(planted, subject=f"user:{user.auth_id}")


def conflict(user: UserScenario) -> Script:
    """Mapping and metadata name different accounts: nothing is written until they agree."""
    other, plan = user.builder.id(), paid_plan(user)
    contract = subscriber(user, plan, metadata={"resolved_supabase_user_id": other}).live()
    if user.random.random() < 0.5:
        user.do(contract.start, adds(other, 100, BONUS, text="welcome"))
    planted = Planted(code="id_conflict", lane="review", note="mapping and metadata name different accounts")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def shared(user: UserScenario) -> Script:
    """Two users are mapped to one account."""
    at = user.sign_up()
    second, later = user.builder.id(), at + timedelta(hours=30)
    user.do(later, puts(User(second, f"user-{second[:13]}@example.com", later)))
    user.do(later, puts(Link(second, user.account, later)))
    return user.script(Planted(code="id_shared", lane="review", note="two users are mapped to this account"))


def metadata_missing(user: UserScenario) -> Script:
    """Mapped, and the local subscription row's metadata does not name the account."""
    plan = paid_plan(user)
    unnamed = user.random.choice(({}, {"plan": "web"}, {"supabase_user_id": "undefined"}))
    subscriber(user, plan, metadata=unnamed).live()
    planted = Planted(
        code="id_metadata_missing",
        lane="auto",
        note="the mapping's account is written into the metadata",
        auto=same,
        steps=("SetResolvedId",),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def orphan(user: UserScenario) -> Script:
    """An account with points that no user claims."""
    at = user.builder.ago(40 * 24, 300 * 24)
    user.do(at, adds(user.account, user.builder.some(1, 900), BONUS, text="welcome"))
    return user.script(Planted(code="orphan_balance", lane="review", note="points that belong to no user"))


IDENTITY_INCIDENTS = (
    Story(name="metadata_only", share=0.01, write=metadata_only),
    Story(name="metadata_only_free", share=0.004, write=metadata_only_free),
    Story(name="metadata_only_never_granted", share=0.006, write=metadata_only_never_granted),
    Story(name="same_id_only", share=0.002, write=same_id_only),
    Story(name="same_id_only_free", share=0.001, write=same_id_only_free),
    Story(name="nobody", share=0.002, write=nobody),
    Story(name="account_unknown", share=0.001, write=account_unknown),
    Story(name="conflict", share=0.0015, write=conflict),
    Story(name="shared", share=0.001, write=shared),
    Story(name="metadata_missing", share=0.004, write=metadata_missing),
    Story(name="orphan", share=0.003, write=orphan),
)
