"""The few lines that must not drift: which room may import what, who may write the product, how a module begins."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import credit_pipeline

PACKAGE = Path(credit_pipeline.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {
    "domain": set[str](),
    "config": {"domain"},
    "services": {"domain", "config"},
    "adapters": {"domain", "config", "services"},
    "orchestration": {"domain", "config", "services", "adapters"},
    "components": {"domain", "config", "services", "adapters", "orchestration"},
    "definitions": {"config", "orchestration", "components"},
    "sandbox": {"domain", "config", "services", "adapters", "orchestration"},
    "cli": {"domain", "config", "services", "adapters", "orchestration", "sandbox"},
}
"""Room → the rooms it may import besides itself."""
PORTS_ONLY = {"credit_pipeline.services.gateways", "credit_pipeline.services.collect.tables"} | {
    f"credit_pipeline.services.{room}.ports" for room in ("alerts", "collect", "findings", "plans", "reconcile", "sync")
}
"""All that adapters know of the services: the promises they keep."""
DAGSTER_ROOMS = {"orchestration", "components", "definitions"}
DAGSTER = {"dagster", "dagster_postgres", "dagster_webserver", "dagster_shared"}
IMPURE = {"os", "time", "subprocess", "socket", "random", "secrets", "logging", "pathlib", "threading", "sqlite3"}
LONG = {
    "domain/codes.py": "one table, an entry a code; the classes it is made of stand above it",
}
"""Files that may pass the limit, and why."""


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in paths]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what only a type checker imports."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if getattr(node.test, "id", "") == "TYPE_CHECKING" else self.generic_visit(node)


def imports_of(path: Path, *, types: bool = True) -> Iterator[tuple[str, str]]:
    """(module, imported name) of every import in a file, those inside functions included."""
    tree: ast.AST = ast.parse(path.read_text())
    for node in ast.walk(tree if types else WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def our_imports(path: Path) -> Iterator[str]:
    for module, name in imports_of(path):
        if module == "credit_pipeline":
            yield f"credit_pipeline.{name}" if name and (PACKAGE / name).exists() else "credit_pipeline"
        elif module.startswith("credit_pipeline."):
            yield module


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not list(imports_of(path))
        return
    used = {module.split(".")[1] for module in our_imports(path) if "." in module} - {room}
    assert used <= ROOMS[room], f"{room} may not import {used - ROOMS[room]}"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_only_the_dagster_rooms_import_dagster(path: Path) -> None:
    used = {module.partition(".")[0] for module, _ in imports_of(path, types=False)} & DAGSTER
    assert not used or room_of(path) in DAGSTER_ROOMS


@pytest.mark.parametrize("path", sorted((PACKAGE / "domain").rglob("*.py")), ids=lambda path: path.name)
def test_the_domain_is_standard_library_without_clock_or_environment(path: Path) -> None:
    outside = {module.partition(".")[0] for module, _ in imports_of(path)} - {"credit_pipeline"}
    assert outside <= sys.stdlib_module_names - IMPURE
    clocks = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
        if isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date"}
    }
    assert not clocks, "the time is a parameter"


@pytest.mark.parametrize("path", sorted((PACKAGE / "adapters").rglob("*.py")), ids=lambda path: path.name)
def test_adapters_know_the_ports_and_no_use_case(path: Path) -> None:
    assert {module for module in our_imports(path) if ".services" in module} <= PORTS_ONLY


CALLS_THAT_WORK = {
    "open",
    "print",
    "read_text",
    "read_bytes",
    "write_text",
    "mkdir",
    "connect",
    "create_engine",
    "getenv",
    "now",
    "today",
    "cwd",
    "resolve",
    "exists",
    "basicConfig",
    "run",
    "Popen",
    "system",
}


def at_import(path: Path) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: function bodies and type-checking blocks are left out."""
    waiting: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        elif not isinstance(node, ast.Lambda) and not (isinstance(node, ast.If) and "__name__" in ast.dump(node.test)):
            yield node
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_no_module_works_when_it_is_imported(path: Path) -> None:
    for node in at_import(path):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in CALLS_THAT_WORK, f"line {node.lineno} calls {called}()"
        if isinstance(node, ast.Attribute):
            assert node.attr != "environ", f"line {node.lineno} reads the environment"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_module_opens_with_what_lives_in_it(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(said.split()) >= 5, "say in a sentence what lives here"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_file_is_one_noun_and_short(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "base", "misc", "shared", "lib", "tools"}
    lines = len(path.read_text().splitlines())
    assert lines <= 300 or str(path.relative_to(PACKAGE)) in LONG, f"{lines} lines"


def test_the_exceptions_to_the_length_are_still_needed() -> None:
    short = [name for name in LONG if len((PACKAGE / name).read_text().splitlines()) <= 300]
    assert not short, "take them off the list"


WRITES = re.compile(
    r"""(?<!KEY\ )(?<!DO\ )(?<!FOR\ )(?<!BEFORE\ )(?<!AFTER\ )(?<!ON\ )(?<!,\ )
    \b(?:UPDATE|INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?|COPY)\s+
    (?!ON\b|OF\b|SET\b|speed)(?P<table>[{"\w][\w.{}"]*)""",
    re.VERBOSE,
)
DOORS = {
    "adapters/install/sql/write_counter.sql": {"{table}"},
    "adapters/install/sql/webhook_told.sql": {"{table}"},
    "adapters/install/sql/write_ledger.sql": {"{balances}", "{tiers}", "{mapping}", "{subscriptions}"},
}
"""The files with statements that write product tables, one a layout and one for webhooks, and which. Transactions are
the product's."""
SOURCES = [p for p in sorted(PACKAGE.rglob("*")) if p.suffix in {".py", ".sql"} and room_of(p) != "sandbox"]


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_only_the_door_writes_a_table_that_is_not_ours(path: Path) -> None:
    text = path.read_text()
    temporary = set(re.findall(r"CREATE TEMP(?:ORARY)? TABLE (?:IF NOT EXISTS )?(\w+)", text))
    foreign = {
        found["table"]
        for found in WRITES.finditer(text)
        if not found["table"].startswith("credit_pipeline.") and found["table"] not in temporary
    }
    assert foreign == DOORS.get(str(path.relative_to(PACKAGE)), set())


def test_the_search_for_writes_finds_them() -> None:
    """The test above would pass for a pattern that finds nothing."""
    written = ("UPDATE app_instances SET", "INSERT INTO plans VALUES", "DELETE FROM {table}", "COPY moved FROM STDIN")
    assert [WRITES.search(statement) is not None for statement in written] == [True] * 4
    harmless = ("FOR NO KEY UPDATE OF k", "DO UPDATE SET x", "GRANT SELECT, UPDATE ON t", "at COPY speed")
    assert [WRITES.search(text) for text in harmless] == [None] * 4
