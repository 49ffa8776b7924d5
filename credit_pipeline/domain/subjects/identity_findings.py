"""Who a ledger's subject is: conflicts, shared accounts, missing links, orphans (semantics §4), and what may be linked.

The rule that protects a customer: with a doubt about who somebody is, nothing at all is corrected, and only evidence of
the subscription's own metadata is ever written into the mapping table, never the same id, never an e-mail address.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.corrections.correction import Lane, LinkIdentity, SetResolvedId, Step
from credit_pipeline.domain.findings import Finding, finding
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.identity import Claim, Identity, Layer
from credit_pipeline.domain.subjects.ids import AccountId, AuthId


def identity_findings(account: Account) -> list[Finding]:
    """Everything about who the subject is; nothing for a system whose store id is the id at billing.

    While a conflict or a shared account stands it is the whole answer: what is missing cannot be told before that.
    """
    identity = account.identity
    if identity is None:
        return []
    doubts = [*_conflicts(account, identity), *_shared(account, identity)]
    if doubts:
        return doubts
    if len(identity.auth_ids) > 1 or len(identity.store_ids) > 1:
        return [_joined(account, identity)]
    if identity.auth_ids:
        return [*_unmapped(account, identity, identity.auth_ids[0]), *_without_metadata(account, identity)]
    if _pays(account):
        return [_nobody(account, identity)]
    if identity.store_ids:
        return [finding(account, Code.ORPHAN_BALANCE, *identity.store_ids)]
    return []


def blocked(findings: Iterable[Finding]) -> bool:
    """Whether so much is in doubt that nothing may be corrected. Ask before accepted findings are left out."""
    doubts = {Code.ID_CONFLICT, Code.ID_SHARED}
    return any(f.code in doubts or (f.code is Code.ID_UNMAPPED and f.lane is Lane.REVIEW) for f in findings)


def identity_steps(account: Account, findings: Sequence[Finding]) -> list[tuple[Finding, Step, str]]:
    """The links that may be written, each with its finding and the reason; none while the subject is blocked."""
    if blocked(findings):
        return []
    steps: list[tuple[Finding, Step, str]] = []
    for found in findings:
        if found.lane is not Lane.AUTO or found.evidence.get("account") != account.store_id:
            continue
        if found.code is Code.ID_UNMAPPED:
            auth_id, store_id = _pair(found)
            reason = f"{found.evidence['source']} names account {store_id}, the mapping table names none"
            steps.append((found, LinkIdentity(auth_id=auth_id, store_id=store_id, layer=Layer.METADATA), reason))
        elif found.code is Code.ID_METADATA_MISSING:
            auth_id, store_id = _pair(found)
            reason = f"the mapping table names account {store_id}, the user's subscription row names none"
            steps.append((found, SetResolvedId(auth_id=auth_id, store_id=store_id), reason))
    return steps


def _pair(found: Finding) -> tuple[AuthId, AccountId]:
    return AuthId(found.evidence["user"]), AccountId(found.evidence["account"])


def _conflicts(account: Account, identity: Identity) -> Iterable[Finding]:
    """Several accounts for one user over all layers, existing or not; several users for one customer, known or not."""
    claims = _counted(identity)
    for user in sorted({claim.auth_id for claim in claims}):
        mine = [claim for claim in claims if claim.auth_id == user]
        accounts = sorted({claim.store_id for claim in mine})
        if len(accounts) > 1:
            evidence = {"user": user, "accounts": accounts, "claims": _shown(mine)}
            yield finding(account, Code.ID_CONFLICT, user, *accounts, evidence=evidence)
    for customer in sorted({naming.billing_id for naming in identity.namings}):
        named = [naming for naming in identity.namings if naming.billing_id == customer]
        users = sorted({naming.auth_id for naming in named if naming.auth_id is not None})
        nobody = any(naming.auth_id is None for naming in named)
        if len(users) > 1 or (users and nobody):
            said = [
                {"subscription": n.subscription_id, "source": n.source, "named": n.named}
                for n in sorted(named, key=lambda n: (n.subscription_id, n.source, n.named))
            ]
            evidence = {"customer": customer, "users": users, "namings": said}
            yield finding(account, Code.ID_CONFLICT, customer, *users, evidence=evidence)


def _shared(account: Account, identity: Identity) -> Iterable[Finding]:
    """Several users for one account. A same id is no claim against somebody's mapping or metadata."""
    strong = [claim for claim in identity.claims if claim.layer is not Layer.SAME_ID]
    for store_id in sorted({claim.store_id for claim in strong}):
        theirs = [claim for claim in strong if claim.store_id == store_id]
        users = sorted({claim.auth_id for claim in theirs})
        if len(users) > 1:
            evidence = {"account": store_id, "users": users, "claims": _shown(theirs)}
            yield finding(account, Code.ID_SHARED, store_id, *users, evidence=evidence)


