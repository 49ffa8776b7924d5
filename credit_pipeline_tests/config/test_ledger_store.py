"""What a file may say about a ledger billed by Stripe, and how each mistake is shown to the person who made it."""

import random
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.loader import PACKAGED, load_file, load_system
from credit_pipeline.config.store import (
    AddFunction,
    BalanceTable,
    LedgerStoreConfig,
    LocalSubscriptionTable,
    MappingTable,
    TierTable,
    TransactionTable,
    UserTable,
)
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.catalogue import YearlyMode
from credit_pipeline.domain.policy import STATUSES, Policy
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.adapters.products.ledger_product import NAMES, ledger_config
from credit_pipeline_tests.config.test_loader import ACME, a_system, refusal

LEDGER = dedent("""\
    type: credit_pipeline.components.CreditReconciliation
    attributes:
      plans:
        - {name: free, free: true, credits: 100}
        - {name: pro, credits: 800}
      billing:
        provider: stripe
        key_env: ACME_STRIPE_KEY
      store:
        layout: ledger
        url_env: ACME_DATABASE_URL
        transactions:
          types: {bought: grant, gift: adjustment, used: spend}
          grant_type: bought
          adjustment_type: gift
        add:
          function: add_points
          arguments: {p_user_id: account, p_amount: amount, p_type: type}
      policy:
        trial: grant
    """)


def test_the_packaged_ledger_is_bestauth_name_by_name() -> None:
    system = load_system("bestauth", environ={})
    assert system.ledger
    assert system.store.model_dump(exclude={"url_env"}) == ledger_config().model_dump(exclude={"url_env"})
    assert system.billing == StripeConfig(
        provider="stripe", key_env="BESTAUTH_STRIPE_KEY", base_url_env="BESTAUTH_STRIPE_URL"
    )
    assert system.policy == Policy()
    assert list(system.policy.statuses) == list(STATUSES)  # the first word of a state is the one written
    assert system.environment == "sandbox"
    assert {plan.name: (plan.credits, plan.yearly) for plan in system.catalogue.plans} == {
        "free": (100, None),
        "pro": (800, YearlyMode.DRIP),
        "business": (3000, None),
        "annual": (1500, YearlyMode.UPFRONT),
    }
    assert system.env_names == ("BESTAUTH_DATABASE_URL", "BESTAUTH_STRIPE_KEY")


def test_what_the_file_leaves_out_is_the_seed_products(tmp_path: Path) -> None:
    system = load_file(a_system(tmp_path, LEDGER))
    assert system.store == LedgerStoreConfig(
        layout="ledger",
        url_env="ACME_DATABASE_URL",
        schema="public",
        balances=BalanceTable(),
        transactions=TransactionTable(
            types={"bought": EntryKind.GRANT, "gift": EntryKind.ADJUSTMENT, "used": EntryKind.SPEND},
            grant_type="bought",
            adjustment_type="gift",
        ),
        tiers=TierTable(),
        users=UserTable(),
        mapping=MappingTable(),
        subscriptions=LocalSubscriptionTable(),
        add=AddFunction(
            function="add_points",
            arguments={"p_user_id": "account", "p_amount": "amount", "p_type": "type"},
        ),
    )
    assert system.billing == StripeConfig(provider="stripe", key_env="ACME_STRIPE_KEY")


def test_every_name_of_the_product_can_be_given(tmp_path: Path) -> None:
    """The packaged file names all of them: word by word it becomes the file of the renamed product."""
    names = {word: name for word, name in NAMES.items() if " " not in name}
    names["public"] = "Acme"
    lines = (PACKAGED / "bestauth" / "defs.yaml").read_text(encoding="utf-8").splitlines()
    text = []
    for line in lines:
        key, mark, value = line.partition(": ")
        word, blank, note = value.partition(" #")
        parameter = key.lstrip().startswith("p_")
        key = key.replace("p_user_id", names["p_user_id"])
        text.append(f"{key}{mark}{word if parameter else names.get(word, word)}{blank}{note}")
    whole = "\n".join(text).replace("    layout: ledger", "    schema: Acme\n    layout: ledger")
    store = load_file(a_system(tmp_path, whole)).store
    expected = ledger_config(names, "Acme")
    assert store.model_dump(exclude={"url_env"}) == expected.model_dump(exclude={"url_env"})


