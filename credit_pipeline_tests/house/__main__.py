"""`make house`: files per folder, modules, lines and types of this checkout or, with a path, of another one."""

import argparse
from pathlib import Path

from credit_pipeline_tests.house.call_depth import deepest_check
from credit_pipeline_tests.house.measures import (
    code_lines,
    files_per_folder,
    in_sandbox,
    package_of,
    types_per_concept,
)

HERE = Path(__file__).parents[2]


def main() -> None:
    """Prints the numbers, largest folders first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=HERE, help="the checkout to measure")
    parser.add_argument("--calls", action="store_true", help="also the deepest call chain of `check bestauth`, here")
    asked = parser.parse_args()
    root = asked.root.resolve()
    modules = package_of(root)
    sandbox = [path for path in modules if in_sandbox(path, root)]
    print(f"modules: {len(modules)}, of the sandbox {len(sandbox)}")
    everything, planted = (sum(map(code_lines, paths)) for paths in (modules, sandbox))
    print(f"code lines (no comments, docstrings, blanks): {everything:,}, without the sandbox {everything - planted:,}")
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules)
    print(f"lines in all: {total:,}")
    print("modules per folder:")
    for folder, count in files_per_folder(root).most_common():
        print(f"  {count:3} {folder}")
    print("types per concept:")
    for concept, classes in types_per_concept(root).items():
        print(f"  {concept}: {len(classes)}: {', '.join(sorted(classes))}")
    if asked.calls:
        chain = deepest_check()
        print(f"deepest call chain of `check bestauth`: {len(chain)} frames")
        print("\n".join(f"  {frame}" for frame in chain))


if __name__ == "__main__":
    main()
