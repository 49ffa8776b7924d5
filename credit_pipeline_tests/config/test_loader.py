"""The folder of systems: what a file may say, and how each mistake is shown to the person who made it."""

import dataclasses
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from credit_pipeline.config.loader import PACKAGED, load_file, load_system, load_systems
from credit_pipeline.config.policy import LimitsSection, PolicySection
from credit_pipeline.config.store import CounterStoreConfig
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Resolved, YearlyMode
from credit_pipeline.domain.policy import Limits, Policy, Renewal

ACME = dedent("""\
    type: credit_pipeline.components.CreditReconciliation
    attributes:
      plans:
        - name: free
          free: true
          credits: 100
        - name: pro
          credits: 5000
          aliases: [Gold]
      billing:
        provider: wix
        app_id_env: ACME_APP_ID
        app_secret_env: ACME_APP_SECRET
      store:
        layout: counter
        url_env: ACME_DATABASE_URL
      policy:
        renewal: reset_used
        settle_time: 60 min
        limits:
          rows_share: 0.05
      schedule:
        cron: "0 */6 * * *"
    """)

URL = "    url_env: ACME_DATABASE_URL"


def a_system(folder: Path, text: str = ACME, name: str = "acme") -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_file(path)
    return str(caught.value)


def test_the_packaged_product_is_the_seed_incidents_app() -> None:
    system = load_system("wix_app", environ={})
    assert isinstance(system.store, CounterStoreConfig)
    assert {plan.label: plan.credits for plan in system.catalogue.plans} == {
        "free": 100,
        "starter": 1000,
        "pro": 5000,
        "pro_plus": 15000,
    }
    assert system.env_names == ("WIX_DATABASE_URL", "WIX_APP_ID", "WIX_APP_SECRET")
    assert (system.store.table, system.store.account, system.store.columns.used) == (
        "app_instances",
        "instance_id",
        "credits_used_month",
    )
    assert system.environment == "sandbox"
    assert system.policy.renewal is Renewal.RESET_USED
    assert not system.policy.automation_apply
    assert {plan.yearly for plan in system.catalogue.plans if not plan.free} == {YearlyMode.DRIP}


def test_the_packaged_folder_holds_both_products() -> None:
    assert [system.name for system in load_systems(environ={})] == ["bestauth", "wix_app"]


def test_pro_plus_typed_as_a_name_is_never_pro() -> None:
    catalogue = load_system("wix_app", environ={}).catalogue
    for word in ("Pro+", "PRO +", "pro_plus", "Pro Plus"):
        found = catalogue.resolve(word)
        assert isinstance(found, Resolved)
        assert found.plan.name == "pro_plus"


def test_every_word_of_the_policy_is_a_key_with_the_domains_default() -> None:
    words, limits = dict(PolicySection()), dict(LimitsSection())
    policy = {field.name: getattr(Policy(), field.name) for field in dataclasses.fields(Policy)}
    del policy["automation_apply"]  # stands under `automation`
    assert words.pop("limits") == LimitsSection()
    assert policy.pop("limits") == Limits(**limits)
    assert words == policy


def test_a_third_product_is_a_folder_with_one_file(tmp_path: Path) -> None:
    a_system(tmp_path)
    (system,) = load_systems(environ={"CREDIT_PIPELINE_DEFS": str(tmp_path)})
    assert system.name == "acme"
    assert system.catalogue.plans[1].rank == 1
    assert system.catalogue.plans[1].label == "pro"
    assert system.policy.settle_time == timedelta(minutes=60)
    assert system.environment == "production"
    assert system.billing.base_url == "https://www.wixapis.com"


def test_the_folder_given_wins_over_the_environment(tmp_path: Path) -> None:
    a_system(tmp_path / "given", name="given_one")
    a_system(tmp_path / "named", name="named_one")
    found = load_systems(tmp_path / "given", environ={"CREDIT_PIPELINE_DEFS": str(tmp_path / "named")})
    assert [system.name for system in found] == ["given_one"]