def test_the_words_of_a_ledgers_policy(tmp_path: Path) -> None:
    words = dedent("""\
        catch_up: 3
            lookback: 100 d
            reference: "acme:{subscription}:{invoice}"
            statuses: {live: active, trial: trialing, late: dunning, over: ended, none: free, gone: ended}
        """)
    policy = load_file(a_system(tmp_path, LEDGER.replace("trial: grant\n", words))).policy
    assert policy.catch_up == 3
    assert policy.lookback == timedelta(days=100)
    assert policy.reference == "acme:{subscription}:{invoice}"
    assert list(policy.statuses.items())[3:] == [
        ("over", BillingStatus.ENDED),
        ("none", BillingStatus.FREE),
        ("gone", BillingStatus.ENDED),
    ]
    current = load_file(a_system(tmp_path, LEDGER.replace("trial: grant", "catch_up: current"))).policy
    assert current.catch_up == 0


def test_columns_that_a_product_lacks_are_null(tmp_path: Path) -> None:
    text = LEDGER.replace("      grant_type", "      reference: null\n      amounts: by_type\n      grant_type")
    text = text.replace("    add:", "    users: {email: null}\n    add:")
    store = load_file(a_system(tmp_path, text)).store
    assert isinstance(store, LedgerStoreConfig)
    assert (store.transactions.reference, store.transactions.amounts, store.users.email) == (None, "by_type", None)


def test_metadata_keys_may_be_any_text(tmp_path: Path) -> None:
    text = LEDGER.replace("    add:", "    subscriptions: {keys: [store.id, Account Id]}\n    add:")
    store = load_file(a_system(tmp_path, text)).store
    assert isinstance(store, LedgerStoreConfig)
    assert store.subscriptions.keys == ("store.id", "Account Id")


