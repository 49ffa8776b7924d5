"""Who a subject is: single deviations from one healthy user, then random evidence. A link is never a guess."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credit_pipeline.domain.codes import CODES, Code, Group, Severity
from credit_pipeline.domain.corrections.correction import Lane, LinkIdentity, SetResolvedId
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Claim, Identity, Layer, Suggestion
from credit_pipeline.domain.subjects.identity_findings import blocked, identity_findings, identity_steps
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline_tests.domain.builders import an_account
from credit_pipeline_tests.domain.ledger_builders import (
    AUTH,
    CUSTOMER,
    STORE,
    a_claim,
    a_naming,
    a_stripe_billing,
    a_user,
    an_identity,
)

OTHER_AUTH = AuthId("aaaaaaaa-0000-4000-8000-000000000002")
OTHER_STORE = AccountId("bbbbbbbb-0000-4000-8000-000000000002")
NOWHERE = AccountId("bbbbbbbb-0000-4000-8000-00000000dead")
BY_MAIL = Suggestion(auth_id=OTHER_AUTH, reason="same e-mail address")


def someone(*, live: bool = True, **identity: Any) -> Account:
    """A subject with these identity facts; not `live`: its subscription has ended."""
    billing = a_stripe_billing(status=BillingStatus.ACTIVE if live else BillingStatus.ENDED)
    who = an_identity(**identity)
    account_id = who.store_ids[0] if who.store_ids else f"user:{AUTH}" if who.auth_ids else f"customer:{CUSTOMER}"
    return a_user(identity=who, account_id=account_id, billing=billing)


def same_id(**overrides: Any) -> Claim:
    """AUTH's own id is an account of the store."""
    return a_claim(3, store_id=AccountId(AUTH), **overrides)


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"claims": (a_claim(1),)},  # no local subscription row, so no metadata to write
        {"claims": (a_claim(1), a_claim(2), a_claim(2, source="supabase_user_id"), a_claim(3))},
        {"claims": (a_claim(1), a_claim(3, store_id=OTHER_STORE))},  # his own id is another user's account
        {"namings": (a_naming(), a_naming(billing_id=BillingId("cus_2"), subscription_id="sub_2"))},
        {"suggestions": (BY_MAIL,)},
    ],
    ids=str,
)
def test_users_in_good_order_have_no_finding(identity: dict[str, Any]) -> None:
    for live in (True, False):
        account = someone(live=live, **identity)
        assert (identity_findings(account), identity_steps(account, ())) == ([], [])


NO_ACCOUNT: dict[str, Any] = {"claims": (), "store_ids": ()}
GUESS: dict[str, Any] = {"claims": (same_id(),), "store_ids": (AccountId(AUTH),)}
METADATA: dict[str, Any] = {"claims": (a_claim(2),)}
NOBODY: dict[str, Any] = {
    "auth_ids": (),
    "store_ids": (),
    "claims": (),
    "namings": (a_naming(named="gone", auth_id=None),),
}
ORPHAN: dict[str, Any] = {"auth_ids": (), "billing_ids": (), "claims": (), "namings": ()}
TWO_USERS: dict[str, Any] = {"auth_ids": (AUTH, OTHER_AUTH)}
TWO_STORES: dict[str, Any] = {"store_ids": (STORE, OTHER_STORE)}