def test_a_word_may_be_mapped_to_a_plan_by_name(tmp_path: Path) -> None:
    text = ACME.replace("  billing:", "  aliases: {Team 2023: pro}\n  billing:")
    found = load_file(a_system(tmp_path, text)).catalogue.resolve("TEAM  2023")
    assert isinstance(found, Resolved)
    assert found.plan.name == "pro"


def test_each_role_of_the_database_may_have_a_variable_of_its_own(tmp_path: Path) -> None:
    keys = "".join(f"\n    {role}_url_env: ACME_{role.upper()}" for role in ("reader", "corrector", "approver"))
    plain, roles = (load_file(a_system(tmp_path, ACME.replace(URL, URL + more))) for more in ("", keys))
    assert (plain.four_eyes, plain.store.reader_url_env) == (False, None)
    assert roles.four_eyes  # the approver has a login of its own
    store = roles.store
    assert (store.reader_url_env, store.corrector_url_env, store.approver_url_env) == (
        "ACME_READER", "ACME_CORRECTOR", "ACME_APPROVER",
    )  # fmt: skip
    assert set(roles.env_names) - set(plain.env_names) == {"ACME_READER", "ACME_CORRECTOR", "ACME_APPROVER"}


def test_two_roles_do_not_share_a_variable(tmp_path: Path) -> None:
    same = f"\n    reader_url_env: {URL.rsplit(maxsplit=1)[-1]}"
    assert "is named by another key of `store` too" in refusal(a_system(tmp_path, ACME.replace(URL, URL + same)))


def test_one_broken_file_does_not_hide_another_system(tmp_path: Path) -> None:
    a_system(tmp_path)
    broken = a_system(tmp_path, "attributes: [", name="broken")
    assert load_system("acme", tmp_path).name == "acme"
    with pytest.raises(ConfigurationError, match=str(broken)):
        load_systems(tmp_path)


def test_a_misspelt_key_is_shown_with_carets_and_the_likely_word(tmp_path: Path) -> None:
    path = a_system(tmp_path, ACME.replace("settle_time", "setle_time"))
    assert refusal(path) == (
        f"{path}, line 19: `setle_time` is not a key of `policy`: did you mean `settle_time`?\n"
        "        setle_time: 60 min\n"
        "        ^^^^^^^^^^"
    )


