"""`systems`: what is configured, where it reads from, and how ready it is. Works with an empty environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

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

    Variables are shown as set or missing, never with their values. One system's faulty file does not hide the others.
    """
    shown, faults = [], []
    for name in _names(session):
        try:
            shown.append(_described(session, session.system(name)))
        except CreditPipelineError as error:
            faults.append(str(error))

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_systems import render_systems

        return render_systems(shown)

    session.show({"systems": shown, "faults": faults}, text)
    for fault in faults:
        session.say(fault)
    return COULD_NOT_TELL if faults else NOTHING


def _names(session: Session) -> list[str]:
    from credit_pipeline.config.loader import FILE, folder_in_effect, load_systems

    folder = folder_in_effect(session.folder)
    names = sorted(child.parent.name for child in folder.glob(f"*/{FILE}")) if folder.is_dir() else []
    return names or [found.name for found in load_systems(folder)]  # an empty folder is refused there, with a sentence


def _described(session: Session, system: CreditSystem) -> dict[str, Any]:
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
        "policy": dict(_own_words(system)),
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


def _own_words(system: CreditSystem) -> Iterator[tuple[str, Any]]:
    """The policy words that differ from their defaults."""
    from credit_pipeline.domain.policy import Limits, Policy

    for prefix, own, default in (("", system.policy, Policy()), ("limits.", system.policy.limits, Limits())):
        for name in type(default).__dataclass_fields__:
            value = getattr(own, name)
            if name != "limits" and value != getattr(default, name):
                yield prefix + {"automation_apply": "automation.apply"}.get(name, name), _word(value)


def _word(value: Any) -> Any:
    return f"{value.total_seconds() / 60:g} min" if hasattr(value, "total_seconds") else value


def _state(session: Session, system: CreditSystem) -> dict[str, Any]:
    """Installed or not, how, and since when complete; null where nobody could be asked."""
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
    """Alerts that not every sink has; null where none are kept."""
    if outbox is None or not outbox.installed():
        return None
    unheard = outbox.unheard()
    return {"waiting": unheard.waiting, "late": unheard.late, "last_error": unheard.last_error}
