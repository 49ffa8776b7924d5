"""The scripts that `init` prints for a DBA. What they do in a database is in adapters/test_hardening.py."""

from credit_pipeline_tests.cli.conftest import Run


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
    assert "ask for one at a time" in ended.err