MISTAKES = [
    ("credits: 5000", "credits: 5k", 8, "plans[1].credits", "whole number"),
    ("credits: 5000", "credits: -1", 8, "plans[1].credits", "at least 0"),
    ("credits: 5000", "credits: 0100", 8, "", "plain number"),
    ("credits: 5000", "credits: 1:30", 8, "", "plain number"),
    ("credits: 5000", "credits: true", 8, "plans[1].credits", "whole number"),
    ("credits: 5000", f"credits: {'9' * 4000}", 8, "", "plain number"),
    ("credits: 5000", "credit: 5000", 8, "`credit`", "did you mean `credits`?"),
    ("          credits: 5000\n".removeprefix("    "), "", 7, "`plans[1]` has no `credits`", "add it"),
    ("name: pro\n", "name: Pro\n", 7, "plans[1].name", "lower-case"),
    ("name: pro\n", "name: no\n", 7, "plans[1].name", "put quotes"),
    ("free: true", "free: maybe", 5, "plans[0].free", "`true` or `false`"),
    ("free: true", "free: false", 3, "plans", "exactly one plan must be marked free"),
    ("[Gold]", "[free]", 9, "the alias `free` belongs to both", "keep it on one"),
    ("provider: wix", "provider: wax", 11, "billing.provider", "write `wix` or `stripe`"),
    ("provider: wix\n    app", "app", 10, "`billing` has no `provider`", "add it"),
    ("layout: counter", "layout: ledgers", 15, "store.layout", "write `counter` or `ledger`"),
    ("layout: counter", "layout: [counter]", 15, "store.layout", "write `counter` or `ledger`"),
    (
        "  store:\n    layout: counter\n    url_env: ACME_DATABASE_URL",
        "  store: here",
        14,
        "`store`",
        "a mapping of keys",
    ),
    (
        "layout: counter",
        "layout: counter\n    deduct_probe: no",
        16,
        "`deduct_probe` is not a key of `store`",
        "it has `approver",
    ),
    ("settle_time: 60 min", "catch_up: 2", 19, "`policy.catch_up` has no effect", "remove it"),
    ("url_env: ACME", "url_env: acme", 16, "store.url_env", "environment variable"),
    ("renewal: reset_used", "renewal: resetused", 18, "policy.renewal", "`reset_used`"),
    ("60 min", "60", 19, "policy.settle_time", "`60 min`, `24 h` or `2 d`"),
    ("60 min", "999999 d", 19, "policy.settle_time", "at most `366 d`"),
    ("rows_share: 0.05", "max_snapshot_age: 2 d", 21, "policy.limits.max_snapshot_age", "from `1 min` to `1 d`"),
    ("rows_share: 0.05", "max_snapshot_age: 59 s", 21, "policy.limits.max_snapshot_age", "from `1 min` to `1 d`"),
    ("rows_share: 0.05", "max_clock_skew: 0 s", 21, "policy.limits.max_clock_skew", "from `1 s` to `10 min`"),
    ("rows_share: 0.05", "max_clock_skew: 11 min", 21, "policy.limits.max_clock_skew", "from `1 s` to `10 min`"),
    ("rows_share: 0.05", "max_clock_skew: 30", 21, "policy.limits.max_clock_skew", "`30 s` for a clock"),
    ("rows_share: 0.05", "flap_changes: 0", 21, "policy.limits.flap_changes", "at least 1"),
    ("rows_share: 0.05", "flap_window: 59 min", 21, "policy.limits.flap_window", "from `1 h` to `31 d`"),
    ("rows_share: 0.05", "flap_share: 1.01", 21, "policy.limits.flap_share", "at most 1"),
    ("rows_share: 0.05", "flap_floor: -1", 21, "policy.limits.flap_floor", "at least 0"),
    ("rows_share: 0.05", "canary: 0", 21, "policy.limits.canary", "at least 1"),
    ("rows_share: 0.05", "batch: 201", 21, "policy.limits.batch", "at most 200"),
    ("rows_share: 0.05", "batch: 4", 21, "`canary` is 5 rows and `batch` 4", "a canary of at most 4 rows"),
    ("rows_share: 0.05", "breaker: 0", 21, "policy.limits.breaker", "at least 1"),
    ("rows_share: 0.05", "breaker: 3.5", 21, "policy.limits.breaker", "whole number"),
    ("rows_share: 0.05", "rows_share: 5.0", 21, "policy.limits.rows_share", "at most 1"),
    ("rows_share: 0.05", "row_share: 0.05", 21, "`row_share`", "did you mean `rows_share`?"),
    ('"0 */6 * * *"', "hourly", 23, "schedule.cron", "five fields"),
    ("  schedule:", "  schedule:\n    timezone: Europe/Brlin", 23, "schedule.timezone", "Europe/Berlin"),
    ("  schedule:", "  polcy: {}\n  schedule:", 22, "`polcy`", "did you mean `policy`?"),
    ("  billing:", "  aliases: {Team: proo}\n  billing:", 10, "`proo`, named by `Team`, is no plan", "`pro`"),
    ("provider: wix", "provider: wix\n    base_url: http://api.example.com", 12, "billing.base_url", "https"),
    ("layout: counter", "layout: counter\n    table: public.t", 16, "store.table", "letters, digits"),
    ("layout: counter", "layout: counter\n    table: 'a; drop table b'", 16, "store.table", "letters, digits"),
    ("name: free", "name: &a free", 4, "anchors and aliases", "write the value out"),
    ("name: free", "name: free\n      name: free2", 5, "`name` stands here twice", "keep one"),
    ("name: free", "name: !!python/object:os.system free", 4, "", "put quotes"),
    ("attributes:", "attribute:", 2, "`attribute`", "did you mean `attributes`?"),
    ("CreditReconciliation", "CreditThing", 1, "`type` must be", "CreditReconciliation"),
    ("credits: 5000", "credits: [5000", 9, "no valid YAML", "correct the line"),
    ("credits: 5000", "\tcredits: 5000", 8, "no valid YAML", "correct the line"),
    ("[Gold]", "[Gold, 7]", 9, "plans[1].aliases[1]", "put quotes"),
    ("[Gold]", "Gold", 9, "plans[1].aliases", "a list"),
    (
        "    - name: pro\n      credits: 5000\n      aliases: [Gold]\n",
        "",
        3,
        "a paid plan is missing",
        "list the free plan",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "subject", "advice"), MISTAKES, ids=[m[1][:24].strip() for m in MISTAKES]
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, subject: str, advice: str
) -> None:
    assert ACME.count(old) >= 1
    at = ACME.rindex(old) if old == "credits: 5000" else ACME.index(old)
    path = a_system(tmp_path, ACME[:at] + new + ACME[at + len(old) :])
    sentence, shown, caret = refusal(path).split("\n")
    assert sentence.startswith(f"{path}, line {line}: ")
    assert subject in sentence
    assert advice in sentence
    assert shown.strip()
    assert set(caret.strip()) == {"^"}