CONFLICT = (Code.ID_CONFLICT, Lane.REVIEW, Severity.CRITICAL)
SHARED = (Code.ID_SHARED, Lane.REVIEW, Severity.CRITICAL)
CASES: list[tuple[dict[str, Any], list[tuple[Code, Lane, Severity]]]] = [
    # layers that disagree, whichever they are
    (TWO_STORES | {"claims": (a_claim(1), a_claim(2, store_id=OTHER_STORE))}, [CONFLICT]),
    (TWO_STORES | {"claims": (a_claim(1), a_claim(1, store_id=OTHER_STORE))}, [CONFLICT]),
    (TWO_STORES | {"claims": (a_claim(2), a_claim(2, store_id=OTHER_STORE, source="original_userId"))},
     [CONFLICT]),
    ({"store_ids": (STORE, AccountId(AUTH)), "claims": (a_claim(1), a_claim(2), same_id())},
     [CONFLICT]),
    ({"claims": (a_claim(1), a_claim(2, store_id=NOWHERE, exists=False))}, [CONFLICT]),
    # one customer, two users
    (TWO_USERS | {"namings": (a_naming(), a_naming(source="local row", named=OTHER_AUTH, auth_id=OTHER_AUTH))},
     [CONFLICT]),
    (TWO_USERS | {"namings": (a_naming(), a_naming(subscription_id="sub_2", named=OTHER_AUTH, auth_id=OTHER_AUTH))},
     [CONFLICT]),
    # a user named at billing whom nobody knows
    ({"namings": (a_naming(source="local row"), a_naming(named="gone", auth_id=None))}, [CONFLICT]),
    # many to one
    (TWO_USERS | {"claims": (a_claim(1), a_claim(1, auth_id=OTHER_AUTH))}, [SHARED]),
    (TWO_USERS | {"claims": (a_claim(2), a_claim(2, auth_id=OTHER_AUTH))}, [SHARED]),
    # both, and joined by nothing that was read
    (TWO_USERS | TWO_STORES
     | {"claims": (a_claim(1), a_claim(2, store_id=OTHER_STORE), a_claim(1, auth_id=OTHER_AUTH))},
     [CONFLICT, SHARED]),
    (TWO_STORES | {"claims": (a_claim(1),)}, [CONFLICT]),
    (TWO_USERS, [CONFLICT]),
    # a same id says nothing about an account that somebody else has
    (TWO_USERS | {"claims": (a_claim(1), a_claim(3, auth_id=OTHER_AUTH))}, [CONFLICT]),
    (TWO_USERS | TWO_STORES | {
        "claims": (a_claim(1), a_claim(3, store_id=OTHER_STORE), a_claim(1, auth_id=OTHER_AUTH, store_id=OTHER_STORE)),
        "namings": (a_naming(), a_naming(source="local row", named=OTHER_AUTH, auth_id=OTHER_AUTH))},
     [CONFLICT]),
    # the mapping row is missing
    (METADATA, [(Code.ID_UNMAPPED, Lane.AUTO, Severity.ERROR)]),
    ({"claims": (a_claim(2), a_claim(2, source="supabase_user_id"))}, [(Code.ID_UNMAPPED, Lane.AUTO, Severity.ERROR)]),
    ({"claims": (a_claim(2), a_claim(3))}, [(Code.ID_UNMAPPED, Lane.AUTO, Severity.ERROR)]),
    (GUESS, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    ({"store_ids": (), "claims": (a_claim(2, store_id=NOWHERE, exists=False),)},
     [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    ({"claims": (a_claim(2, exists=False),)}, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    ({"claims": (a_claim(1, exists=False), a_claim(2))}, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    (NO_ACCOUNT, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    (NOBODY, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.ERROR)]),
    # the rest
    ({"claims": (a_claim(1),), "without_metadata": (AUTH,)}, [(Code.ID_METADATA_MISSING, Lane.AUTO, Severity.WARNING)]),
]  # fmt: skip


@pytest.mark.parametrize(("identity", "expected"), CASES, ids=str)
def test_single_deviations_of_a_paying_user(
    identity: dict[str, Any], expected: list[tuple[Code, Lane, Severity]]
) -> None:
    assert [(f.code, f.lane, f.severity) for f in identity_findings(someone(**identity))] == expected


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (METADATA, [(Code.ID_UNMAPPED, Lane.AUTO, Severity.WARNING)]),
        (GUESS, [(Code.ID_UNMAPPED, Lane.REVIEW, Severity.WARNING)]),
        (NO_ACCOUNT, []),  # nobody's concern: no account, no live subscription
        (NOBODY, []),
        (ORPHAN, [(Code.ORPHAN_BALANCE, Lane.REVIEW, Severity.WARNING)]),
    ],
    ids=str,
)
def test_single_deviations_of_a_user_who_pays_nothing(
    identity: dict[str, Any], expected: list[tuple[Code, Lane, Severity]]
) -> None:
    assert [(f.code, f.lane, f.severity) for f in identity_findings(someone(live=False, **identity))] == expected


def test_every_identity_code_can_be_reached() -> None:
    subjects = [someone(**identity) for identity, _ in CASES] + [someone(live=False, **ORPHAN)]
    reached = {found.code for subject in subjects for found in identity_findings(subject)}
    assert reached == {code for code in Code if CODES[code].group is Group.IDENTITY}


def test_a_counter_has_no_identity_to_judge() -> None:
    assert identity_findings(an_account()) == []


def test_disagreeing_layers_are_one_conflict_whatever_their_order() -> None:
    claims = (a_claim(1), a_claim(2, store_id=OTHER_STORE), same_id())
    stores = (STORE, OTHER_STORE, AccountId(AUTH))
    account = someone(store_ids=stores, claims=claims)
    told = {
        tuple((f.code, f.fingerprint, str(f.evidence)) for f in identity_findings(replaced))
        for order in permutations(claims)
        if (replaced := replace(account, identity=an_identity(store_ids=stores, claims=order)))
    }
    assert len(told) == 1
    (only,) = told
    assert [code for code, _, _ in only] == [Code.ID_CONFLICT]


def test_a_second_live_subscription_among_ended_ones_makes_a_user_pay() -> None:
    billing = a_stripe_billing(status=BillingStatus.ENDED)
    account = a_user(billing=billing, subscriptions=(billing, a_stripe_billing()), identity=an_identity(**METADATA))
    assert identity_findings(account)[0].severity is Severity.ERROR


def test_metadata_that_names_the_account_links_it() -> None:
    account = someone(**METADATA)
    ((found, step, reason),) = identity_steps(account, identity_findings(account))
    assert found.code is Code.ID_UNMAPPED
    assert step == LinkIdentity(auth_id=AUTH, store_id=STORE, layer=Layer.METADATA)
    assert reason == f"resolved_supabase_user_id names account {STORE}, the mapping table names none"


def test_missing_metadata_is_written_from_the_mapping() -> None:
    account = someone(claims=(a_claim(1),), without_metadata=(AUTH,))
    ((found, step, reason),) = identity_steps(account, identity_findings(account))
    assert found.code is Code.ID_METADATA_MISSING
    assert step == SetResolvedId(auth_id=AUTH, store_id=STORE)
    assert reason == f"the mapping table names account {STORE}, the user's subscription row names none"


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (GUESS, "only_same_id"),
        (NO_ACCOUNT, "no_account"),
        ({"store_ids": (), "claims": (a_claim(3, store_id=OTHER_STORE),)}, "no_account"),  # another user's account
        ({"store_ids": (), "claims": (a_claim(2, store_id=NOWHERE, exists=False),)}, "unknown_account"),
        (NOBODY, "no_user"),
    ],
    ids=str,
)
def test_without_verified_evidence_nothing_is_linked_and_an_e_mail_is_only_shown(
    identity: dict[str, Any], reason: str
) -> None:
    account = someone(**identity, suggestions=(BY_MAIL,))
    found = identity_findings(account)
    assert [f.evidence["reason"] for f in found] == [reason]
    assert found[0].evidence["suggestions"] == [{"user": OTHER_AUTH, "reason": "same e-mail address"}]
    assert blocked(found)
    assert identity_steps(account, found) == []


