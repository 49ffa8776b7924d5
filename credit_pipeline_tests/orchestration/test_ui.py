"""The Dagster UI in a browser, on the sandbox: lineage, a dry run from the launchpad, checks green and red; a live run
that is cancelled there.

Needs Debian's chromium and chromium-driver. Screenshots go to $CREDIT_PIPELINE_SCREENSHOTS where it is set.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from credit_pipeline.cli.main import main
from credit_pipeline_tests.orchestration.conftest import Sandbox

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
]
LOCATION = "locations/credit_pipeline"

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and os.environ.get("CREDIT_PIPELINE_REQUIRE_BROWSER") != "1",
    reason="chromium and chromedriver are not installed",
)


class Ui:
    """The pages of a running web server, as a person sees them."""

    def __init__(self, browser: webdriver.Chrome, url: str, shots: Path) -> None:
        self.browser, self.url, self.shots = browser, url, shots

    def open(self, path: str) -> None:
        self.browser.get(f"{self.url}/{path}")

    @property
    def text(self) -> str:
        return str(self.browser.find_element(By.TAG_NAME, "body").text)

    def wait(self, what: Callable[[], bool], seconds: int = 60) -> None:
        def seen(_: object) -> bool:
            try:
                return what()
            except StaleElementReferenceException:
                return False

        WebDriverWait(self.browser, seconds, poll_frequency=0.3).until(seen, self.text[-2000:])

    def wait_for(self, *words: str, seconds: int = 60) -> None:
        self.wait(lambda: all(word in self.text for word in words), seconds)

    def click(self, label: str) -> None:
        def clicked() -> bool:
            found = [b for b in self.browser.find_elements(By.XPATH, "//*[self::button or self::a]") if b.text == label]
            usable = [button for button in found if button.is_enabled()]
            if usable:
                usable[0].click()
            return bool(usable)

        self.wait(clicked)

    def pictures(self) -> list[str]:
        """What the inline pictures say they are that the browser could draw."""
        found = self.browser.find_elements(By.XPATH, "//img[starts-with(@src, 'data:image/png')]")
        return [one.get_attribute("alt") or "" for one in found if int(one.get_attribute("naturalWidth") or 0) > 100]

    def shoot(self, name: str) -> None:
        self.browser.save_screenshot(str(self.shots / f"{name}.png"))


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    assert CHROMIUM, "CREDIT_PIPELINE_REQUIRE_BROWSER=1 and chromium is not installed"
    assert DRIVER, "CREDIT_PIPELINE_REQUIRE_BROWSER=1 and chromedriver is not installed"
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = CHROMIUM
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture(scope="module")
def server(sandbox: Sandbox) -> Iterator[str]:
    """`credit-pipeline ui --write` on the sandbox, as a person starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "credit-pipeline"
    process = subprocess.Popen(
        [program, "ui", "--write", "--port", str(port)],
        env=os.environ | sandbox.environment,
        cwd=sandbox.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        while "Dagster UI on" not in told:
            assert process.poll() is None, told
            told = process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=10) as answer:
            assert answer.status == 200
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def ui(browser: webdriver.Chrome, server: str, tmp_path_factory: pytest.TempPathFactory) -> Ui:
    named = os.environ.get("CREDIT_PIPELINE_SCREENSHOTS")
    shots = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    return Ui(browser, server, shots)


def product(sandbox: Sandbox) -> list[tuple[object, ...]]:
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        return connection.execute("SELECT * FROM app_instances ORDER BY instance_id").fetchall()


