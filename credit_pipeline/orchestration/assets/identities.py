"""The assets `identities` and `id_mapping_report`, for systems whose users have another id than their account."""

from datetime import UTC, datetime

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.assets.asset_shape import credit_asset
from credit_pipeline.orchestration.assets.sources import collected
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.collect.collect import collect_identities
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.collect.tables import IDENTITIES
from credit_pipeline.services.report.identity_report import IdentityReport, identity_report

IDENTITY_COLUMNS = {
    "auth_id": "the user of the authentication system",
    "mapped": "accounts that the mapping table names for this user",
    "metadata": "accounts that the metadata of the user's subscription names, by key",
    "local": "whether the user has a local subscription row",
    "same_id": "whether the store has an account with the user's own id: a guess",
    "billing_id": "the customer that the local row names",
    "email_hash": "a keyed digest of the address, for suggestions only, never for linking",
}


def identity_assets(system: CreditSystem) -> list[dg.AssetsDefinition]:
    """`identities` and `id_mapping_report`; empty for systems whose account id is the billing id."""
    return [_identities(system), _id_mapping_report(system)] if system.ledger else []


def _identities(system: CreditSystem) -> dg.AssetsDefinition:
    @credit_asset(
        system,
        "identities",
        "Every user of the authentication system, paying or not, with the store account that each layer of evidence "
        "names: mapping table, subscription metadata, same id.",
        kinds={"postgres", "parquet"},
        metadata={"dagster/column_schema": metadata.column_schema(IDENTITIES, IDENTITY_COLUMNS)},
    )
    def identities(
        context: dg.AssetExecutionContext, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[Snapshot]:
        with one_sentence(system.name):
            snapshot = collect_identities(credit_gateways.of(system), run_id=context.run.run_id, now=datetime.now(UTC))
        assert snapshot is not None, f"{system.name}: a ledger store has identities"
        return collected(snapshot)

    return identities


def _id_mapping_report(system: CreditSystem) -> dg.AssetsDefinition:
    @credit_asset(
        system,
        "id_mapping_report",
        "Which users are mapped and by which layer, which are not, where layers disagree, and orphans: accounts and "
        "paying customers without a user. Inputs annotated as pandas frames get a frame.",
        kinds={"python", "duckdb"},
        of=("balances", "identities", "subscriptions"),
    )
    def id_mapping_report(
        balances: Snapshot, identities: Snapshot, subscriptions: Snapshot, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[IdentityReport]:
        with one_sentence(system.name):
            archive = credit_gateways.of(system).snapshots
            report = identity_report(
                system.name,
                archive.read(balances),
                archive.read(identities),
                archive.read(subscriptions),
                as_of=identities.as_of.isoformat(),
            )
        return dg.MaterializeResult(
            value=report,
            metadata=metadata.identity_metadata(report),
            data_version=metadata.content_version(
                {name: value for name, value in report.as_json().items() if name != "as_of"}
            ),
        )

    return id_mapping_report