def test_an_e_mail_never_changes_the_judgement() -> None:
    for identity in [{}, *(identity for identity, _ in CASES)]:
        plain, hinted = someone(**identity), someone(**identity, suggestions=(BY_MAIL,))
        told = [[(f.code, f.lane, f.fingerprint) for f in identity_findings(account)] for account in (plain, hinted)]
        assert told[0] == told[1]
        assert identity_steps(plain, identity_findings(plain)) == [
            (replace(found, evidence=dict(found.evidence)), step, reason)
            for found, step, reason in identity_steps(hinted, identity_findings(hinted))
        ]


def test_a_link_is_for_the_account_that_the_subject_is_written_under() -> None:
    account = replace(someone(**METADATA), account_id=OTHER_STORE)
    found = identity_findings(account)
    assert [f.lane for f in found] == [Lane.REVIEW]
    offered = identity_findings(someone(**METADATA))
    assert identity_steps(account, offered) == []


def test_nothing_is_linked_beside_a_doubt() -> None:
    account = someone(**METADATA)
    offered = identity_findings(account)
    conflict = identity_findings(someone(claims=(a_claim(1), a_claim(2, store_id=NOWHERE, exists=False))))
    assert len(identity_steps(account, offered)) == 1
    assert identity_steps(account, [*offered, *conflict]) == []


def test_what_blocks_a_subject() -> None:
    blocking = [identity for identity, told in CASES if any(lane is Lane.REVIEW for _, lane, _ in told)]
    assert all(blocked(identity_findings(someone(**identity))) for identity in blocking)
    free = [identity for identity, told in CASES if identity not in blocking]
    assert not any(blocked(identity_findings(someone(**identity))) for identity in free)
    assert not blocked(identity_findings(someone(live=False, **ORPHAN)))