def test_the_ui_shows_lineage_runs_dry_from_the_launchpad_and_tells_checks_apart(ui: Ui, sandbox: Sandbox) -> None:
    ui.open(f"{LOCATION}/asset-groups/wix_app/lineage")
    ui.wait_for("balances", "subscriptions", "mismatch_report", "correction_plan", "_corrections", "audit_trail")
    ui.shoot("1-lineage-before")

    before = product(sandbox)
    ui.open(f"{LOCATION}/jobs/wix_app_reconcile/playground")
    ui.wait_for("dry_run: true", "settle: false", "Launch Run")
    ui.shoot("2-launchpad")
    ui.click("Launch Run")
    ui.wait(lambda: "/runs/" in ui.browser.current_url)
    ui.wait_for("RUN_SUCCESS", seconds=120)
    ui.shoot("3-run")
    assert product(sandbox) == before

    ui.open(f"{LOCATION}/asset-groups/wix_app/lineage")
    ui.wait_for("audit_trail")
    ui.shoot("4-lineage-after")

    ui.open("assets/wix_app/mismatch_report?view=checks&checkDetail=counts_add_up")
    ui.wait_for("In sync, exempt and mismatched subjects add up to the population", "Passed")
    ui.shoot("5-check-green")
    ui.open("assets/wix_app/mismatch_report?view=checks&checkDetail=no_paid_account_without_its_grant")
    ui.wait_for("not granted the credits of the period", "Failed", "credit-pipeline fix wix_app")
    ui.shoot("6-check-red")
    ui.open("assets/wix_app/applied_corrections?view=checks&checkDetail=plan_within_limits")
    ui.wait_for("The first applied plan of a system needs approval")
    ui.shoot("7-plan-within-limits")

    ui.open("assets/wix_app/correction_plan?view=events")
    ui.wait_for("plan_id", "digest", "before and after")
    ui.shoot("8-correction-plan")
    ui.open("assets/wix_app/health_report?view=events")
    ui.wait_for("balances over time")
    ui.click("[Show Markdown]")
    ui.wait(lambda: ui.pictures() == ["balances over time"])
    ui.shoot("8-balances-over-time")
    ui.open("automation")
    ui.wait_for("wix_app_reconcile_schedule")
    ui.shoot("9-schedule")


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON app_instances FOR EACH ROW EXECUTE FUNCTION slow()
"""
GRAPHQL = {
    "launch": """
mutation ($job: String!, $config: RunConfigData!) {
  launchRun(executionParams: {selector: {repositoryLocationName: "credit_pipeline", repositoryName: "__repository__",
                              jobName: $job}, runConfigData: $config}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
""",
    "cancel": "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }",
    "status": "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }",
}


def ask(server: str, what: str, **words: object) -> Any:
    """The answer of the web server's own interface: what its pages ask."""
    body = json.dumps({"query": GRAPHQL[what], "variables": words}).encode()
    request = urllib.request.Request(f"{server}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.load(answer)
    assert "errors" not in told, told["errors"]
    return told["data"]


def until(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_cancelled_in_the_ui_stops_between_batches_and_is_gone_on_with(
    server: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> Any:
        capsys.readouterr()
        main([*arguments, "--format", "json"])
        return json.loads(capsys.readouterr().out)

    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"], autocommit=True) as connection:

        def changed() -> int:
            [row] = connection.execute("SELECT count(*) FROM credit_pipeline.audit").fetchall()
            return int(row[0])

        plan = told("fix", "wix_app")["plan_id"]
        main(["approve", plan, "--as", "eva", "--reason", "read it"])
        rows = told("plans", "wix_app")["plans"][0]["rows"]
        before = {str(row[0]): row for row in product(sandbox)}
        connection.execute(SLOW)
        config = {"plan_id": plan, "dry_run": False}
        run = ask(server, "launch", job="wix_app_apply", config=config)["launchRun"]["run"]["runId"]
        until(lambda: changed() > 0)
        assert ask(server, "cancel", run=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
        until(lambda: ask(server, "status", run=run)["runOrError"]["status"] == "CANCELED")
        written = changed()
        assert written in {5, 15}, "the canary, and the batch after it where it was too late to stop it"
        touched = [account for account, row in before.items() if row not in product(sandbox)]
        assert len(touched) == written < rows
        connection.execute("DROP FUNCTION slow CASCADE")

        ended = told("apply", plan, "--live")
        assert ended["state"] == "applied", ended
        assert changed() == ended["outcomes"]["changed"]
