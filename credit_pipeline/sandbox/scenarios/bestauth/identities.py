"""Users, accounts and customers that do not find each other: missing links, conflicts, accounts of nobody.

Each story carries its right answer by semantics §4: only the mapping and the metadata are evidence, and only where
nothing contradicts them is a link written.
"""

from datetime import timedelta

from credit_pipeline.sandbox.scenarios.bestauth.contract import FLOOR, MISSED, Contract
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import Story, Tale
from credit_pipeline.sandbox.scenarios.bestauth.tables import BONUS, Link, User, adds, puts, shifts
from credit_pipeline.sandbox.scenarios.wix_app.life import Change, Planted, State, give, relabel

NEVER_HEARD = ("plan_mismatch", "status_mismatch", "grant_missing")
"""What a first purchase lacks of which the product never heard."""


def same(state: State) -> State:
    """A correction that moves neither label nor points: a link, a status."""
    return state


def then(*changes: Change) -> Change:
    """One after the other."""

    def all_of_them(state: State) -> State:
        for change in changes:
            state = change(state)
        return state

    return all_of_them


def metadata_only(tale: Tale) -> Script:
    """Nobody wrote the mapping; the app grants by the subscription's metadata."""
    plan = paid_plan(tale)
    subscriber(tale, plan, mapped=False).live()
    planted = Planted(
        code="id_unmapped",
        lane="auto",
        note="the metadata names an account that nobody else claims: the mapping's row is written",
        auto=same,
        steps=("LinkIdentity",),
    )
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def metadata_only_free(tale: Tale) -> Script:
    """The same for a user who pays nothing."""
    tale.names(tale.sign_up(mapped=False) + timedelta(minutes=1))
    planted = Planted(
        code="id_unmapped",
        lane="auto",
        note="free, and unmapped: the metadata names the account",
        auto=same,
        steps=("LinkIdentity",),
    )
    return tale.told(planted)


def metadata_only_never_granted(tale: Tale) -> Script:
    """The mapping failed, so the first grant failed too: paid, and without its points."""
    at, plan = tale.teller.some_day(), paid_plan(tale)
    tale.sign_up(mapped=False)
    Contract(tale, plan, at, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        secondary=NEVER_HEARD,
        lane="auto",
        note=f"the missing link, the label and {plan.name}'s {plan.credits:,} points in one correction",
        auto=then(relabel(plan.label), give(plan.credits)),
        steps=("LinkIdentity", "SetPlan", "SetSubscription", "GrantCredits"),
    )
    return tale.told(planted)


def same_id_only(tale: Tale) -> Script:
    """Pays, has 0 points, and only the same id in both worlds says whose the account is: a guess, never granted to."""
    tale.account = tale.user
    opened = tale.sign_up(mapped=False, welcome=False) + timedelta(seconds=3)
    tale.do(opened, shifts(tale.account, 0))
    Contract(tale, paid_plan(tale), tale.teller.some_day(), metadata={}, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        secondary=NEVER_HEARD,
        lane="review",
        note="layer 3 alone: a person must say whose account it is before anything is written",
    )
    return tale.told(planted)


def same_id_only_free(tale: Tale) -> Script:
    """The same for a user who pays nothing."""
    tale.account = tale.user
    tale.sign_up(mapped=False)
    planted = Planted(code="id_unmapped", lane="review", note="free, and only the same id says whose account it is")
    return tale.told(planted)


def nobody(tale: Tale) -> Script:
    """Stripe names a user we do not know. A user of the same e-mail exists: a suggestion, not a link."""
    tale.register()
    Contract(tale, paid_plan(tale), tale.teller.some_day(), names=tale.teller.id(), local=False, first=MISSED)
    planted = Planted(
        code="id_unmapped",
        lane="review",
        note="the subscription belongs to no user we know; the e-mail address is a suggestion for a person",
    )
    return tale.told(planted, subject=f"customer:{tale.customer}")


def account_unknown(tale: Tale) -> Script:
    """The metadata names an account that the store does not have."""
    tale.register()
    Contract(tale, paid_plan(tale), tale.teller.some_day(), first=MISSED)
    planted = Planted(code="id_unmapped", lane="review", note="the account that the metadata names does not exist")
    return tale.told(planted, subject=f"user:{tale.user}")


def conflict(tale: Tale) -> Script:
    """Mapping and metadata name different accounts: nothing is written until they agree."""
    other, plan = tale.teller.id(), paid_plan(tale)
    contract = subscriber(tale, plan, metadata={"resolved_supabase_user_id": other}).live()
    if tale.random.random() < 0.5:
        tale.do(contract.start, adds(other, 100, BONUS, text="welcome"))
    planted = Planted(code="id_conflict", lane="review", note="mapping and metadata name different accounts")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def shared(tale: Tale) -> Script:
    """Two users are mapped to one account."""
    at = tale.sign_up()
    second, later = tale.teller.id(), at + timedelta(hours=30)
    tale.do(later, puts(User(second, f"user-{second[:13]}@example.com", later)))
    tale.do(later, puts(Link(second, tale.account, later)))
    return tale.told(Planted(code="id_shared", lane="review", note="two users are mapped to this account"))


def metadata_missing(tale: Tale) -> Script:
    """Mapped, and the local subscription row's metadata does not name the account."""
    plan = paid_plan(tale)
    unnamed = tale.random.choice(({}, {"plan": "web"}, {"supabase_user_id": "undefined"}))
    subscriber(tale, plan, metadata=unnamed).live()
    planted = Planted(
        code="id_metadata_missing",
        lane="auto",
        note="the mapping's account is written into the metadata",
        auto=same,
        steps=("SetResolvedId",),
    )
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def orphan(tale: Tale) -> Script:
    """An account with points that no user claims."""
    at = tale.teller.ago(40 * 24, 300 * 24)
    tale.do(at, adds(tale.account, tale.teller.some(1, 900), BONUS, text="welcome"))
    return tale.told(Planted(code="orphan_balance", lane="review", note="points that belong to no user"))


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
