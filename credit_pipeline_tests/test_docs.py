"""The documents against the code: every key, code, command and path they name is there, and none is left out."""

import re
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from credit_pipeline.cli.main import COMMANDS, cli
from credit_pipeline.config.attributes import SystemAttributes
from credit_pipeline.domain.codes import CODES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ROW = re.compile(r"^\| (?P<cells>.*) \|$", re.MULTILINE)


def table_rows(text: str) -> dict[str, list[str]]:
    """First cell without backticks → the other cells, of all tables of a page."""
    rows = [found["cells"].split(" | ") for found in ROW.finditer(text)]
    return {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`")}


def key_rows(text: str) -> set[tuple[str, str]]:
    """(key, default) of all tables; one key may have a table of its own for each layout or provider."""
    rows = [found["cells"].split(" | ") for found in ROW.finditer(text)]
    return {(row[0].strip("`"), row[1]) for row in rows if row[0].startswith("`")}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, default) of every key of the file that holds a value."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        is_list = get_origin(field.annotation) not in {None, Union, types.UnionType}
        inner = list(models_in(field.annotation))
        for model_of_one_kind in inner:
            yield from keys_of(model_of_one_kind, f"{key}[]." if is_list else f"{key}.")
        if not inner:
            yield key, field.get_default(call_default_factory=True)


def written(default: Any) -> str:
    """A default as the page writes it."""
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "undeclared"
    if default == "":
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, timedelta):
        minutes = int(default.total_seconds() // 60)
        if minutes == 0:
            return f"`{int(default.total_seconds())} s`"
        if default.days > 1:
            return f"`{default.days} d`"
        return f"`{minutes // 60} h`" if minutes % 60 == 0 and minutes > 60 else f"`{minutes} min`"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    return f"`{default}`"


EXCEPT = {
    "plans[].label": "the name",
    "policy.catch_up": "`current`",
    "policy.statuses": "Stripe's words",
}
"""Defaults that are made of another key, or are a table."""


def test_the_policy_page_has_every_key_with_its_default() -> None:
    told = key_rows((ROOT / "docs" / "policy.md").read_text())
    assert told == {(key, EXCEPT.get(key, written(default))) for key, default in keys_of(SystemAttributes)}


def test_the_codes_page_says_what_the_code_says() -> None:
    told = table_rows((ROOT / "docs" / "codes.md").read_text())
    assert told == {
        code.value: [
            facts.severity.value,
            facts.lane.value,
            facts.direction.value,
            facts.sentence,
            facts.recovery,
        ]
        for code, facts in CODES.items()
    }


def subcommands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in command.commands)


EVERY = dict(subcommands())


@pytest.mark.parametrize("name", EVERY)
def test_every_command_says_what_it_does_and_every_option_too(name: str) -> None:
    assert (EVERY[name].help or "").strip()
    assert len(EVERY[name].get_short_help_str(100)) <= 60
    silent = [p.name for p in EVERY[name].params if isinstance(p, click.Option) and not p.help]
    assert not silent


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    rows = [found["cells"].split(" | ")[0] for found in ROW.finditer(README)]
    assert any(re.search(rf"`{name}\b", row) for row in rows)


def test_the_readme_names_no_command_or_option_that_is_not_there() -> None:
    named = set(re.findall(r"credit-pipeline ([a-z]+)", README))
    assert named <= set(COMMANDS)
    options = {o for command in EVERY.values() for p in command.params for o in p.opts if o.startswith("--")}
    assert set(re.findall(r"(?<!-)(--[a-z][a-z-]*)", README)) <= options


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_the_readme_opens_with_one_sentence_and_has_the_parts_in_order() -> None:
    parts = ["Keeps the credit balances", "The promise:", "```console", "docs/lineage.svg", "make demo", "make test"]
    places = [README.index(part) for part in parts]
    assert places == sorted(places)


def test_the_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make (demo|test|check|ui|bench|help)\b", README))
    assert named >= {"demo", "test", "ui"}
    assert not [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


PAGES = {"semantics": ROOT / "docs" / "semantics.md", "architecture": ROOT / "docs" / "architecture.md"}
CITED = re.compile(r"\b(?P<page>[a-z_]+)(?:\.md)? (?P<sections>§\d+(?:(?:, |–| and | to )§?\d+)*)")
TEXTS = sorted(
    path
    for folder in ("credit_pipeline", "credit_pipeline_tests", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sql", ".md", ".yaml"}
)
PAGES_OF_TEXT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]


def sections_of(page: Path) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+)\. ", page.read_text(), re.MULTILINE)}


def test_every_cited_section_exists() -> None:
    cited = 0
    for path in [*TEXTS, *PAGES_OF_TEXT]:
        for found in CITED.finditer(path.read_text()):
            cited += 1
            where = f"{path.relative_to(ROOT)}: {found[0]}"
            assert found["page"] in PAGES, f"{where}: no such page in docs/"
            assert {int(n) for n in re.findall(r"\d+", found["sections"])} <= sections_of(PAGES[found["page"]]), where
    assert cited > 40


def test_the_paths_in_the_documents_exist() -> None:
    for page in (PAGES["architecture"], ROOT / "CONTRIBUTING.md"):
        for name in re.findall(
            r"`((?:adapters|cli|config|domain|orchestration|sandbox|services)/[\w./]*)`", page.read_text()
        ):
            assert (ROOT / "credit_pipeline" / name).exists(), f"{page.name}: {name}"


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for page in [*PAGES_OF_TEXT, *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
