"""The documents against the code: every key, code, command and path they name is there, and none is left out."""

import re
import types
from collections.abc import Collection, Iterator
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
from credit_pipeline_tests.cli import shapes

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
    pages = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", pages))
    assert named >= {"demo", "test", "ui", "quick"}
    assert not [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


CITABLE = {name: ROOT / "docs" / f"{name}.md" for name in ("semantics", "architecture")}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(
    path
    for folder in ("credit_pipeline", "credit_pipeline_tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sql", ".yaml"} and path.name != Path(__file__).name
)
CITED = re.compile(r"\b(?P<page>\w+)(?:\.md)?(?P<sections>(?:(?:,| and| to)?[ –]?§\d+)+)")
NOT_HERE = re.compile(
    r"(?<![\w/.-])(?:semantics|design|contract|failure_model|style|cases|dagster_notes)\.md\b"
    r"|\bcontract's (?:`|objects?\b|JSON\b|order\b)|\(contract[:)]|\bchecks of the contract\b"
)
"""Names of pages that people who get the repository do not have, or not under that name."""
ROOMS = ("cli", "sandbox", "components", "orchestration", "adapters", "services", "config", "domain")


def flowing(text: str) -> str:
    """The text without line breaks and comment signs, so that a citation may go over the end of a line."""
    return re.sub(r"\n[ \t]*(?:#|--)?[ \t]*", " ", text)


def sections_of(page: Path) -> set[str]:
    return set(re.findall(r"^## (\d+)\. ", page.read_text(), re.MULTILINE))


def dead_citations(text: str, own: Collection[str] = ()) -> list[str]:
    """Citations of a page or section that is not there; `own`: sections that a bare section sign may mean."""
    text, dead = flowing(text), []
    for cited in CITED.finditer(text):
        page = CITABLE.get(cited["page"])
        numbers = re.findall(r"\d+", cited["sections"])
        if page is not None:
            dead += [f"{cited['page']} §{number}" for number in numbers if number not in sections_of(page)]
        elif not own:
            dead.append(cited[0])
    bare = re.findall(r"§(\d*)", CITED.sub("", text))
    return dead + [f"§{number} of no page" for number in bare if number not in own]


def own_sections(page: Path) -> set[str]:
    """A page's own sections, and those of pages that it links to right before the sign."""
    named = re.findall(r"\]\(([\w./-]+\.md)\) §", page.read_text())
    return sections_of(page).union(*(sections_of(page.parent / other) for other in named))


def test_every_cited_section_exists() -> None:
    texts = {path: dead_citations(path.read_text()) for path in SOURCES}
    texts |= {page: dead_citations(page.read_text(), own_sections(page)) for page in PAGES}
    assert not {str(path.relative_to(ROOT)): dead for path, dead in texts.items() if dead}
    assert sum(len(CITED.findall(path.read_text())) for path in SOURCES) > 40


def test_nobody_cites_a_page_that_is_not_in_the_repository() -> None:
    found = {path: [one[0] for one in NOT_HERE.finditer(flowing(path.read_text()))] for path in [*SOURCES, *PAGES]}
    absent = {path: [one for one in ones if not (ROOT / "docs" / one).is_file()] for path, ones in found.items()}
    assert not {str(path.relative_to(ROOT)): ones for path, ones in absent.items() if ones}


def test_the_searches_find_what_is_dead() -> None:
    """The tests above would pass for patterns that find nothing."""
    assert dead_citations("as in semantics §5, §99") == ["semantics §99"]
    assert dead_citations("(architecture\n    # §98–§9)") == ["architecture §98"]
    assert dead_citations("States are those of design §3") == ["design §3"]
    assert dead_citations("a person decides (§5)") == ["§5 of no page"]
    assert not dead_citations("semantics §5–§8 and architecture §4; semantics §5 to §7")
    for lost in ("see contract.md", "the contract's object for `fix`", "(contract: exit status)"):
        assert NOT_HERE.search(lost), lost
    assert not NOT_HERE.search("run under one contract class; docs/semantics.md")


def test_the_paths_and_functions_in_the_documents_exist() -> None:
    package = ROOT / "credit_pipeline"
    for page in (CITABLE["architecture"], ROOT / "CONTRIBUTING.md"):
        paths = [path for path in re.findall(r"`([a-z]\w*/[\w./]*)`", page.read_text()) if path.split("/")[0] in ROOMS]
        assert paths
        assert not [path for path in paths if not (package / path).exists()]
    named = re.findall(r"`([\w.]+)` in `([\w/]+\.(?:py|sql))`", CITABLE["architecture"].read_text())
    assert len(named) > 20
    for name, path in named:
        kind = r"FUNCTION credit_pipeline\." if path.endswith(".sql") else r"(?:def|class) "
        for part in name.split("."):
            assert re.search(rf"{kind}{part}\b", (package / path).read_text()), f"{path} has no {part}"


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_links_of_the_documents_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
            target = (page.parent / link).resolve() if link else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors_of(target))):
                wrong.append(f"{page.relative_to(ROOT)}: {link}#{anchor}")
    assert not wrong


def test_the_index_of_the_documents_names_each_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert not [name for name in names if index.count(f"]({name})") != 1]


def test_the_decisions_are_numbered_and_have_their_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    for number, page in enumerate(pages, 1):
        text = page.read_text()
        title = text.splitlines()[0].removeprefix("# ")
        assert page.name.startswith(f"{number:04}-")
        assert title.startswith(f"{number}. ")
        assert f"* [{title}]({page.name})\n" in index
        assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def words_of(shape: object) -> Iterator[str]:
    """Every key and every fixed value of a JSON shape."""
    if isinstance(shape, shapes.Maybe | shapes.Each):
        yield from words_of(shape.shape)
    elif isinstance(shape, dict):
        yield from shape
        for inner in shape.values():
            yield from words_of(inner)
    elif isinstance(shape, list):
        yield from words_of(shape[0])
    elif isinstance(shape, set):
        yield from shape


def test_the_json_page_names_every_key_and_value() -> None:
    page = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "json.md").read_text()))
    commands = (shapes.CHECK, shapes.PLAN, shapes.HEALTH, shapes.ACCOUNT, shapes.DEMO)
    named = {word for shape in commands for word in words_of(shape)} | set(shapes.EIGHT)
    assert named - page <= {"L1", "L2"}
