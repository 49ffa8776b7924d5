"""The keys of `store` in `defs.yaml`, by layout, and what they mean to the gateways. Nothing is contacted here.

The names default to those of the seed products.
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from credit_pipeline.config.system import (
    BalanceTable,
    CounterStoreConfig,
    FailureTable,
    FunctionCall,
    LedgerStoreConfig,
    LocalSubscriptionTable,
    MappingTable,
    PlanTable,
    TierTable,
    TransactionTable,
    UserTable,
)
from credit_pipeline.config.values import EnvName, Flag, Identifier, Section, Text, listed, refused
from credit_pipeline.domain.grants.ledger import EntryKind

_BALANCES = BalanceTable()
_TRANSACTIONS = TransactionTable(types={}, grant_type="", adjustment_type="")
_TIERS = TierTable()
_USERS = UserTable()
_MAPPING = MappingTable()
_LOCAL = LocalSubscriptionTable()


class ColumnWords(Section):
    """The columns of the balance table."""

    account: Identifier = "instance_id"
    label: Identifier = "plan_id"
    total: Identifier = "credits_total"
    used: Identifier = "credits_used_month"
    updated_at: Identifier | None = None


class PlanTableWords(Section):
    """The product's own table of plans."""

    table: Identifier = "plans"
    label: Identifier = "id"
    credits: Identifier = "monthly_credits"


class UrlWords(Section):
    """Which variables hold the database's URL: one is enough, and each role of a walled install may have its own."""

    url_env: EnvName
    reader_url_env: EnvName | None = None
    corrector_url_env: EnvName | None = None
    approver_url_env: EnvName | None = None

    @field_validator("reader_url_env", "corrector_url_env", "approver_url_env")
    @classmethod
    def _is_another_variable(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and name in info.data.values():
            raise refused(f"{name} is named by another key of `store` too: give each role its own, or leave this out")
        return name


class CounterWords(UrlWords):
    """A store that counts per account."""

    layout: Literal["counter"]
    schema_: Identifier = Field(default="public", alias="schema")
    table: Identifier = "app_instances"
    columns: ColumnWords = ColumnWords()
    plans: PlanTableWords | None = None


class BalanceWords(Section):
    """What each account can spend."""

    table: Identifier = _BALANCES.table
    account: Identifier = _BALANCES.account
    balance: Identifier = _BALANCES.balance
    updated_at: Identifier | None = _BALANCES.updated_at


class TransactionWords(Section):
    """Every movement of credits, and what the product's types of them are."""

    table: Identifier = _TRANSACTIONS.table
    id: Identifier = _TRANSACTIONS.id
    account: Identifier = _TRANSACTIONS.account
    amount: Identifier = _TRANSACTIONS.amount
    type: Identifier = _TRANSACTIONS.type
    at: Identifier = _TRANSACTIONS.at
    reference: Identifier | None = _TRANSACTIONS.reference
    amounts: Literal["signed", "by_type"] = "signed"
    types: dict[Text, Literal["grant", "purchase", "adjustment", "spend"]]
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


class TierWords(Section):
    """What the front end reads of an account's subscription."""

    table: Identifier = _TIERS.table
    account: Identifier = _TIERS.account
    label: Identifier = _TIERS.label
    status: Identifier = _TIERS.status
    period_start: Identifier | None = _TIERS.period_start
    period_end: Identifier | None = _TIERS.period_end
    updated_at: Identifier | None = _TIERS.updated_at


class UserWords(Section):
    """The users of the authentication system."""

    table: Identifier = _USERS.table
    id: Identifier = _USERS.id
    email: Identifier | None = _USERS.email


class MappingWords(Section):
    """Which store account a user has."""

    table: Identifier = _MAPPING.table
    user: Identifier = _MAPPING.user
    account: Identifier = _MAPPING.account


class LocalSubscriptionWords(Section):
    """A user's subscription as the authentication system keeps it."""

    table: Identifier = _LOCAL.table
    user: Identifier = _LOCAL.user
    metadata: Identifier = _LOCAL.metadata
    keys: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(min_length=1)] = _LOCAL.keys
    billing: Identifier | None = _LOCAL.billing
    subscription: Identifier | None = _LOCAL.subscription
    updated_at: Identifier | None = _LOCAL.updated_at


