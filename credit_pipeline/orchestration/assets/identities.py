"""Who is who, for systems whose users have another id than their account: the snapshot and the ID-mapping report."""

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
    "mapped": "accounts the mapping table gives this user",
    "metadata": "accounts the metadata of the user's subscription names, key by key",
    "local": "whether the user has a local subscription row",
    "same_id": "whether the store has an account of the user's own id: a guess",
    "billing_id": "the customer the local row names",
    "email_hash": "a keyed digest, to suggest and never to link; the address itself is not kept",
}


def identity_assets(system: CreditSystem) -> list[dg.AssetsDefinition]:
    """`identities` and `id_mapping_report`; none where the account's id is the id at billing."""
    return [_identities(system), _id_mapping_report(system)] if system.ledger else []


def _identities(system: CreditSystem) -> dg.AssetsDefinition:
    @credit_asset(
        system,
        "identities",
        "Every user of the authentication system, paid or not, with what each layer of evidence says about the store "
        "account: mapping table, subscription metadata, same id.",
        kinds={"postgres", "parquet"},
        metadata={"dagster/column_schema": metadata.column_schema(IDENTITIES, IDENTITY_COLUMNS)},
    )
    def identities(
        context: dg.AssetExecutionContext, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[Snapshot]:
        with one_sentence(system.name):
            snapshot = collect_identities(credit_gateways.of(system), run_id=context.run.run_id, now=datetime.now(UTC))
        assert snapshot is not None, f"{system.name}: a ledger's store has identities"
        return collected(snapshot)

    return identities


def _id_mapping_report(system: CreditSystem) -> dg.AssetsDefinition:
    @credit_asset(
        system,
        "id_mapping_report",
        "Who is mapped by which layer, who is not, where the layers disagree, and what belongs to nobody: accounts "
        "without a user, paying customers without a user. A pandas frame where an input asks for one.",
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
        told = report.as_json()
        return dg.MaterializeResult(
            value=report,
            metadata=metadata.identity_metadata(report),
            data_version=metadata.content_version({name: value for name, value in told.items() if name != "as_of"}),
        )

    return id_mapping_report
