"""Plan resolution (semantics §3): the order, the normalisation, the labels seen in the wild, and refused catalogues."""

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Amount, Catalogue, Plan, Resolved, Rule, Unmapped, normalise
from credit_pipeline_tests.domain.builders import a_catalogue, a_plan

FREE = a_plan("free", 100, 0, free=True)


@pytest.mark.parametrize(
    ("word", "lookup_key", "metadata", "plan", "rule"),
    [
        ("price_pro", "starter_key", "starter", "pro", Rule.PROVIDER_ID),
        ("unknown", "pro_monthly", "starter", "pro", Rule.LOOKUP_KEY),
        ("starter", "pro_monthly", None, "pro", Rule.LOOKUP_KEY),
        ("unknown", "unknown", " STARTER ", "starter", Rule.METADATA),
        ("starter", None, "Pro_Plan", "pro", Rule.METADATA),
        ("Starter", None, None, "starter", Rule.ALIAS),
        ("Starter", "unknown", "unknown", "starter", Rule.ALIAS),
        (None, "pro_monthly", None, "pro", Rule.LOOKUP_KEY),
    ],
)
def test_the_first_rule_of_the_order_wins(
    word: str | None, lookup_key: str | None, metadata: str | None, plan: str, rule: Rule
) -> None:
    found = a_catalogue().resolve(word, lookup_key=lookup_key, metadata=metadata)
    assert isinstance(found, Resolved)
    assert (found.plan.name, found.rule) == (plan, rule)


@pytest.mark.parametrize(
    ("word", "plan"),
    [
        ("pro", "pro"),
        ("PRO", "pro"),  # an exact provider id here
        ("Pro", "pro"),
        (" pro ", "pro"),
        ("ＰＲＯ", "pro"),  # full width
        ("Pro Plan", "pro"),
        ("pro_plan", "pro"),
        ("pro--plan", "pro"),
        ("PRO \t PLAN", "pro"),
        ("Pro+", "pro_plus"),
        ("pro +", "pro_plus"),
        ("PRO＋", "pro_plus"),  # full-width plus
        ("Ｐｒｏ＋", "pro_plus"),
        ("pro plus", "pro_plus"),
        ("Pro-Plus", "pro_plus"),
        ("pro_plus", "pro_plus"),
        ("pro+_yearly", None),
        ("Pro (yearly)", None),
        ("pro_monthly", None),  # a lookup key is no alias
        ("pro_monthly -> business_monthly", None),
        ("Professional", None),
        ("Promo", None),
        ("premuim", None),
        ("PRICE_PRO", None),  # ids are case-sensitive
        ("price_1TGM0000", None),
        ("pro\u200b", None),  # zero-width blank
        ("рro", None),  # Cyrillic er
        ("", None),
        ("   ", None),
        (None, None),
    ],
)
def test_every_label_seen_in_the_wild(word: str | None, plan: str | None) -> None:
    found = a_catalogue().resolve(word)
    assert (found.plan.name if isinstance(found, Resolved) else None) == plan
    if plan is None:
        assert isinstance(found, Unmapped)
        assert found.raw == word


def test_an_empty_name_says_so() -> None:
    assert a_catalogue().resolve(" ") == Unmapped(raw=" ", reason="the plan's name is empty")
    assert a_catalogue().resolve("premuim") == Unmapped(raw="premuim", reason="no plan has this id or alias")


def test_an_exact_id_beats_the_same_word_in_another_case() -> None:
    plans = (FREE, a_plan("pro", 5000, 1), a_plan("team", 9000, 2, provider_ids=("PRO",)))
    catalogue = Catalogue(plans=plans)
    names = [r.plan.name for w in ("PRO", "pro", "Pro") if isinstance(r := catalogue.resolve(w), Resolved)]
    assert names == ["team", "pro", "pro"]


def test_a_label_is_matched_exactly_before_it_is_read_as_a_word() -> None:
    plans = (FREE, a_plan("pro", 5000, 1, label="tier-2"), a_plan("team", 9000, 2, provider_ids=("Tier-2",)))
    catalogue = Catalogue(plans=plans)
    found = [catalogue.resolve_label(label) for label in ("tier-2", "Tier-2", "TIER 2", "team", None)]
    assert [f.plan.name if isinstance(f, Resolved) else None for f in found] == ["pro", "team", "pro", "team", None]