ADD = "arguments: {p_user_id: account, p_amount: amount, p_type: type}"
MISTAKES = [
    ("provider: stripe", "provider: strip", 7, "billing.provider", "write `wix` or `stripe`"),
    ("provider: stripe\n", "", 6, "`billing` has no `provider`", "add it"),
    ("key_env: ACME_STRIPE_KEY", "app_id_env: X", 8, "`app_id_env` is not a key of `billing`", "it has `base_url`"),
    ("key_env: ACME", "key_env: acme", 8, "billing.key_env", "environment variable"),
    ("  store:", "    subject: []\n  store:", 9, "billing.subject", "at least 1"),
    ("  store:", "    subject: [email]\n  store:", 9, "billing.subject[0]", "`customer.metadata.KEY`"),
    ("  store:", "    plan: [nickname]\n  store:", 9, "billing.plan[0]", "`price.metadata.KEY`"),
    ("  store:", "    per_second: 0\n  store:", 9, "billing.per_second", "at least 1"),
    ("  store:", "    version: latest\n  store:", 9, "billing.version", "`2026-10-28.endive`"),
    ("layout: ledger", "layout: leger", 10, "store.layout", "write `counter` or `ledger`"),
    ("    layout: ledger\n", "", 9, "`store` has no `layout`", "add it"),
    ("layout: ledger", "layout: ledger\n    columns: {}", 11, "`columns` is not a key of `store`", "`balances`"),
    ("layout: ledger", "layout: ledger\n    balance: {}", 11, "`balance` is not a key of `store`", "`balances`?"),
    ("add_points\n", "add_points\n      args: {}\n", 18, "`args` is not a key of `store.add`", "`arguments`"),
    ("layout: ledger", "layout: ledger\n    tiers: {table: a.b}", 11, "store.tiers.table", "letters, digits"),
    ("layout: ledger", "layout: ledger\n    users: {id: 'a;b'}", 11, "store.users.id", "letters, digits"),
    ("layout: ledger", "layout: ledger\n    users: {id: null}", 11, "store.users.id", "text"),
    ("layout: ledger", "layout: ledger\n    subscriptions: {keys: []}", 11, "store.subscriptions.keys", "at least 1"),
    ("layout: ledger", "layout: ledger\n    failures: {table: f}", 11, "`store.failures` has no `account`", "add it"),
    ("layout: ledger", "layout: ledger\n    deduct_probe: true", 11, "store.deduct_probe", "no `deduct`"),
    ("types: {", "amounts: unsigned\n      types: {", 13, "store.transactions.amounts", "`signed` or `by_type`"),
    ("used: spend", "used: spent", 13, "store.transactions.types.used", "`adjustment` or `spend`"),
    ("{bought: grant, gift: adjustment, used: spend}", "[bought]", 13, "store.transactions.types", "a mapping"),
    ("grant_type: bought", "grant_type: sold", 14, "store.transactions.grant_type", "those are `bought`"),
    ("grant_type: bought", "grant_type: gift", 14, "store.transactions.grant_type", "those are `bought`"),
    ("adjustment_type: gift", "adjustment_type: used", 15, "adjustment_type", "those are `gift`"),
    ("      adjustment_type: gift\n", "", 12, "`store.transactions` has no `adjustment_type`", "add it"),
    ("gift: adjustment", "gift: purchase", 15, "adjustment_type", "those are none"),
    (ADD, "arguments: {p_user_id: account}", 18, "store.add.arguments", "no parameter receives `amount`, `type`"),
    (
        ADD,
        "arguments: {a: account, b: amount, c: amount, d: type}",
        18,
        "store.add.arguments",
        "two parameters receive `amount`",
    ),
    (ADD, "arguments: {a: account, b: amount, c: credits}", 18, "store.add.arguments.c", "`description`"),
    (ADD, "arguments: {a: account, 'b c': amount}", 18, "store.add.arguments", "letters, digits"),
    ("trial: grant", "catch_up: 13", 20, "policy.catch_up", "from 1 to 12"),
    ("trial: grant", "catch_up: 0", 20, "policy.catch_up", "`current`"),
    ("trial: grant", "catch_up: all", 20, "policy.catch_up", "`current`"),
    ("trial: grant", "catch_up: true", 20, "policy.catch_up", "`current`"),
    ("trial: grant", "lookback: 30 d", 20, "policy.lookback", "from `31 d` to `400 d`"),
    ("trial: grant", "lookback: 401 d", 20, "policy.lookback", "from `31 d` to `400 d`"),
    ("trial: grant", "lookback: 62", 20, "policy.lookback", "a unit"),
    ("trial: grant", "reference: '{account}/{plan}'", 20, "policy.reference", "add `{period_start}` or `{invoice}`"),
    ("trial: grant", "reference: '{user}/{invoice}'", 20, "policy.reference", "the fields are `{account}`"),
    ("trial: grant", "reference: '{}/{invoice}'", 20, "policy.reference", "the fields are `{account}`"),
    ("trial: grant", "reference: '{invoice.id}'", 20, "policy.reference", "the fields are `{account}`"),
    ("trial: grant", "reference: '{invoice:>99}'", 20, "policy.reference", "the fields are `{account}`"),
    ("trial: grant", "reference: '{invoice!r}'", 20, "policy.reference", "the fields are `{account}`"),
    ("trial: grant", "reference: '{invoice'", 20, "policy.reference", "`{account}`"),
    ("trial: grant", "statuses: {live: alive}", 20, "policy.statuses.live", "`active`"),
    ("trial: grant", "statuses: {live: active, past: ended}", 20, "policy.statuses", "`dunning`, `free`, `trialing`"),
    ("trial: grant", "renewal: none", 20, "`policy.renewal` has no effect", "remove it"),
    ("trial: grant", "shortfall: raise", 20, "`policy.shortfall` has no effect", "remove it"),
    ("trial: grant", "on_downgrade: keep", 20, "`policy.on_downgrade` has no effect", "remove it"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "subject", "advice"), MISTAKES, ids=[f"{m[1]!r}"[:40] for m in MISTAKES]
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, subject: str, advice: str
) -> None:
    assert LEDGER.count(old) == 1
    path = a_system(tmp_path, LEDGER.replace(old, new))
    sentence, shown, caret = refusal(path).split("\n")
    assert sentence.startswith(f"{path}, line {line}: ")
    assert subject in sentence
    assert advice in sentence
    assert set(caret.strip()) == {"^"}
    assert caret.index("^") < len(shown)


