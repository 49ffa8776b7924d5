"""The assets `balances`, `subscriptions` and `mismatch_report`."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.assets.asset_shape import credit_asset
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.collect.collect import collect_balances, collect_subscriptions
from credit_pipeline.services.collect.ports import Progress, Snapshot
from credit_pipeline.services.collect.tables import (
    COUNTER_BALANCES,
    LEDGER_BALANCES,
    LISTED_SUBSCRIPTIONS,
    SUBSCRIPTIONS,
)
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report

BALANCE_COLUMNS = {
    "account_id": "the account of the product's store",
    "label": "the product's name for the account's plan",
    "total": "credits granted so far, spent or not",
    "used": "credits spent",
    "status": "the product's name for the subscription's state",
    "local": "whether the product has a subscription row for the account",
    "spent": "credits spent according to the ledger's transactions",
    "rows": "transactions of the account",
    "unknown_types": "transaction types that are not configured",
    "entries": "recent transactions other than spending",
}
SUBSCRIPTION_COLUMNS = {
    "billing_id": "the customer or instance at the provider",
    "lookup": "answered, gone, missing or error; after an error the state is unknown",
    "status": "free, active, trialing, dunning or ended",
    "raw_plan": "the provider's own name for the plan",
    "cycle": "monthly, yearly or one_time",
    "anchor": "the time from which periods are counted",
    "changed_at": "time of the last change, by the provider",
    "ends_at": "when it ends, if the provider says so",
    "subjects": "the user ids in the subscription's metadata, by path",
    "invoices": "billed periods and whether they were paid: the evidence for grants",
}


class BalancesConfig(dg.Config):
    """Which accounts to read."""

    accounts: list[str] = Field(default_factory=list, description="Only these accounts; empty means all.")


class SubscriptionsConfig(dg.Config):
    """Which accounts' subscriptions to read."""

    accounts: list[str] = Field(
        default_factory=list, description="The accounts that the balances were read for; empty means all."
    )


class ReportConfig(dg.Config):
    """How to judge."""

    settle: bool = Field(
        default=False,
        description="Leave changes more recent than settle_time to the product's own webhook, as the schedule does.",
    )
    accounts: list[str] = Field(
        default_factory=list,
        description="The accounts that the balances were read for; empty means all. A partial run is not recorded.",
    )


def sources_and_report(system: CreditSystem, progress: Progress | None = None) -> list[dg.AssetsDefinition]:
    """`balances`, `subscriptions`, `mismatch_report`."""
    return [_balances(system), _subscriptions(system, progress), _mismatch_report(system)]