SECRETS = [
    "postgres://app:hunter2@db.example.com/app",
    "postgresql://db.example.com/hunter2",
    "https://user:hunter2@example.com",
    "sk_live_hunter2hunter2",
    "host=db password=hunter2",
    "'{{ env.hunter2 }}'",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "key", ["url_env: ACME_DATABASE_URL", "layout: counter", "renewal: reset_used", "name: free", "plans:"]
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str, secret: str) -> None:
    word, _, _ = key.partition(":")
    path = a_system(tmp_path, ACME.replace(key, f"{word}: {secret}", 1))
    assert "hunter2" not in refusal(path)


def test_a_secret_under_a_misspelt_key_is_not_repeated(tmp_path: Path) -> None:
    path = a_system(tmp_path, ACME.replace("url_env: ACME_DATABASE_URL", "url: postgres://app:hunter2@db/app"))
    text = refusal(path)
    assert "`url` is not a key of `store`: did you mean `url_env`?" in text
    assert "hunter2" not in text


def test_a_template_is_refused_with_the_advice_to_name_the_variable(tmp_path: Path) -> None:
    path = a_system(tmp_path, ACME.replace("  plans:", "  description: '{{ env.X }}'\n  plans:"))
    assert "put only the name of an environment variable in the file" in refusal(path)


def test_a_bomb_of_aliases_is_refused_before_it_is_built(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    assert "anchors and aliases" in refusal(a_system(tmp_path, f"a0: &a0 x\n{levels}\n"))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "nested deeper" in refusal(a_system(tmp_path, "a: " + "[" * 50_000))


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    assert "more than 262,144" in refusal(a_system(tmp_path, ACME + "#" * 300_000))


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = a_system(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(path)
    path.write_bytes(b"a: \x01")
    assert "characters that YAML does not allow" in refusal(path)


@pytest.mark.parametrize("name", ["Acme", "acme-2", "2acme", "a" * 42])
def test_a_folders_name_must_do_as_a_systems_name(tmp_path: Path, name: str) -> None:
    assert "rename the folder" in refusal(a_system(tmp_path, name=name))


def test_an_unknown_system_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_system("wix_ap", environ={})
    assert str(caught.value) == "no system is called `wix_ap`: the systems are `bestauth`, `wix_app`"


@pytest.mark.parametrize("name", ["../wix_app", "", "wix_app/", "/"])
def test_a_systems_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no system is called"):
        load_system(name, environ={})


def test_a_folder_that_is_missing_or_empty_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist: set CREDIT_PIPELINE_DEFS"):
        load_systems(tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"no sub-folder with a defs\.yaml"):
        load_systems(tmp_path)
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "defs.yml").write_text("")
    with pytest.raises(ConfigurationError, match=r"rename it to defs\.yaml"):
        load_systems(tmp_path)


@pytest.mark.slow
def test_any_damage_to_a_file_is_a_sentence_or_a_system(tmp_path: Path) -> None:
    seed = 20_261_121
    chance = random.Random(seed)
    whole = (PACKAGED / "wix_app" / "defs.yaml").read_text(encoding="utf-8")
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


def test_loading_systems_does_not_import_dagster() -> None:
    code = (
        "import sys; from credit_pipeline.config.loader import load_systems; load_systems();"
        "sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={}, check=False).returncode == 0
