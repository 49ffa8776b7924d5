"""Resolves a listing provider's plan names to our plans, once per distinct name in a pull (semantics §3).

A subscription names its plan by id, lookup key and metadata, its invoices by the id alone: what the id of a price means
is therefore learnt from the subscriptions of the same pull.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, Resolution, Resolved
from credit_pipeline.services.reconcile.screen import billed_resolution

COLUMNS = ("status", "raw_plan", "lookup_key", "metadata", "cycle")


class Word(NamedTuple):
    """One way in which a subscription is described."""

    status: str | None
    raw_plan: str | None
    lookup_key: str | None
    metadata: str | None
    cycle: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Word":
        """The words of one subscription's row."""
        return cls(*(row[name] for name in COLUMNS))


class PlanWords:
    """The plans of one pull's words."""

    def __init__(self, catalogue: Catalogue, words: Iterable[Word]) -> None:
        self.catalogue = catalogue
        self._known = {word: self._resolve(word) for word in words}
        prices: dict[str, set[str]] = {}
        for word, resolution in self._known.items():
            if word.raw_plan is not None and isinstance(resolution, Resolved) and not resolution.plan.free:
                prices.setdefault(word.raw_plan, set()).add(resolution.plan.name)
        self._prices = {raw: next(iter(names)) for raw, names in prices.items() if len(names) == 1}

    @classmethod
    def spoken_in(cls, catalogue: Catalogue, subscriptions: pa.Table) -> "PlanWords":
        """The words of a table of listed subscriptions."""
        distinct = subscriptions.select(list(COLUMNS)).group_by(list(COLUMNS)).aggregate([])
        return cls(catalogue, map(Word.of, distinct.to_pylist()))

    def plans(self) -> Iterator[tuple[Word, Plan]]:
        """The words that name a plan."""
        return ((word, known.plan) for word, known in self._known.items() if isinstance(known, Resolved))

    def resolve(self, row: Mapping[str, Any]) -> Resolution | None:
        """What a subscription is of; None where billing gave no state."""
        word = Word.of(row)
        if word not in self._known:
            self._known[word] = self._resolve(word)
        return self._known[word]

    def billed(self, raw_plan: str | None) -> Plan | None:
        """What an invoice line is for; None where its price is in no catalogue."""
        resolution = self.catalogue.resolve(raw_plan)
        if isinstance(resolution, Resolved):
            return resolution.plan
        name = self._prices.get(raw_plan or "")
        return self.catalogue.named(name) if name else None

    def _resolve(self, word: Word) -> Resolution | None:
        return billed_resolution(
            self.catalogue, word.status, word.raw_plan, lookup_key=word.lookup_key, metadata=word.metadata
        )