def _balances(system: CreditSystem) -> dg.AssetsDefinition:
    store = system.store

    @credit_asset(
        system,
        "balances",
        "The credits of every account, read from the product's tables in one transaction. An immutable snapshot: one "
        "Parquet file per run.",
        kinds={"postgres", "parquet"},
        metadata={
            "dagster/table_name": f"{store.schema}.{store.table}",
            "dagster/column_schema": metadata.column_schema(
                LEDGER_BALANCES if system.ledger else COUNTER_BALANCES, BALANCE_COLUMNS
            ),
        },
    )
    def balances(
        context: dg.AssetExecutionContext, config: BalancesConfig, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[Snapshot]:
        with one_sentence(system.name):
            snapshot = collect_balances(
                credit_gateways.of(system),
                run_id=context.run.run_id,
                now=datetime.now(UTC),
                accounts=_account_ids(config.accounts),
            )
        return collected(snapshot)

    return balances


def _subscriptions(system: CreditSystem, progress: Progress | None) -> dg.AssetsDefinition:
    """Reads billing's list or, without one, account by account; an account without an answer is unknown, never free."""

    def pulled(
        context: dg.AssetExecutionContext,
        resource: CreditGateways,
        balances: Snapshot,
        identities: Snapshot | None = None,
        accounts: list[AccountId] | None = None,
    ) -> dg.MaterializeResult[Snapshot]:
        with one_sentence(system.name):
            snapshot = collect_subscriptions(
                resource.of(system),
                balances,
                identities,
                run_id=context.run.run_id,
                now=datetime.now(UTC),
                accounts=accounts,
                progress=_logged_progress(context.log, progress),
            )
        return collected(snapshot)

    if system.ledger:

        @credit_asset(
            system,
            "subscriptions",
            "Every subscription that billing lists, with its customer and recent invoices, which are the evidence for "
            "grants. Nothing is corrected from an incomplete list.",
            kinds={"api", "parquet"},
            of=("balances", "identities"),
            metadata={"dagster/column_schema": metadata.column_schema(LISTED_SUBSCRIPTIONS, SUBSCRIPTION_COLUMNS)},
        )
        def subscriptions(
            context: dg.AssetExecutionContext,
            config: SubscriptionsConfig,
            balances: Snapshot,
            identities: Snapshot,
            credit_gateways: CreditGateways,
        ) -> dg.MaterializeResult[Snapshot]:
            return pulled(context, credit_gateways, balances, identities, _account_ids(config.accounts))

        return subscriptions

    @credit_asset(
        system,
        "subscriptions",
        "The subscription state of every account at billing. Read account by account, hence the dependency on "
        "`balances`; an account without an answer is unknown, never free.",
        kinds={"api", "parquet"},
        of=("balances",),
        metadata={"dagster/column_schema": metadata.column_schema(SUBSCRIPTIONS, SUBSCRIPTION_COLUMNS)},
    )
    def subscriptions_by_account(
        context: dg.AssetExecutionContext, balances: Snapshot, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[Snapshot]:
        return pulled(context, credit_gateways, balances)

    return subscriptions_by_account


def _mismatch_report(system: CreditSystem) -> dg.AssetsDefinition:
    description = (
        "Every account that is not in order, with one primary code, its evidence and who may act on it. Accounts in "
        "sync, exempt accounts and the classes add up to the population."
    )

    def judged(
        resource: CreditGateways,
        config: ReportConfig,
        balances: Snapshot,
        subscriptions: Snapshot,
        identities: Snapshot | None = None,
    ) -> dg.MaterializeResult[Report]:
        with one_sentence(system.name):
            gateways = resource.of(system)
            _refuse_old(system, gateways, balances, subscriptions)
            report = reconcile(
                system,
                gateways,
                balances,
                subscriptions,
                identities=identities,
                now=balances.as_of,  # recorded as of the read, not as of the judgement
                settle=config.settle,
                accounts=_account_ids(config.accounts),
            )
        found = {"classes": report.classes, "mismatches": report.as_json()["mismatches"]}
        return dg.MaterializeResult(
            value=report, metadata=metadata.report_metadata(report), data_version=metadata.content_version(found)
        )

    if system.ledger:

        @credit_asset(
            system,
            "mismatch_report",
            description,
            kinds={"python", "duckdb"},
            of=("balances", "subscriptions", "identities"),
        )
        def mismatch_report(
            config: ReportConfig,
            balances: Snapshot,
            subscriptions: Snapshot,
            identities: Snapshot,
            credit_gateways: CreditGateways,
        ) -> dg.MaterializeResult[Report]:
            return judged(credit_gateways, config, balances, subscriptions, identities)

        return mismatch_report

    @credit_asset(system, "mismatch_report", description, of=("balances", "subscriptions"), kinds={"python", "duckdb"})
    def counter_report(
        config: ReportConfig, balances: Snapshot, subscriptions: Snapshot, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[Report]:
        return judged(credit_gateways, config, balances, subscriptions)

    return counter_report


def _refuse_old(system: CreditSystem, gateways: Gateways, balances: Snapshot, subscriptions: Snapshot) -> None:
    """Raises SourceError for snapshots that are too old, out of order, or not newer than those last judged.

    Recording them would make the history wrong.
    """
    again = "materialize balances and subscriptions again, together with mismatch_report"
    age = datetime.now(UTC) - max(balances.finished_at, subscriptions.finished_at)
    oldest = system.policy.limits.max_snapshot_age
    if age > oldest:
        minutes, limit = (int(span.total_seconds() // 60) for span in (age, oldest))
        raise SourceError(f"{system.name}: the snapshots are {minutes} min old, limit {limit}: {again}")
    if subscriptions.as_of < balances.as_of:
        raise SourceError(f"{system.name}: the subscriptions were read before the balances: {again}")
    last = gateways.memory.last_collection() if gateways.memory.installed() else None
    if last is not None and last.as_of >= balances.as_of:
        raise SourceError(f"{system.name}: these balances were judged already, or newer ones were: {again}")


def collected(snapshot: Snapshot) -> dg.MaterializeResult[Snapshot]:
    """The snapshot as the result of an asset."""
    return dg.MaterializeResult(
        value=snapshot,
        metadata=metadata.snapshot_metadata(snapshot),
        data_version=dg.DataVersion(snapshot.sha256),
    )


def _account_ids(accounts: list[str]) -> list[AccountId] | None:
    return [AccountId(account) for account in accounts] or None


def _logged_progress(log: dg.DagsterLogManager, also: Progress | None) -> Progress:
    """Logs progress at every tenth to the run's log, and passes it on to `also`."""
    shown = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        tenth = done * 10 // total if total else 10
        if tenth > shown:
            shown = tenth
            log.info(f"read billing for {done:,} of {total:,} accounts")
        if also is not None:
            also(done, total)

    return progress