def test_a_word_that_says_nothing_is_marked_itself(tmp_path: Path) -> None:
    path = a_system(tmp_path, LEDGER.replace("trial: grant", "shortfall: raise"))
    assert refusal(path) == (
        f"{path}, line 20: `policy.shortfall` has no effect where `store.layout` is `ledger`: remove it\n"
        "        shortfall: raise\n"
        "        ^^^^^^^^^"
    )


@pytest.mark.parametrize("word", ["catch_up: current", "lookback: 62 d", "reference: '{invoice}'", "statuses: {}"])
def test_a_ledgers_words_say_nothing_about_a_counter(tmp_path: Path, word: str) -> None:
    sentence = refusal(a_system(tmp_path, ACME.replace("settle_time: 60 min", word)))
    key = word.partition(":")[0]
    if key == "statuses":
        word = "statuses: {a: active, b: trialing, c: dunning, d: ended, e: free}"
        sentence = refusal(a_system(tmp_path, ACME.replace("settle_time: 60 min", word)))
    assert f"line 19: `policy.{key}` has no effect where `store.layout` is `counter`: remove it" in sentence


def test_a_reference_without_its_column_says_nothing(tmp_path: Path) -> None:
    text = LEDGER.replace("      grant_type", "      reference: null\n      grant_type")
    assert load_file(a_system(tmp_path, text)).ledger
    told = refusal(a_system(tmp_path, text.replace("trial: grant", "reference: '{invoice}'")))
    assert "`policy.reference` has no effect without `store.transactions.reference`" in told


@pytest.mark.parametrize(
    ("text", "provider", "layout"),
    [
        (LEDGER.replace("provider: stripe\n    key_env: S", "provider: wix\n    app_id_env: S"), "wix", "ledger"),
        (ACME, "stripe", "counter"),
    ],
)
def test_only_two_pairs_of_layout_and_provider_are_accepted(
    tmp_path: Path, text: str, provider: str, layout: str
) -> None:
    wix = "provider: wix\n    app_id_env: ACME_APP_ID\n    app_secret_env: ACME_APP_SECRET"
    stripe = "provider: stripe\n    key_env: ACME_STRIPE_KEY"
    mixed = text.replace(wix, stripe) if layout == "counter" else text.replace(stripe, wix)
    sentence, shown, caret = refusal(a_system(tmp_path, mixed)).split("\n")
    assert f"a store of layout `{layout}` does not go with `{provider}`: " in sentence
    assert sentence.endswith("`counter` with `wix` and `ledger` with `stripe` do")
    assert shown[caret.index("^") : caret.rindex("^") + 1] == provider


SECRETS = ["postgres://app:hunter2@db.example.com/app", "sk_live_hunter2hunter2", "'{{ env.hunter2 }}'"]


WORDS = ["layout: ledger", "provider: stripe", "key_env: ACME_STRIPE_KEY", "grant_type: bought", "function: add_points"]
WORDS += ["used: spend", "trial: grant", "p_amount: amount"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("word", WORDS)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, word: str, secret: str) -> None:
    assert LEDGER.count(word) == 1
    path = a_system(tmp_path, LEDGER.replace(word, f"{word.partition(':')[0]}: {secret}"))
    assert "hunter2" not in refusal(path)


@pytest.mark.slow
def test_any_damage_to_a_file_is_a_sentence_or_a_system(tmp_path: Path) -> None:
    seed = 20_261_122
    chance = random.Random(seed)
    whole = (PACKAGED / "bestauth" / "defs.yaml").read_text(encoding="utf-8")
    refused: list[str] = []
    for _ in range(400):
        at = chance.randrange(len(whole))
        text = (
            whole[:at]
            + chance.choice(["", "\t", ":", "- ", "[", "{", "'", "&a ", "*a", "é", "\n", "|", "%", "!", "0"])
            + whole[at + 1 :]
        )
        try:
            load_file(a_system(tmp_path, text))
        except ConfigurationError as error:
            refused.append(str(error))
    assert len(refused) > 50, f"seed {seed}"
    assert [text for text in refused if "acme/defs.yaml" not in text] == [], f"seed {seed}"
