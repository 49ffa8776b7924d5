"""`init`: the scripts that it prints for a DBA, what needs a person, and what works where nothing may be installed.

What it does in a database is in adapters/test_install.py, test_roles.py, test_pins.py and test_witness.py.
"""

import uuid

import psycopg
import pytest

from credit_pipeline_tests.cli.conftest import Run, Sandbox


def test_the_hardening_is_printed_and_needs_no_database(run: Run) -> None:
    ended = run("init", "bestauth", "--print-hardening")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("-- For the owner of bestauth's tables, printed by `credit-pipeline init bestauth ")
    assert '"points_transactions_granted_once" ON "public"."points_transactions"' in ended.out
    assert 'FUNCTION "public"."add_points_once"("p_user_id" ' in ended.out
    assert ended.out.endswith("COMMIT;\n")
    assert run("init", "bestauth", "--print-hardening", "--format", "json").json == {
        "system": "bestauth",
        "sql": ended.out,
    }


def test_a_counter_is_told_that_there_is_nothing_to_harden(run: Run) -> None:
    ended = run("init", "wix_app", "--print-hardening")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("-- wix_app: nothing to harden. ")
    assert all(line.startswith("--") for line in ended.out.splitlines())  # harmless where it is piped into psql


def test_two_scripts_are_not_printed_into_one_another(run: Run) -> None:
    ended = run("init", "bestauth", "--print-sql", "--print-hardening")
    assert (ended.status, ended.out) == (2, "")
    assert "give only one of them" in ended.err


def test_the_walls_are_printed_for_a_dba(run: Run) -> None:
    walled, single = (run("init", "wix_app", "--print-sql", *more) for more in (("--walled",), ()))
    assert walled.status == 0
    assert "CREATE ROLE" in walled.out
    assert 'GRANT SELECT ("instance_id", "plan_id"' in walled.out
    assert "CREATE ROLE" not in single.out


@pytest.mark.parametrize("option", ["--repin", "--accept-catalogue"])
def test_a_pin_is_changed_by_a_person_with_a_reason(run: Run, option: str) -> None:
    ended = run("init", "wix_app", option, "--as", "eva")
    assert ended.status == 2
    assert "a decision needs a name and a reason: give both --as WHO and --reason TEXT" in ended.sentence


@pytest.mark.parametrize("option", ["--repin", "--accept-catalogue", "--witness", "--no-witness"])
def test_what_changes_an_install_is_not_printed(run: Run, option: str) -> None:
    ended = run("init", "wix_app", "--print-sql", option, "--as", "eva", "--reason", "why")
    assert (ended.status, ended.out) == (2, "")
    assert "changes an install and prints nothing" in ended.err


def test_the_witness_is_put_there_and_taken_away_on_record(
    run: Run, sandbox: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    there = run("init", "wix_app", "--witness", "--as", "eva", "--reason", "credits vanish")
    assert "note: witness: what lowers a balance in `public.app_instances`" in there.out.replace("\n", " ")
    assert "install single-role, one person approves (four_eyes: false)" in there.out
    gone = run("init", "wix_app", "--no-witness", "--format", "json")
    assert (gone.status, gone.json["notes"], gone.json["billing"]["app"]) == (0, [], "sandbox-app")
    with psycopg.connect(product) as connection:
        rows = connection.execute("SELECT what, who, reason FROM credit_pipeline.act ORDER BY id").fetchall()
    assert rows == [("witness", "eva", "credits vanish"), ("no_witness", "postgres", "init --no-witness")]


def test_without_the_right_to_install_there_is_a_report_and_nothing_is_applied(
    run: Run, sandbox: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = sandbox.healthy[0]
    login = f"looker_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(product) as connection:
        connection.execute("INSERT INTO app_instances (instance_id) VALUES (%s)", (account,))
        connection.execute(f"CREATE ROLE {login} LOGIN".encode())
        connection.execute(f"GRANT CONNECT ON DATABASE {connection.info.dbname} TO {login}".encode())
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {login}".encode())
        connection.execute(f"GRANT SELECT ON app_instances, plans TO {login}".encode())
    monkeypatch.setenv("WIX_DATABASE_URL", product.replace("postgres@", f"{login}@", 1))
    assert run("check", "wix_app", "--format", "json").json["population"] == 1
    assert run("health", "wix_app", "--format", "json").status in (0, 1)
    assert run("account", "wix_app", account, "--format", "json").json["account_id"] == account
    refused = run("fix", "wix_app", "--live")
    assert refused.status == 2
    assert "report-only" in refused.sentence
    assert "run `GRANT CREATE ON DATABASE" in refused.sentence
    assert refused.sentence.endswith("; check, health and account work")
    systems = run("systems", "--format", "json").json["systems"]
    (system,) = (found for found in systems if found["name"] == "wix_app")
    assert (system["installed"], system["install"], system["ready"]) == (False, "report-only", False)
    assert "GRANT CREATE ON DATABASE" in system["readiness"]
    assert "report-only" in run("systems").out