class AddWords(Section):
    """The product's function that adds credits."""

    function: Identifier
    arguments: dict[Identifier, Literal["account", "amount", "type", "reference", "description"]]

    @field_validator("arguments")
    @classmethod
    def _says_what_is_needed(cls, arguments: dict[str, str]) -> dict[str, str]:
        return _called(arguments, ("account", "amount", "type"))


class DeductWords(Section):
    """The product's function that spends credits."""

    function: Identifier
    arguments: dict[Identifier, Literal["account", "amount", "description"]]

    @field_validator("arguments")
    @classmethod
    def _says_what_is_needed(cls, arguments: dict[str, str]) -> dict[str, str]:
        return _called(arguments, ("account", "amount"))


class FailureWords(Section):
    """Deductions that the product could not make."""

    table: Identifier
    account: Identifier
    at: Identifier
    amount: Identifier | None = None
    reason: Identifier | None = None


class LedgerWords(UrlWords):
    """A store that keeps every movement, for users whose id is another one than their account's."""

    layout: Literal["ledger"]
    schema_: Identifier = Field(default="public", alias="schema")
    balances: BalanceWords = BalanceWords()
    transactions: TransactionWords
    tiers: TierWords = TierWords()
    users: UserWords = UserWords()
    mapping: MappingWords = MappingWords()
    subscriptions: LocalSubscriptionWords = LocalSubscriptionWords()
    add: AddWords
    deduct: DeductWords | None = None
    deduct_probe: Flag = False
    failures: FailureWords | None = None
    plans: PlanTableWords | None = None

    @field_validator("deduct_probe")
    @classmethod
    def _has_something_to_run(cls, probe: bool, info: ValidationInfo) -> bool:
        if probe and info.data.get("deduct", ...) is None:
            raise refused("there is no `deduct` that could be run: add it, or leave this out")
        return probe


StoreWords = Annotated[CounterWords | LedgerWords, Field(discriminator="layout")]


def store_config(words: CounterWords | LedgerWords) -> CounterStoreConfig | LedgerStoreConfig:
    """The store as the gateways need it."""
    plans = PlanTable(**dict(words.plans)) if words.plans else None
    if isinstance(words, CounterWords):
        columns = dict(words.columns)
        return CounterStoreConfig(schema=words.schema_, table=words.table, plans=plans, **_urls(words), **columns)
    return LedgerStoreConfig(
        **_urls(words),
        schema=words.schema_,
        balances=BalanceTable(**dict(words.balances)),
        transactions=_transactions(words.transactions),
        tiers=TierTable(**dict(words.tiers)),
        users=UserTable(**dict(words.users)),
        mapping=MappingTable(**dict(words.mapping)),
        subscriptions=LocalSubscriptionTable(**dict(iter(words.subscriptions))),  # it has a field named `keys`
        add=_call(words.add),
        deduct=_call(words.deduct) if words.deduct else None,
        deduct_probe=words.deduct_probe,
        failures=FailureTable(**dict(words.failures)) if words.failures else None,
        plans=plans,
    )


def _urls(words: UrlWords) -> dict[str, Any]:
    return {name: getattr(words, name) for name in UrlWords.model_fields}


def _transactions(words: TransactionWords) -> TransactionTable:
    given = {key: value for key, value in words if key not in {"amounts", "types"}}
    types = {word: EntryKind(kind) for word, kind in words.types.items()}
    return TransactionTable(**given, types=types, by_type=words.amounts == "by_type")


def _call(words: AddWords | DeductWords) -> FunctionCall:
    return FunctionCall(name=words.function, arguments=dict(words.arguments))


def _called(arguments: dict[str, str], needed: Collection[str]) -> dict[str, str]:
    meanings = list(arguments.values())
    if missing := [meaning for meaning in needed if meaning not in meanings]:
        raise refused(f"no parameter receives {listed(missing)}: name the function's parameter for it")
    if twice := {meaning for meaning in meanings if meanings.count(meaning) > 1}:
        raise refused(f"two parameters receive {listed(twice)}: keep one")
    return arguments