def test_the_conflict_tells_who_says_what() -> None:
    account = someone(**TWO_STORES, claims=(a_claim(2, store_id=OTHER_STORE), a_claim(1)))
    assert identity_findings(account)[0].evidence == {
        "user": AUTH,
        "accounts": [STORE, OTHER_STORE],
        "claims": [
            {"layer": 1, "user": AUTH, "account": STORE, "source": "user_id_mapping", "exists": True},
            {"layer": 2, "user": AUTH, "account": OTHER_STORE, "source": "resolved_supabase_user_id", "exists": True},
        ],
    }


USERS = [AuthId(f"user-{n}") for n in range(3)]
ACCOUNTS = [AccountId(f"account-{n}") for n in range(3)] + [AccountId(user) for user in USERS]


@st.composite
def evidence(draw: st.DrawFn) -> Identity:
    """Anything the layers may say of up to three users, with the accounts that exist joined in."""
    exist = draw(st.sets(st.sampled_from(ACCOUNTS)))
    named = draw(st.sets(st.tuples(st.sampled_from([1, 2]), st.sampled_from(USERS), st.sampled_from(ACCOUNTS))))
    same = [(3, user, AccountId(user)) for user in USERS if AccountId(user) in exist]
    users = draw(st.lists(st.sampled_from(USERS), unique=True, max_size=3))
    claims = [
        a_claim(layer, auth_id=user, store_id=store, exists=store in exist)
        for layer, user, store in [*sorted(named), *same]
        if user in users
    ]
    taken = {(c.store_id, c.auth_id) for c in claims if c.layer < Layer.SAME_ID}
    joined = {
        c.store_id
        for c in claims
        if c.exists and (c.layer < Layer.SAME_ID or all(u == c.auth_id for s, u in taken if s == c.store_id))
    }
    return an_identity(
        auth_ids=tuple(users),
        store_ids=tuple(draw(st.permutations(sorted(joined)))),
        claims=tuple(draw(st.permutations(claims))),
        namings=tuple(a_naming(named=user, auth_id=user) for user in users[:1]),
        without_metadata=tuple(u for u in users if not any(c.layer == 2 and c.auth_id == u for c in claims)),
    )


def codes(found: Iterable[Finding]) -> set[Code]:
    return {f.code for f in found}


@given(who=evidence(), live=st.booleans())
@example(who=an_identity(claims=(a_claim(2),)), live=True)
@example(who=an_identity(claims=(a_claim(1),), without_metadata=(AUTH,)), live=True)
def test_a_link_rests_on_metadata_for_an_account_nobody_else_claims(who: Identity, live: bool) -> None:
    status = BillingStatus.ACTIVE if live else BillingStatus.ENDED
    account = a_user(
        identity=who,
        account_id=who.store_ids[0] if who.store_ids else "user:x",
        billing=a_stripe_billing(status=status),
    )
    found = identity_findings(account)
    for _, step, _ in identity_steps(account, found):
        assert not codes(found) & {Code.ID_CONFLICT, Code.ID_SHARED}
        assert isinstance(step, LinkIdentity | SetResolvedId)
        assert step.store_id == account.account_id
        layer = Layer.METADATA if isinstance(step, LinkIdentity) else Layer.MAPPING
        proofs = [c for c in who.claims if (c.layer, c.auth_id, c.store_id) == (layer, step.auth_id, step.store_id)]
        assert any(proof.exists for proof in proofs)
        strong = [c for c in who.claims if c.layer is not Layer.SAME_ID]
        assert {c.auth_id for c in strong if c.store_id == step.store_id} == {step.auth_id}
        assert {c.store_id for c in strong if c.auth_id == step.auth_id} == {step.store_id}
        mapped = any(c.layer is Layer.MAPPING and c.auth_id == step.auth_id for c in who.claims)
        assert mapped is isinstance(step, SetResolvedId)


@given(who=evidence())
def test_a_subject_of_several_users_or_accounts_is_never_corrected(who: Identity) -> None:
    found = identity_findings(a_user(identity=who, account_id=who.store_ids[0] if who.store_ids else "user:x"))
    if len(who.auth_ids) > 1 or len(who.store_ids) > 1:
        assert blocked(found)
    if not blocked(found):
        assert codes(found) <= {Code.ID_UNMAPPED, Code.ID_METADATA_MISSING}
        assert len(who.auth_ids) == len(who.store_ids) == 1
    assert len({f.fingerprint for f in found}) == len(found)
