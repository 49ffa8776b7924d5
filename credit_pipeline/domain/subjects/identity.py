"""Who is who: auth users, store accounts and billing customers, and the evidence that joins them (semantics §4).

Three layers say which store account a user has: the mapping table, the metadata of the user's subscription, and the
same id in both worlds. The third is a guess, never granted to or linked. E-mail is a suggestion with a reason.
"""

from dataclasses import dataclass
from enum import IntEnum

from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId


class Layer(IntEnum):
    """Where a claim comes from; the order is of trust."""

    MAPPING = 1
    METADATA = 2
    SAME_ID = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One layer says that this user has that store account."""

    layer: Layer
    auth_id: AuthId
    store_id: AccountId
    source: str
    """The table or metadata key that says so."""
    exists: bool
    """Whether the store knows the account at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """One path of a subscription's metadata, or the product's own row, names the user a customer is."""

    billing_id: BillingId
    subscription_id: str
    named: str
    """The id as written there."""
    auth_id: AuthId | None
    """The user of that id; None where there is none."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A guess worth a person's look; it never links anything."""

    auth_id: AuthId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One subject's ids of all three worlds, with everything that was read about them."""

    auth_ids: tuple[AuthId, ...] = ()
    store_ids: tuple[AccountId, ...] = ()
    billing_ids: tuple[BillingId, ...] = ()
    claims: tuple[Claim, ...] = ()
    namings: tuple[Naming, ...] = ()
    without_metadata: tuple[AuthId, ...] = ()
    """Users with a local subscription row whose metadata resolves no store account."""
    suggestions: tuple[Suggestion, ...] = ()
