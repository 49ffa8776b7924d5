"""Failed webhooks of all kinds, and sync requests, under Dagster's real daemon, killed with 9 in the middle.

The suite plays 40 records; `python -m credit_pipeline_tests.chaos.test_daemon` plays 500. Waits between attempts are
shortened in the table; everything else goes by the clock.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from credit_pipeline.orchestration.instance import prepare_home, workspace_file
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted
from credit_pipeline_tests.incidents.world import World, account_id, an_installed_product
from credit_pipeline_tests.services.sync.failed_webhooks import Doors

POISON = (b"\x00", b'{"a": NaN}', b"[" * 50_000, b'{"instanceId": "\\ud800"}', b'{"a": 1, "a": 2}')
BROKEN, FLAKY = 5, 2
"""Sites that bought Pro unheard, and those of them about which billing gives no answer at first."""
MINUTES = 8
_ENDED = {"repaired", "superseded", "dead"}


class Campaign:
    """A product with records of all kinds, and a daemon that works them off."""

    def __init__(self, world: World, home: Path) -> None:
        self.world, self.home = world, home
        self.doors = Doors(world)
        world.site("first", "free", 100, billed="pro")
        world.repair()
        since = world.now - timedelta(hours=1)
        self.broken = [world.site(f"broken {n}", "starter", 1_000, n, billed="pro", since=since) for n in range(BROKEN)]
        self.healthy = [world.site(f"healthy {n}", "pro", 5_000, n) for n in range(4)]
        self.flaky = self.broken[:FLAKY]
        world.later(hours=2)
        self._answers(error=True)

    def record(self, records: int) -> None:
        """So many webhooks that failed at the product's."""
        for number in range(records):
            event, turn = f"evt_{number}", number // 10
            match number % 10:
                case 0:
                    self.doors.failed_raw(event, POISON[turn % len(POISON)] + b" " * number)
                case 1:
                    self.doors.failed_raw(event, b'{"eventType": "SiteRenamed"}')
                case 2:
                    self.doors.failed(account_id(f"nobody {turn}"), event)
                case 3 | 4 | 5 | 6:
                    self.doors.failed(self.broken[(number + turn) % BROKEN], event)
                case _:
                    self.doors.failed(self.healthy[number % 4], event, type="PaidPlanChanged")
        for site in (self.broken[-1], self.healthy[0]):
            self.doors.run("SELECT credit_pipeline.request_sync(%s, 'opened')", site)
        # Whose site is not known may be known later: it is asked eight times, here for the last one.
        self.doors.run("UPDATE credit_pipeline.webhook_event SET attempts = 7 WHERE substr(event_id, 5)::int % 10 = 2")

    def play(self, *, least: int) -> None:
        """Runs the daemon until all records ended; it is killed when `least` of them have and others are under way."""
        with self._daemon() as daemon:
            self._until(lambda: self._ended() >= least and self.doors.states().get("claimed", 0) > 0)
            os.killpg(daemon.pid, signal.SIGKILL)
        for table in ("webhook_event", "sync_request"):
            self.doors.run(f"UPDATE credit_pipeline.{table} SET claimed_at = claimed_at - interval '11 min'")
        with self._daemon():
            self._until(lambda: self._failed_at_billing() > 0)
            self._answers(error=False)
            self._until(lambda: set(self.doors.states()) <= _ENDED and not self._requested())
            self._until(lambda: not self._untold())

    def _answers(self, *, error: bool) -> None:
        for site in self.flaky:
            self.world.bill(site, "pro", since=self.world.now - timedelta(hours=3), lookup_error=error)

    def _ended(self) -> int:
        return sum(count for state, count in self.doors.states().items() if state in _ENDED)

    def _requested(self) -> int:
        [row] = self.doors.run("SELECT count(*) AS n FROM credit_pipeline.sync_request WHERE state <> 'done'")
        return int(row["n"])

    def _untold(self) -> int:
        """Alerts to be delivered; the quiet between two messages is shortened like the other waits."""
        self.doors.run(
            "UPDATE credit_pipeline.outbox SET done_at = done_at - interval '1 hour' WHERE done_at IS NOT NULL"
        )
        [row] = self.doors.run("SELECT count(*) AS n FROM credit_pipeline.outbox WHERE done_at IS NULL")
        return int(row["n"])

    def _failed_at_billing(self) -> int:
        [row] = self.doors.run(
            "SELECT count(*) AS n FROM credit_pipeline.webhook_event WHERE state = 'failed' AND last_error ~ 'billing'"
        )
        return int(row["n"])

    def _until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + MINUTES * 60
        while not what():
            assert time.monotonic() < end, f"after {MINUTES} min: {self.doors.states()}"
            self.doors.run("UPDATE credit_pipeline.webhook_event SET next_attempt_at = now() WHERE state = 'failed'")
            self.doors.run("UPDATE credit_pipeline.sync_request SET next_attempt_at = now() WHERE state = 'waiting'")
            time.sleep(0.3)

    @contextmanager
    def _daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        """`dagster-daemon` in a session of its own, as `ui` starts it; ended with everything it started."""
        with (self.home / "daemon.log").open("ab") as log:
            command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(workspace_file())]
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield daemon
        finally:
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def play(world: World, home: Path, dagster_url: str, records: int) -> dict[str, int]:
    """One campaign, and what must hold after it; records by state."""
    folder = home / "systems" / "wix_app"
    folder.mkdir(parents=True)
    packaged = (files("credit_pipeline") / "defs" / "wix_app" / "defs.yaml").read_text()
    assert packaged.count("apply: false") == 1
    (folder / "defs.yaml").write_text(packaged.replace("apply: false", "apply: true"))
    os.environ |= world.environment | {"CREDIT_PIPELINE_DEFS": str(folder.parent)}
    prepare_home(Path(world.environment["CREDIT_PIPELINE_HOME"]), dagster_url)
    campaign = Campaign(world, home)
    campaign.record(records)
    campaign.play(least=records // 8)

    states = campaign.doors.states()
    assert sum(states.values()) == records, "none is lost"
    assert states["dead"] == records // 5, "poison, and what is nobody's"
    rows = world.app.rows()
    for number, site in enumerate(campaign.broken):
        assert rows[site] == Row("pro", 6_000 - number, 0), "available and one allowance, once"
        assert granted(world.url, site) == [("pro", 5_000)]
    assert all(rows[site] == Row("pro", 5_000, number) for number, site in enumerate(campaign.healthy))
    assert_audited(world.url, changes=1 + BROKEN)
    assert states["repaired"] >= len(campaign.broken + campaign.healthy), "one of each account, at least"
    [told] = campaign.doors.run("SELECT count(*) AS n FROM credit_pipeline.outbox WHERE kind = 'webhook_dead'")
    assert told["n"] == states["dead"], "one alert each"
    [tries] = campaign.doors.run(
        "SELECT max(attempts) AS n FROM credit_pipeline.webhook_event WHERE state IN ('repaired', 'superseded')"
    )
    assert tries["n"] > 1, "what failed at first was tried again"
    return states


def test_failed_webhooks_end_once_under_a_daemon_that_is_killed(
    databases: Databases, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    postgres.create_database("daemon_dagster")
    before = dict(os.environ)
    try:
        with BillingServer(per_minute=10_000) as server:
            past = datetime.now(UTC) - timedelta(hours=6)
            url = an_installed_product(databases)
            with World(url, tmp_path / "home", server=server, now=past) as world:
                play(world, tmp_path, postgres.url("daemon_dagster"), 40)
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """The whole campaign."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=500)
    records = parser.parse_args().records
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as home, BillingServer(per_minute=10_000) as billing:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "server")
        server.start()
        try:
            server.create_database("dagster")
            past = datetime.now(UTC) - timedelta(hours=6)
            with World(an_installed_product(Databases(server)), Path(home) / "home", server=billing, now=past) as world:
                print(json.dumps(play(world, Path(home), server.url("dagster"), records)))
        finally:
            server.remove()


if __name__ == "__main__":
    main()
