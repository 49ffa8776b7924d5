"""The section `store` of `defs.yaml`, by layout. The names default to those of the packaged products."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from credit_pipeline.config.values import EnvName, Flag, Identifier, Section, Text, listed, refused
from credit_pipeline.domain.grants.ledger import EntryKind


class Columns(Section):
    """The columns of a counter's table."""

    account: Identifier = "instance_id"
    label: Identifier = "plan_id"
    total: Identifier = "credits_total"
    used: Identifier = "credits_used_month"
    updated_at: Identifier | None = None


class PlanTable(Section):
    """The product's own list of plans and their credits; a disagreement with ours is a finding."""

    table: Identifier = "plans"
    label: Identifier = "id"
    credits: Identifier = "monthly_credits"


class _Store(Section):
    """Where the product's database is: one variable is enough, and each role of a walled install may have its own."""

    url_env: EnvName
    reader_url_env: EnvName | None = None
    corrector_url_env: EnvName | None = None
    approver_url_env: EnvName | None = None
    schema_: Identifier = Field(default="public", alias="schema")

    @field_validator("reader_url_env", "corrector_url_env", "approver_url_env")
    @classmethod
    def _is_another_variable(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and name in info.data.values():
            raise refused(f"{name} is named by another key of `store` too: give each role its own, or leave this out")
        return name

    @property
    def schema(self) -> str:  # type: ignore[override]  # a deprecated method of pydantic has this name
        """The schema of the product's tables."""
        return self.schema_


class CounterStoreConfig(_Store):
    """A store that counts per account: one row with a plan label, credits granted, credits used."""

    layout: Literal["counter"]
    table: Identifier = "app_instances"
    columns: Columns = Columns()
    plans: PlanTable | None = None

    @property
    def account(self) -> str:
        """The column of the account's id."""
        return self.columns.account


class BalanceTable(Section):
    """What each account can spend, one row an account."""

    table: Identifier = "points_balances"
    account: Identifier = "user_id"
    balance: Identifier = "balance"
    updated_at: Identifier | None = None


class TransactionTable(Section):
    """Every movement of credits. Amounts are signed, or their sign follows from the type's kind (`by_type`)."""

    table: Identifier = "points_transactions"
    id: Identifier = "id"
    account: Identifier = "user_id"
    amount: Identifier = "amount"
    type: Identifier = "type"
    at: Identifier = "created_at"
    reference: Identifier | None = "reference"
    amounts: Literal["signed", "by_type"] = "signed"
    types: dict[Text, EntryKind]
    """The product's types; any other type is a finding."""
    grant_type: Text
    adjustment_type: Text

    @field_validator("grant_type", "adjustment_type")
    @classmethod
    def _is_a_type_of_its_kind(cls, word: str, info: ValidationInfo) -> str:
        types, kind = info.data.get("types"), str(info.field_name).removesuffix("_type")
        if types is not None and types.get(word) != kind:
            of_kind = [one for one, meaning in types.items() if meaning == kind]
            raise refused(f"this must be one of the `types` that are `{kind}`: those are {listed(of_kind)}")
        return word


class TierTable(Section):
    """What the front end reads of an account's subscription. By the store's id."""

    table: Identifier = "subscriptions_consolidated"
    account: Identifier = "user_id"
    label: Identifier = "tier"
    status: Identifier = "status"
    period_start: Identifier | None = None
    period_end: Identifier | None = None
    updated_at: Identifier | None = None


class UserTable(Section):
    """The users of the authentication system."""

    table: Identifier = "bestauth_users"
    id: Identifier = "id"
    email: Identifier | None = "email"


class MappingTable(Section):
    """Layer 1: which store account a user has."""

    table: Identifier = "user_id_mapping"
    user: Identifier = "bestauth_user_id"
    account: Identifier = "supabase_user_id"


class LocalSubscriptionTable(Section):
    """Layer 2: a user's subscription as the authentication system keeps it. By the user's id."""

    table: Identifier = "bestauth_subscriptions"
    user: Identifier = "user_id"
    metadata: Identifier = "metadata"
    keys: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(min_length=1)] = (
        "resolved_supabase_user_id",
        "supabase_user_id",
        "original_userId",
    )
    """Keys of the metadata that name a store account, most trusted first; the first is the one written."""
    billing: Identifier | None = None
    subscription: Identifier | None = None
    updated_at: Identifier | None = None


class AddFunction(Section):
    """The product's function that adds credits: parameter → what we pass."""

    function: Identifier
    arguments: dict[Identifier, Literal["account", "amount", "type", "reference", "description"]]

    @field_validator("arguments")
    @classmethod
    def _says_what_is_needed(cls, arguments: dict[str, str]) -> dict[str, str]:
        return _called(arguments, ("account", "amount", "type"))


class DeductFunction(Section):
    """The product's function that spends credits: parameter → what we pass."""

    function: Identifier
    arguments: dict[Identifier, Literal["account", "amount", "description"]]

    @field_validator("arguments")
    @classmethod
    def _says_what_is_needed(cls, arguments: dict[str, str]) -> dict[str, str]:
        return _called(arguments, ("account", "amount"))


ProductFunction = AddFunction | DeductFunction


class FailureTable(Section):
    """Deductions that the product could not make."""

    table: Identifier
    account: Identifier
    at: Identifier
    amount: Identifier | None = None
    reason: Identifier | None = None


class LedgerStoreConfig(_Store):
    """A store that keeps every movement, for users whose id is another one than their account's."""

    layout: Literal["ledger"]
    balances: BalanceTable = BalanceTable()
    transactions: TransactionTable
    tiers: TierTable = TierTable()
    users: UserTable = UserTable()
    mapping: MappingTable = MappingTable()
    subscriptions: LocalSubscriptionTable = LocalSubscriptionTable()
    add: AddFunction
    deduct: DeductFunction | None = None
    deduct_probe: Flag = False
    failures: FailureTable | None = None
    plans: PlanTable | None = None

    @field_validator("deduct_probe")
    @classmethod
    def _has_something_to_run(cls, probe: bool, info: ValidationInfo) -> bool:
        if probe and info.data.get("deduct", ...) is None:
            raise refused("there is no `deduct` that could be run: add it, or leave this out")
        return probe

    @property
    def table(self) -> str:
        """The table whose rows are the accounts, for a reader."""
        return self.balances.table

    @property
    def account(self) -> str:
        """Its column of the account's id."""
        return self.balances.account


Store = Annotated[CounterStoreConfig | LedgerStoreConfig, Field(discriminator="layout")]


def _called(arguments: dict[str, str], needed: Collection[str]) -> dict[str, str]:
    meanings = list(arguments.values())
    if missing := [meaning for meaning in needed if meaning not in meanings]:
        raise refused(f"no parameter receives {listed(missing)}: name the function's parameter for it")
    if twice := {meaning for meaning in meanings if meanings.count(meaning) > 1}:
        raise refused(f"two parameters receive {listed(twice)}: keep one")
    return arguments
