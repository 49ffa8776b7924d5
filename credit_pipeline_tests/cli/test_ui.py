"""`ui` as a process: it answers, read-only, and leaves nothing behind when it is told to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.cli.conftest import Run, Sandbox

LAUNCH = """
mutation { launchRun(executionParams: {selector: {repositoryLocationName: "credit_pipeline",
    repositoryName: "__repository__", jobName: "wix_app_reconcile"}, runConfigData: "{}"}) { __typename } }
"""


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str, query: str) -> dict:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: dict = json.load(reply)
        return found


def test_it_serves_read_only_on_the_sandbox_and_stops_all_it_started(planted: Sandbox) -> None:
    surroundings = os.environ | {"CREDIT_PIPELINE_HOME": str(planted.home)}
    code = "import sys; from credit_pipeline.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "ui", "--format", "json", "--port", str(a_free_port())]
    with subprocess.Popen(command, stdout=-1, stderr=-1, env=surroundings) as process:
        try:
            assert process.stdout is not None
            opened = json.loads(process.stdout.readline())
            names = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name jobs { name } } } } }"
            (repository,) = ask(opened["url"], names)["data"]["repositoriesOrError"]["nodes"]
            assert {"wix_app_reconcile", "wix_app_apply"} <= {job["name"] for job in repository["jobs"]}
            assert ask(opened["url"], LAUNCH)["data"]["launchRun"]["__typename"] == "UnauthorizedError"
            children = psutil.Process(process.pid).children(recursive=True)
            assert len(children) >= 2
            assert opened["write"] is False
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert b"Traceback" not in said
    assert EmbeddedPostgres(Path(planted.home)).is_running(), "the servers that ran before go on"


def test_a_taken_port_is_one_sentence(run: Run) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        ended = run("ui", "--port", str(port))
    assert ended.status == 2
    assert ended.sentence == f"Port {port} is taken on this machine: choose another with --port."


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_port_that_is_none_is_refused(run: Run, port: str) -> None:
    assert run("ui", "--port", port).status == 2
