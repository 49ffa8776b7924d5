"""A judgement's inputs as data, and ports that answer from it. Classes are named, modules are not: they may move."""

import base64
import dataclasses
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

import credit_pipeline.domain
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.services.collect import ports as source_ports
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile import ports as memory_ports
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report

RENAMED: dict[str, str] = {}
"""Class in older data -> its name now."""


def inputs_of(
    system: Any,
    gateways: Gateways,
    snapshots: Sequence[Any],
    given: Mapping[str, Any],
    memory: Mapping[str, Any],
    plans: Mapping[str, Any],
) -> dict[str, Any]:
    """All that `reconcile` was given and asked for."""
    read = dict(zip(("balances", "subscriptions"), snapshots, strict=True))
    if given.get("identities") is not None:
        read["identities"] = given["identities"]
    return {
        "system": {
            "name": system.name,
            "ledger": system.ledger,
            "catalogue": encode(system.catalogue),
            "policy": encode(system.policy),
        },
        "snapshots": {name: encode(snapshot) for name, snapshot in read.items()},
        "tables": {name: encode(gateways.snapshots.read(snapshot)) for name, snapshot in read.items()},
        "price_list": encode(dict(gateways.store.catalogue())),
        "lists": gateways.billing.lists,
        "provider": gateways.billing.provider,
        "memory": {name: encode(answer) for name, answer in memory.items()},
        "plans": {name: encode(answer) for name, answer in plans.items()},
        "given": {name: encode(given.get(name)) for name in ("now", "settle", "accounts", "keep_all")},
    }


def replayed(inputs: Mapping[str, Any]) -> tuple[Report, dict[str, Any]]:
    """The report that today's code makes of recorded inputs, and what it would remember."""
    known = inputs["system"]
    packaged = sandbox_system("bestauth" if known["ledger"] else "wix_app")
    system = dataclasses.replace(
        packaged, name=known["name"], catalogue=decode(known["catalogue"]), policy=decode(known["policy"])
    )
    snapshots = {name: decode(one) for name, one in inputs["snapshots"].items()}
    tables = {snapshots[name].path: decode(one) for name, one in inputs["tables"].items()}
    memory = Answering({name: decode(answer) for name, answer in inputs["memory"].items()})
    gateways: Any = SimpleNamespace(
        memory=memory,
        plans=Answering({name: decode(answer) for name, answer in inputs["plans"].items()}),
        snapshots=SimpleNamespace(read=lambda snapshot: tables[snapshot.path]),
        store=Answering({"catalogue": decode(inputs["price_list"])}),
        billing=SimpleNamespace(lists=inputs["lists"], provider=inputs["provider"]),
        inbox=None,
        at_home=False,
    )
    given = {name: decode(value) for name, value in inputs["given"].items()}
    report = reconcile(
        system,
        gateways,
        snapshots["balances"],
        snapshots["subscriptions"],
        identities=snapshots.get("identities"),
        **{name: value for name, value in given.items() if value is not None},
    )
    return report, memory.remembering


class Answering:
    """A port that answers as it once did."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self.remembering: dict[str, Any] = {}

    def installed(self) -> bool:
        """Whether there was a memory."""
        return bool(self._answers.get("installed", False))

    def remembered(self, accounts: Sequence[Any], _now: datetime) -> Mapping[Any, Any]:
        """What was remembered of these accounts; who was no suspect then has nothing here."""
        known = self._answers.get("remembered", {})
        return {account: known.get(account, _empty_memory()) for account in accounts}

    def record(self, _record: Any, **what: Any) -> None:
        """Nothing is kept but what belongs to the outcome."""
        from credit_pipeline_tests.judgements.recorder import Listening

        listening = Listening(SimpleNamespace(record=lambda *_, **__: None))
        listening.record(_record, **what)
        self.remembering = listening.remembering

    def __getattr__(self, name: str) -> Any:
        answer = self._answers.get(name)
        return lambda *_, **__: answer


def _empty_memory() -> Any:
    return class_named("Memory")()


def encode(value: Any) -> Any:
    """A value as JSON."""
    if isinstance(value, pa.Table):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(value)
        return {"$table": base64.b64encode(sink.getvalue()).decode()}
    if isinstance(value, Enum):
        return {"$enum": type(value).__name__, "value": value.value}
    if isinstance(value, datetime):
        return {"$at": value.isoformat()}
    if isinstance(value, timedelta):
        return {"$seconds": value.total_seconds()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"$class": type(value).__name__, "fields": fields}
    if isinstance(value, Mapping):
        return {"$pairs": [[encode(key), encode(inner)] for key, inner in value.items()]}
    if isinstance(value, tuple | frozenset | set):
        return {"$tuple" if isinstance(value, tuple) else "$set": [encode(inner) for inner in value]}
    if isinstance(value, list):
        return [encode(inner) for inner in value]
    assert value is None or isinstance(value, str | int | float | bool), type(value)
    return value


def decode(value: Any) -> Any:
    """The inverse of encode."""
    if isinstance(value, list):
        return [decode(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$table": text}:
            return pa.ipc.open_stream(base64.b64decode(text)).read_all()
        case {"$enum": name, "value": inner}:
            return class_named(name)(inner)
        case {"$at": text}:
            return datetime.fromisoformat(text)
        case {"$seconds": seconds}:
            return timedelta(seconds=seconds)
        case {"$class": name, "fields": fields}:
            return class_named(name)(**{field: decode(inner) for field, inner in fields.items()})
        case {"$pairs": pairs}:
            return {decode(key): decode(inner) for key, inner in pairs}
        case {"$tuple": inner}:
            return tuple(decode(one) for one in inner)
        case {"$set": inner}:
            return frozenset(decode(one) for one in inner)
    raise ValueError(f"not a recorded value: {sorted(value)}")


def class_named(name: str) -> Any:
    """The class of that name in the domain or among the ports."""
    return _classes()[RENAMED.get(name, name)]


@cache
def _classes() -> dict[str, Any]:
    modules = [source_ports, memory_ports, *_modules()]
    return {name: one for module in modules for name, one in vars(module).items() if isinstance(one, type)}


def _modules() -> Iterator[Any]:
    package = credit_pipeline.domain
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield import_module(found.name)
