"""A walled install from the command line: three logins with a variable each, and what is refused without one."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.cli.conftest import Ended, Run, Sandbox

ROLES = {"reader": "WIX_READER_URL", "corrector": "WIX_CORRECTOR_URL", "approver": "WIX_APPROVER_URL"}
KEYS = "".join(f"    {role}_url_env: {name}\n" for role, name in ROLES.items())


@dataclass(frozen=True, kw_only=True)
class WalledSandbox:
    """A copy of the planted product whose install is walled, and a login for each role."""

    url: str
    folder: Path
    logins: dict[str, str]
    made: Ended
    run: Run
    set_variable: Callable[[str, str], None]

    def as_only(self, *roles: str) -> Run:
        """Commands of somebody who has these roles' URLs and no other."""
        for name in ("WIX_DATABASE_URL", *ROLES.values()):
            self.set_variable(name, "")
        for role in roles:
            self.set_variable(ROLES[role], self.logins[role])
        return lambda *arguments: self.run("--defs", str(self.folder), *arguments)


def _forget(connection: "psycopg.Connection[tuple[object, ...]]", sandbox: Sandbox) -> None:
    """Whatever other tests repaired in the sandbox is broken again in this copy, and nothing is remembered of it."""
    connection.execute("SET LOCAL session_replication_role = replica")  # the audit refuses its end otherwise
    connection.execute(
        "TRUNCATE credit_pipeline.observation, credit_pipeline.observation_log, credit_pipeline.mismatch,"
        ' credit_pipeline.snapshot, credit_pipeline."grant", credit_pipeline.taken_key, credit_pipeline.audit,'
        " credit_pipeline.approval, credit_pipeline.correction, credit_pipeline.correction_plan"
    )
    connection.execute(
        "UPDATE credit_pipeline.control SET audit_seq = 0, audit_hash = repeat('0', 64), first_applied = NULL"
    )
    for account in sandbox.truth["accounts"]:
        now = account["now"]
        connection.execute(
            "UPDATE app_instances SET plan_id = %s, credits_total = %s, credits_used_month = %s WHERE instance_id = %s",
            (now["plan"], now["total"], now["used"], account["account_id"]),
        )


@pytest.fixture
def walled(
    run: Run, sandbox: Sandbox, systems_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[WalledSandbox]:
    """Walled by `init`, and pinned to the copy."""
    folder = systems_folder(("    url_env: WIX_DATABASE_URL\n", f"    url_env: WIX_DATABASE_URL\n{KEYS}"))
    server = EmbeddedPostgres(sandbox.home)
    name = f"walled_{uuid.uuid4().hex[:8]}"
    words = {"name": sql.Identifier(name), "template": sql.Identifier("wix_app")}
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**words))
    url = server.url(name)
    monkeypatch.setenv("WIX_DATABASE_URL", url)
    decided = ("--as", "eva", "--reason", "a copy of its own")
    made = run("--defs", str(folder), "init", "wix_app", "--walled", "--repin", *decided, "--format", "json")
    logins = {}
    with psycopg.connect(url) as connection:
        _forget(connection, sandbox)
        connection.execute("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public, pg_temp")
        for role in ROLES:
            login = sql.Identifier(f"{role}_{name}")
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(login))
            group = sql.Identifier(f"credit_pipeline_{name}_{role}")
            connection.execute(sql.SQL("GRANT {} TO {}").format(group, login))
            logins[role] = url.replace("postgres@", f"{role}_{name}@", 1)
    yield WalledSandbox(url=url, folder=folder, logins=logins, made=made, run=run, set_variable=monkeypatch.setenv)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**words))


def test_three_logins_look_plan_approve_apply_and_take_back(walled: WalledSandbox, sandbox: Sandbox) -> None:
    assert walled.made.status == 0, walled.made.err
    assert (walled.made.json["install"], walled.made.json["four_eyes"]) == ("walled", True)
    (note,) = walled.made.json["notes"]
    assert note.startswith("trigger `app_instances_audit` of `public.app_instances` runs as `credit_pipeline_walled_")
    account = sandbox.of_kind("paid_at_100")  # below its allowance, which needs no history to be seen
    reader = walled.as_only("reader")
    looked = reader("check", "wix_app", "--account", account, "--format", "json")
    assert looked.json["classes"] == {"grant_missing": 1}
    refused = reader("fix", "wix_app", "--account", account)
    assert refused.status == 2
    assert refused.sentence.startswith("wix_app: report-only, because the database user of WIX_READER_URL may not save")
    assert '_corrector" TO` that user; check, health and account work' in refused.sentence
    (system,) = reader("systems", "--format", "json").json["systems"]
    assert (system["install"], system["ready"]) == ("report-only", False)

    corrector = walled.as_only("corrector")
    (system,) = corrector("systems", "--format", "json").json["systems"]
    assert (system["install"], system["four_eyes"], system["ready"]) == ("walled", True, True)
    planned = corrector("fix", "wix_app", "--account", account, "--format", "json")
    assert planned.status == 1, planned.err
    plan, digest = planned.json["plan_id"], planned.json["digest"]
    assert planned.json["four_eyes"] is True
    own = corrector("approve", plan, "--as", "eva", "--reason", "mine")
    assert own.status == 2
    assert "lacks a right" in own.sentence

    approver = walled.as_only("approver")
    wrong = approver("approve", plan, "--digest", "00000000", "--as", "eva", "--reason", "read it")
    assert wrong.status == 2
    assert "--digest is not the beginning of its digest" in wrong.sentence
    approved = approver(
        "approve", plan, "--digest", digest[:10], "--as", "eva", "--reason", "read it", "--format", "json"
    )
    assert approved.status == 0, approved.err
    assert (approved.json["state"], approved.json["four_eyes"]) == ("approved", True)
    assert approver("stop", "wix_app", "--as", "eva", "--reason", "a drill").status == 0
    assert approver("resume", "wix_app", "--as", "eva", "--reason", "it was one").status == 0

    live = walled.as_only("corrector")("apply", plan, "--live", "--format", "json")
    assert live.status == 0, live.err
    assert live.json["outcomes"] == {"changed": 1}
    assert [made["four_eyes"] for made in live.json["approvals"]] == [True]

    refused = walled.as_only("reader")("undo", plan)
    assert refused.status == 2
    assert refused.sentence.startswith("wix_app: report-only, because the database user of WIX_READER_URL may not save")
    corrector = walled.as_only("corrector")
    shown = corrector("undo", plan, "--format", "json")
    assert (shown.status, shown.json["outcomes"]) == (1, {"needs_approval": 1}), shown.err
    undo = shown.json["plan_id"]
    own = corrector("approve", undo, "--lane", "approve", "--as", "eva", "--reason", "mine")
    assert own.status == 2
    assert "lacks a right" in own.sentence
    words = ("--digest", shown.json["digest"][:10], "--as", "eva", "--reason", "the plan was wrong")
    assert walled.as_only("approver")("approve", undo, "--lane", "approve", *words).status == 0
    undone = walled.as_only("corrector")("undo", plan, "--live", "--format", "json")
    assert (undone.status, undone.json["outcomes"]) == (0, {"changed": 1}), undone.err
    assert undone.json["totals"]["credits"] == -live.json["totals"]["credits"]


def test_it_says_which_grants_a_dba_types_and_a_plain_init_keeps_the_walls(walled: WalledSandbox) -> None:
    again = walled.run("--defs", str(walled.folder), "init", "wix_app")
    assert again.status == 0, again.err
    assert "install walled, two people approve" in again.out
    for role in ROLES:
        assert f"_{role}\" TO <the {role}'s login>;" in again.out