def _joined(account: Account, identity: Identity) -> Finding:
    """Several users or accounts in one subject whatever joined them: none of them may be written to."""
    users, accounts = sorted(identity.auth_ids), sorted(identity.store_ids)
    evidence = {"users": users, "accounts": accounts, "claims": _shown(identity.claims)}
    return finding(account, Code.ID_CONFLICT, *users, *accounts, evidence=evidence)


def _unmapped(account: Account, identity: Identity, user: AuthId) -> Iterable[Finding]:
    """A user who pays or has an account, without a row in the mapping table that names an account of the store."""
    claims = [claim for claim in _counted(identity) if claim.auth_id == user]
    if any(claim.layer is Layer.MAPPING and claim.exists for claim in claims):
        return
    if not _pays(account) and not identity.store_ids:
        return
    severity = Severity.ERROR if _pays(account) else Severity.WARNING
    evidence: dict[str, Any] = {"user": user, "claims": _shown(claims)}
    linkable = [claim for claim in claims if _linkable(account, claim)]
    if linkable and all(claim.layer is not Layer.MAPPING for claim in claims):
        best = linkable[0]
        evidence |= {"account": best.store_id, "source": best.source}
        yield finding(
            account, Code.ID_UNMAPPED, user, best.store_id, lane=Lane.AUTO, severity=severity, evidence=evidence
        )
        return
    if any(claim.layer is Layer.SAME_ID for claim in claims):
        reason = "only_same_id"
    else:
        reason = "unknown_account" if claims else "no_account"
    evidence |= {"reason": reason, "suggestions": _suggested(identity)}
    yield finding(account, Code.ID_UNMAPPED, user, severity=severity, evidence=evidence)


def _linkable(account: Account, claim: Claim) -> bool:
    """Metadata that names an account of the store, and the very one this subject's corrections go to.

    That nobody else claims it is known by then: it would be shared.
    """
    return claim.layer is Layer.METADATA and claim.exists and claim.store_id == account.store_id


def _without_metadata(account: Account, identity: Identity) -> Iterable[Finding]:
    for claim in sorted(identity.claims, key=lambda c: (c.auth_id, c.store_id)):
        if claim.layer is Layer.MAPPING and claim.exists and claim.auth_id in identity.without_metadata:
            evidence = {"user": claim.auth_id, "account": claim.store_id}
            yield finding(account, Code.ID_METADATA_MISSING, claim.auth_id, claim.store_id, evidence=evidence)
            return


def _nobody(account: Account, identity: Identity) -> Finding:
    """A live subscription whose metadata and local rows name no user we know."""
    evidence = {
        "reason": "no_user",
        "customers": sorted(identity.billing_ids),
        "named": sorted({naming.named for naming in identity.namings}),
        "suggestions": _suggested(identity),
    }
    return finding(account, Code.ID_UNMAPPED, *sorted(identity.billing_ids), evidence=evidence)


def _counted(identity: Identity) -> list[Claim]:
    """The claims that say something, most trusted first: a same id counts only while no other user claims the account
    at the layers above. Such an account is outside this subject, or claimed within it."""
    held = {(claim.store_id, claim.auth_id) for claim in identity.claims if claim.layer is not Layer.SAME_ID}

    def counts(claim: Claim) -> bool:
        if claim.layer is not Layer.SAME_ID:
            return True
        others = any(account == claim.store_id and user != claim.auth_id for account, user in held)
        return claim.store_id in identity.store_ids and not others

    return sorted(filter(counts, identity.claims), key=lambda c: (c.layer, c.auth_id, c.store_id, c.source))


def _pays(account: Account) -> bool:
    billed = (account.billing, *account.subscriptions)
    return any(one.status is not None and one.status.live for one in billed)


def _shown(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    ordered = sorted(claims, key=lambda c: (c.layer, c.auth_id, c.store_id, c.source))
    return [
        {"layer": int(c.layer), "user": c.auth_id, "account": c.store_id, "source": c.source, "exists": c.exists}
        for c in ordered
    ]


def _suggested(identity: Identity) -> list[dict[str, str]]:
    """For a person to look at; nothing reads it back."""
    ordered = sorted(identity.suggestions, key=lambda s: (s.auth_id, s.reason))
    return [{"user": suggestion.auth_id, "reason": suggestion.reason} for suggestion in ordered]
