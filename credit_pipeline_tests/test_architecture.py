"""The lines that must not drift: which room imports what, who may write the product, how a module begins.

The imports between rooms are contracts of import-linter, in pyproject.toml.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

import credit_pipeline

PACKAGE = Path(credit_pipeline.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PORTS_ONLY = {"credit_pipeline.services.gateways", "credit_pipeline.services.collect.tables"} | {
    f"credit_pipeline.services.{room}.ports" for room in ("alerts", "collect", "findings", "plans", "reconcile", "sync")
}
"""All that adapters know of the services: the promises they keep."""
IMPURE = {"os", "time", "subprocess", "socket", "random", "secrets", "logging", "pathlib", "threading", "sqlite3"}
LONG = {
    "domain/codes.py": "one table, an entry a code; the classes it is made of stand above it",
}
"""Files that may pass the limit, and why."""
FILE_NAMES = {path.name for path in MODULES} - {"__init__.py"}
CROWDED = {"cli": 22}
"""Folders of more than 20 modules, `__init__` aside, and how many they may hold. None may be added, none may grow."""
REREAD = ("adapters/", "cli/", "components/", "definitions.py", "domain/", "orchestration/", "sandbox/", "services/")
"""Rooms whose docstrings name no other module."""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def in_room(room: str) -> list[Path]:
    return [path for path in MODULES if name_of(path).startswith(f"{room}/")]


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield node.module or ""


def test_imports_keep_to_the_contracts() -> None:
    # In a process of its own: it configures logging, and would disable every logger there is.
    command = [sys.executable, "-c", "import importlinter.cli as cli; cli.lint_imports_command()"]
    config = PACKAGE.parent / "pyproject.toml"
    linted = subprocess.run([*command, "--config", config, "--no-cache"], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_module_is_in_a_circle() -> None:
    graph = grimp.build_graph("credit_pipeline", cache_dir=None)
    graphlib.TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}).prepare()


def test_the_domain_is_standard_library_without_clock_or_environment() -> None:
    for path in in_room("domain"):
        outside = {module.partition(".")[0] for module in imports_of(path)} - {"credit_pipeline"}
        assert outside <= sys.stdlib_module_names - IMPURE, name_of(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                clock = (node.value.id, node.attr)
                assert clock[0] not in {"datetime", "date"} or clock[1] not in {"now", "utcnow", "today"}, (
                    f"{name_of(path)}:{node.lineno}: the time is a parameter"
                )


def test_adapters_know_the_ports_and_no_use_case() -> None:
    for path in in_room("adapters"):
        known = {module for module in imports_of(path) if module.startswith("credit_pipeline.services")}
        assert known <= PORTS_ONLY, f"{name_of(path)}: {known - PORTS_ONLY}"


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


def test_no_module_works_when_it_is_imported() -> None:
    for path in MODULES:
        for node in at_import(path):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in CALLS_THAT_WORK, f"{name_of(path)}:{node.lineno} calls {called}()"
            if isinstance(node, ast.Attribute):
                assert node.attr != "environ", f"{name_of(path)}:{node.lineno} reads the environment"


def test_a_module_opens_with_what_it_is_and_points_at_no_other() -> None:
    for path in MODULES:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(text.split()) >= 5, f"{name_of(path)}: say in a sentence what lives here"
        pointers = set(re.findall(r"\b\w+\.py\b", text)) & FILE_NAMES
        if name_of(path).startswith(REREAD):
            assert not pointers, f"{name_of(path)}: names of other modules rot: {pointers}"


def test_a_file_is_one_noun_and_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name for name, lines in lengths.items() if lines > 300} == set(LONG)
    vague = {"utils", "util", "helpers", "common", "base", "misc", "shared", "lib", "tools"}
    assert not {path.stem for path in MODULES} & vague


def test_no_folder_is_crowded() -> None:
    for folder in {path.parent for path in MODULES}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= CROWDED.get(name_of(folder), 20), f"{name_of(folder)} holds {len(modules)} modules"


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


def test_only_the_doors_write_a_table_that_is_not_ours() -> None:
    found = {}
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".py", ".sql"} and not name_of(path).startswith("sandbox/"):
            text = path.read_text()
            temporary = set(re.findall(r"CREATE TEMP(?:ORARY)? TABLE (?:IF NOT EXISTS )?(\w+)", text))
            tables = {match["table"] for match in WRITES.finditer(text)} - temporary
            if foreign := {table for table in tables if not table.startswith("credit_pipeline.")}:
                found[name_of(path)] = foreign
    assert found == DOORS


def test_the_search_for_writes_finds_them() -> None:
    """The test above would pass for a pattern that finds nothing."""
    written = ("UPDATE app_instances SET", "INSERT INTO plans VALUES", "DELETE FROM {table}", "COPY moved FROM STDIN")
    assert [WRITES.search(statement) is not None for statement in written] == [True] * 4
    harmless = ("FOR NO KEY UPDATE OF k", "DO UPDATE SET x", "GRANT SELECT, UPDATE ON t", "at COPY speed")
    assert [WRITES.search(text) for text in harmless] == [None] * 4
