"""Plans and how a provider's or a store's word for a plan is resolved (semantics §3).

An unknown word is a finding, never a default: `Pro+` once became `pro` and 15,000 credits became 5,000.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from credit_pipeline.domain.errors import ConfigurationError


class Rule(StrEnum):
    """Which step of the resolution order recognised the plan; kept for the auditor."""

    PROVIDER_ID = "provider_id"
    LOOKUP_KEY = "lookup_key"
    METADATA = "metadata"
    ALIAS = "alias"
    FREE = "free"


class YearlyMode(StrEnum):
    """How a yearly subscription of a plan receives its credits; there is no default."""

    DRIP = "drip"
    UPFRONT = "upfront"


_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What a plan's period gave that started before `until`: a person accepted another amount then."""

    until: datetime
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One plan of the catalogue. `credits` is the allowance of one period; `rank` orders upgrades and downgrades."""

    name: str
    credits: int
    rank: int
    label: str
    """What the product's own table calls this plan; the value a correction writes."""
    free: bool = False
    provider_ids: tuple[str, ...] = ()
    lookup_keys: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    yearly: YearlyMode | None = None
    former: tuple[Amount, ...] = ()
    """Oldest first. A changed amount is for periods that start after it; customers of older ones were sold these."""

    def credits_from(self, start: datetime | None) -> int:
        """The allowance of a period that started then. Without periods nobody's start is known: the least there was.

        The free plan has none, also where somebody is told by a paid one that ended.
        """
        if start is None or self.free:
            return min(self.amounts)
        return next((amount.credits for amount in self.former if start < amount.until), self.credits)

    @property
    def amounts(self) -> frozenset[int]:
        """What a period gives or ever gave."""
        return frozenset({self.credits, *(amount.credits for amount in self.former)})

    def as_of(self, start: datetime | None) -> "Plan":
        """The plan as a period that started then has it."""
        credits = self.credits_from(start)
        if credits == self.credits:
            return self
        return replace(self, credits=credits, former=(*self.former, Amount(until=_NEVER, credits=self.credits)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A word that names exactly one plan."""

    plan: Plan
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmapped:
    """A word that names no plan we know; reported with its raw text."""

    raw: str | None
    reason: str


Resolution = Resolved | Unmapped


def normalise(word: str) -> str:
    """NFKC, casefold, trim, `+` → ` plus`, runs of blanks, underscores and hyphens → one blank.

    >>> normalise("  Pro＋_Yearly ")
    'pro plus yearly'
    """
    text = unicodedata.normalize("NFKC", word).casefold().strip().replace("+", " plus")
    return re.sub(r"[\s_-]+", " ", text).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All plans of one system, indexed for resolution; contradictions are refused when it is built."""

    plans: tuple[Plan, ...]
    _ids: Mapping[str, Plan] = field(init=False, repr=False, compare=False)
    _keys: Mapping[str, Plan] = field(init=False, repr=False, compare=False)
    _aliases: Mapping[str, Plan] = field(init=False, repr=False, compare=False)
    _labels: Mapping[str, Plan] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        free = [plan.name for plan in self.plans if plan.free]
        if len(free) != 1:
            raise ConfigurationError(
                f"plans: exactly one plan must be marked free, found {len(free)}: set `free: true` on one of them"
            )
        set_ = object.__setattr__
        set_(self, "_ids", _index(((i, p) for p in self.plans for i in p.provider_ids), "provider id"))
        set_(self, "_keys", _index(((k, p) for p in self.plans for k in p.lookup_keys), "lookup key"))
        set_(self, "_labels", _index(((p.label, p) for p in self.plans), "label"))
        words = ((normalise(a), p) for p in self.plans for a in (p.name, p.label, *p.aliases))
        set_(self, "_aliases", _index(words, "alias"))
        _index(((p.name, p) for p in self.plans), "name", once=True)
        _index(((str(p.rank), p) for p in self.plans), "rank", once=True)

    def as_of(self, start: datetime | None) -> "Catalogue":
        """All plans as a period that started then has them."""
        plans = tuple(plan.as_of(start) for plan in self.plans)
        return self if plans == self.plans else Catalogue(plans=plans)

    @property
    def free(self) -> Plan:
        """The plan of an account that pays nothing."""
        return next(plan for plan in self.plans if plan.free)

    @property
    def largest_allowance(self) -> int:
        """The largest allowance of one period, in credits."""
        return max(plan.credits for plan in self.plans)

    def named(self, name: str) -> Plan | None:
        """The plan of that canonical name, or None."""
        return next((plan for plan in self.plans if plan.name == name), None)

    def resolve(self, word: str | None, *, lookup_key: str | None = None, metadata: str | None = None) -> Resolution:
        """What billing calls the plan → the plan, with the rule that hit (semantics §3, in that order)."""
        if word is not None and (plan := self._ids.get(word)) is not None:
            return Resolved(plan=plan, rule=Rule.PROVIDER_ID)
        if lookup_key is not None and (plan := self._keys.get(lookup_key)) is not None:
            return Resolved(plan=plan, rule=Rule.LOOKUP_KEY)
        if metadata is not None and (plan := self._aliases.get(normalise(metadata))) is not None:
            return Resolved(plan=plan, rule=Rule.METADATA)
        if word is not None and (plan := self._aliases.get(normalise(word))) is not None:
            return Resolved(plan=plan, rule=Rule.ALIAS)
        if word is None or not word.strip():
            return Unmapped(raw=word, reason="the plan's name is empty")
        return Unmapped(raw=word, reason="no plan has this id or alias")

    def resolve_label(self, label: str | None) -> Resolution:
        """What the product's own table calls the plan → the plan."""
        if label is not None and (plan := self._labels.get(label)) is not None:
            return Resolved(plan=plan, rule=Rule.PROVIDER_ID)
        return self.resolve(label)


def _index(pairs: Iterable[tuple[str, Plan]], kind: str, *, once: bool = False) -> dict[str, Plan]:
    index: dict[str, Plan] = {}
    for key, plan in pairs:
        if not key:
            raise ConfigurationError(f"plans: `{plan.name}` has an empty {kind}: remove it or fill it in")
        other = index.setdefault(key, plan)
        if other != plan or (once and other is not plan):
            raise ConfigurationError(
                f"plans: the {kind} `{key}` belongs to both `{other.name}` and `{plan.name}`: keep it on one of them"
            )
    return index