@pytest.mark.parametrize(
    ("plans", "sentence"),
    [
        ((a_plan("pro", 1, 1),), "plans: exactly one plan must be marked free, found 0"),
        ((FREE, a_plan("none", 0, 1, free=True)), "plans: exactly one plan must be marked free, found 2"),
        (
            (FREE, a_plan("pro", 1, 1, aliases=("Pro+",)), a_plan("max", 2, 2, aliases=("pro_PLUS",))),
            "plans: the alias `pro plus` belongs to both `pro` and `max`: keep it on one of them",
        ),
        (
            (FREE, a_plan("pro", 1, 1), a_plan("max", 2, 2, label="Pro")),
            "plans: the alias `pro` belongs to both `pro` and `max`: keep it on one of them",
        ),
        (
            (FREE, a_plan("pro", 1, 1, provider_ids=("a",)), a_plan("max", 2, 2, provider_ids=("a",))),
            "plans: the provider id `a` belongs to both `pro` and `max`: keep it on one of them",
        ),
        (
            (FREE, a_plan("pro", 1, 1, lookup_keys=("a",)), a_plan("max", 2, 2, lookup_keys=("a",))),
            "plans: the lookup key `a` belongs to both `pro` and `max`: keep it on one of them",
        ),
        (
            (FREE, a_plan("pro", 1, 1), a_plan("max", 2, 1)),
            "plans: the rank `1` belongs to both `pro` and `max`: keep it on one of them",
        ),
        ((FREE, a_plan("pro", 1, 1, provider_ids=("",))), "plans: `pro` has an empty provider id: remove it"),
        ((FREE, a_plan("pro", 1, 1, aliases=(" -_ ",))), "plans: `pro` has an empty alias: remove it or fill it in"),
        ((FREE, a_plan("pro", 1, 1, lookup_keys=("",))), "plans: `pro` has an empty lookup key: remove it"),
    ],
)
def test_a_contradictory_catalogue_is_refused(plans: tuple[Plan, ...], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Catalogue(plans=plans)
    assert str(refusal.value).startswith(sentence)


def test_the_same_word_twice_on_one_plan_is_no_contradiction() -> None:
    catalogue = Catalogue(plans=(FREE, a_plan("pro", 1, 1, aliases=("Pro", "PRO", "pro"))))
    assert isinstance(catalogue.resolve("pRo"), Resolved)


def test_the_catalogue_knows_its_free_plan_its_largest_allowance_and_its_names() -> None:
    catalogue = a_catalogue()
    assert (catalogue.free.name, catalogue.largest_allowance) == ("free", 15_000)
    assert catalogue.named("pro") == catalogue.plans[2]
    assert catalogue.named("Pro") is None


WORDS = st.text(alphabet=st.sampled_from("proPRO＋+ _-\tpluseéſﬁ"), max_size=20)


@given(WORDS)
def test_case_blanks_and_width_never_change_the_plan(word: str) -> None:
    catalogue = a_catalogue()
    if word in catalogue.plans[2].provider_ids:
        return

    def plan(text: str) -> str | None:
        found = catalogue.resolve(text)
        return found.plan.name if isinstance(found, Resolved) else None

    variants = (f"  {word}\n", word.upper().lower(), word.replace(" ", "_"), word.replace("-", " - "))
    assert {plan(variant) for variant in variants} <= {plan(word)}


@given(st.text(max_size=30))
def test_normalising_drops_no_letter_and_no_plus(word: str) -> None:
    kept = [c for c in unicodedata.normalize("NFKC", word).casefold() if not c.isspace() and c not in "_-"]
    assert "".join(kept).replace("+", "plus") == normalise(word).replace(" ", "")


@given(st.text(max_size=30))
def test_a_word_of_no_plan_is_never_given_one(word: str) -> None:
    known = {"free", "starter", "pro", "pro plan", "pro plus"}
    found = a_catalogue().resolve(word)
    ids = {"price_starter", "price_pro", "PRO"}
    assert isinstance(found, Resolved) == (word in ids or normalise(word) in known)


def test_a_period_has_the_amount_that_was_accepted_before_it_started() -> None:
    first, second = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    former = (Amount(until=first, credits=4_000), Amount(until=second, credits=5_000))
    pro = Plan(name="pro", credits=6_000, rank=1, label="pro", former=former)
    second_before = timedelta(seconds=1)
    starts = (first - second_before, first, second - second_before, second, None)
    assert [pro.credits_from(start) for start in starts] == [4_000, 5_000, 5_000, 6_000, 4_000]
    assert pro.amounts == {4_000, 5_000, 6_000}
    then = pro.as_of(first)
    assert (then.credits, then.amounts, [then.credits_from(start) for start in starts]) == (
        5_000,
        pro.amounts,
        [pro.credits_from(start) for start in starts],
    )
    assert then.as_of(first) == then
