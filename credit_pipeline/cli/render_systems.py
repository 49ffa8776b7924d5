"""The configured systems as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from credit_pipeline.cli.cells import grid, moment, plain

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_systems(systems: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """A block a system."""
    parts: list[RenderableType] = []
    for system in systems:
        if parts:
            parts.append("")
        parts += [Text(system["name"], style="bold"), Padding(_facts(system), (0, 0, 0, 2))]
    return parts


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
    """Where they go, and what did not get there."""
    missing = [name for name, ok in system["alerts"]["variables"].items() if not ok]
    told = ", ".join(system["alerts"]["sinks"]) + "".join(f", {name} MISSING" for name in missing)
    left = system["undelivered"]
    if not left or not left["waiting"]:
        return told
    late = f", {left['late']:,} late" if left["late"] else ""
    return f"{told}; {left['waiting']:,} to deliver{late}" + (f": {left['last_error']}" if left["last_error"] else "")
