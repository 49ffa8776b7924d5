"""`systems`: what is configured, where it reads from, and whether it is ready. Works with an empty environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, grid, moment, plain
from credit_pipeline.cli.exit_codes import COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import CreditPipelineError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.alerts.ports import Outbox


@click.command(cls=Command)
@click.pass_obj
def systems(session: Session) -> int:
    """Show what is configured and how ready it is.

    Variables are shown as set or missing, never with their values. A faulty file of one system does not hide the
    others.
    """
    shown, faults = [], []
    for name in _names(session):
        try:
            shown.append(_as_json(session, session.system(name)))
        except CreditPipelineError as error:
            faults.append(str(error))
    session.show({"systems": shown, "faults": faults}, lambda: _text(shown))
    for fault in faults:
        session.say(fault)
    return COULD_NOT_TELL if faults else NOTHING


def _names(session: Session) -> list[str]:
    from credit_pipeline.config.loader import FILE, folder_in_effect, load_systems

    folder = folder_in_effect(session.folder)
    names = sorted(child.parent.name for child in folder.glob(f"*/{FILE}")) if folder.is_dir() else []
    return names or [found.name for found in load_systems(folder)]  # which refuses an empty folder


def _as_json(session: Session, system: CreditSystem) -> dict[str, Any]:
    variables = {name: bool(os.environ.get(name)) for name in system.env_names}
    needed = (system.store.url_env, *system.billing.variables)
    times = system.schedule
    return {
        "name": system.name,
        "description": system.description,
        "environment": system.environment,
        "sources": {
            "store": {
                "table": f"{system.store.schema}.{system.store.table}",
                "layout": "ledger" if system.ledger else "counter",
            },
            "billing": {"provider": system.billing.provider, "base_url_from": system.billing.base_url_env},
            "variables": variables,
            "optional": [name for name in variables if name not in needed],
        },
        "plans": {plan.name: plan.credits for plan in system.catalogue.plans},
        "policy": dict(_changed_policy(system)),
        "schedule": {
            "cron": times.reconcile.line_for(f"{system.name}_reconcile"),
            "timezone": times.reconcile.timezone,
            "writes": system.policy.automation_apply,
            "health": {"cron": times.health.line_for(f"{system.name}_health"), "timezone": times.health.timezone},
        },
        "alerts": {
            "sinks": [name for name in ("log", "webhook", "email") if getattr(system.alerts, name)],
            "variables": {name: bool(os.environ.get(name)) for name in system.alerts.variables},
        },
        "four_eyes": system.four_eyes,
        **_state(session, system),
    }


def _changed_policy(system: CreditSystem) -> Iterator[tuple[str, Any]]:
    """The policy settings that differ from their defaults."""
    from credit_pipeline.domain.policy import Limits, Policy

    for prefix, own, default in (("", system.policy, Policy()), ("limits.", system.policy.limits, Limits())):
        for name in type(default).__dataclass_fields__:
            value = getattr(own, name)
            if name != "limits" and value != getattr(default, name):
                yield prefix + {"automation_apply": "automation.apply"}.get(name, name), _in_minutes(value)


def _in_minutes(value: Any) -> Any:
    return f"{value.total_seconds() / 60:g} min" if hasattr(value, "total_seconds") else value


def _state(session: Session, system: CreditSystem) -> dict[str, Any]:
    """Whether and how it is installed, and its last complete collection. Null if the database cannot be asked."""
    from credit_pipeline.adapters.connect import missing_variables
    from credit_pipeline.adapters.database_only import writing_rights

    names = ("installed", "install", "last_complete_collection", "stopped", "undelivered")
    unknown: dict[str, Any] = {**dict.fromkeys(names), "ready": False}
    sandbox = session.sandbox_answers(system)
    missing = missing_variables(system, os.environ)
    if missing and not sandbox:
        return unknown | {"readiness": f"set {', '.join(missing)}"}
    try:
        with session.gateways(system) as gateways:
            rights = writing_rights(system, os.environ)
            if not gateways.memory.installed():
                readiness = rights.missing or f"check works; credit-pipeline init {system.name} before fix"
                return unknown | {"installed": False, "install": rights.install, "readiness": readiness}
            last = gateways.memory.last_collection()
            as_of = last.as_of.isoformat() if last else None
            undelivered = _undelivered(gateways.outbox)
            if gateways.at_home:
                readiness = rights.missing or f"report-only until credit-pipeline init {system.name}"
                found = {"installed": False, "install": rights.install, "last_complete_collection": as_of}
                readiness += "; history in the home folder"
                return unknown | found | {"undelivered": undelivered, "readiness": readiness}
            with session.lifecycle(system) as lifecycle:
                stopped = lifecycle.stopped()
    except CreditPipelineError as error:
        return unknown | {"readiness": str(error)}
    report_only = not system.ledger and system.policy.renewal is None
    readiness = "report-only: policy.renewal is not declared" if report_only else rights.missing or "ready"
    if rights.failed_applies and not stopped:
        readiness += f"; {rights.failed_applies} applies in a row have failed"
    if stopped:
        by = f" by {stopped.by}" if stopped.by else ""
        readiness = f"stopped{by} since {stopped.since:%Y-%m-%d %H:%M} UTC: {stopped.reason or 'no reason given'}"
    if sandbox:
        readiness += ", on the sandbox of this working folder"
    return {
        "installed": True,
        "install": rights.install,
        "last_complete_collection": as_of,
        "ready": not report_only and stopped is None and rights.missing is None,
        "stopped": stopped is not None,
        "undelivered": undelivered,
        "readiness": readiness,
    }


def _undelivered(outbox: Outbox | None) -> dict[str, Any] | None:
    """Alerts that a sink has not received; null if the database has no table for them."""
    if outbox is None or not outbox.installed():
        return None
    unheard = outbox.unheard()
    return {"waiting": unheard.waiting, "late": unheard.late, "last_error": unheard.last_error}


def _text(systems: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """One block per system."""
    from rich.padding import Padding

    parts: list[RenderableType] = []
    for system in systems:
        parts += ["", bold(system["name"]), Padding(_facts(system), (0, 0, 0, 2))]
    return parts[1:]


def _facts(system: Mapping[str, Any]) -> RenderableType:
    sources, schedule = system["sources"], system["schedule"]
    optional = sources["optional"]
    variables = ", ".join(
        f"{name} {'set' if ok else 'not set' if name in optional else 'MISSING'}"
        for name, ok in sources["variables"].items()
    )
    policy = ", ".join(f"{name} {plain(value)}" for name, value in system["policy"].items())
    installed = {True: "yes", False: "no", None: "not known"}[system["installed"]]
    writes = "applies what is proven" if schedule["writes"] else "dry run"
    eyes = "two people approve" if system["four_eyes"] else "one person approves"
    table = grid("", "")
    table.show_header = False
    for name, value in (
        ("what", system["description"]),
        ("environment", system["environment"]),
        ("store", f"{sources['store']['table']} ({sources['store']['layout']})"),
        ("billing", sources["billing"]["provider"]),
        ("variables", variables),
        ("plans", ", ".join(f"{plan} {credits:,}" for plan, credits in system["plans"].items())),
        ("policy", policy or "all defaults"),
        ("installed", " · ".join(filter(None, (installed, system["install"], eyes)))),
        ("last complete", f"{moment(system['last_complete_collection'])}"),
        ("schedule", f"{schedule['cron']} {schedule['timezone']}, {writes}; runs while credit-pipeline ui does"),
        ("health", f"{schedule['health']['cron']} {schedule['health']['timezone']}, writes nothing"),
        ("alerts", _alerts(system)),
        ("ready", system["readiness"]),
    ):
        table.add_row(name, plain(value))
    return table


def _alerts(system: Mapping[str, Any]) -> str:
    """The sinks, and the alerts that they have not received."""
    missing = [name for name, ok in system["alerts"]["variables"].items() if not ok]
    sinks = ", ".join(system["alerts"]["sinks"]) + "".join(f", {name} MISSING" for name in missing)
    left = system["undelivered"]
    if not left or not left["waiting"]:
        return sinks
    late = f", {left['late']:,} late" if left["late"] else ""
    return f"{sinks}; {left['waiting']:,} to deliver{late}" + (f": {left['last_error']}" if left["last_error"] else "")
