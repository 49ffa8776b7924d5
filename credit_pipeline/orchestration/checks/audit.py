"""The check `audit_chain_verifies`, and the anchors (heads noted outside the database) that it verifies against."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from credit_pipeline.adapters.audit.anchors import Anchors
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.metadata import PREVIEW
from credit_pipeline.orchestration.resources import CreditGateways, working_folder
from credit_pipeline.services.audit.verify import Verification, verify

SENTENCE = "Every change has its audit row, the hash chain has no gap and no edit, and every noted head is still in it."


def note_head(system: CreditSystem, trail: Mapping[str, Any], run_id: str) -> None:
    """Appends the chain's head to the anchors in the working folder; does nothing for an empty chain."""
    if trail["head_sequence"]:
        anchors = Anchors(working_folder(), system.name)
        anchors.append(trail["head_sequence"], trail["head_hash"], run_id=run_id, at=datetime.now(UTC))


def audit_chain_verifies_of(system: CreditSystem) -> dg.AssetChecksDefinition:
    """The check `audit_chain_verifies`."""

    @dg.asset_check(asset=[system.name, "audit_trail"], name="audit_chain_verifies", description=SENTENCE)
    def audit_chain_verifies(credit_gateways: CreditGateways) -> dg.AssetCheckResult:
        with one_sentence(system.name):
            gateways = credit_gateways.of(system)
            if gateways.at_home or not gateways.memory.installed():
                return _not_evaluated(system)
            # Read before the snapshot, which lacks heads that are noted later.
            anchors, unreadable = Anchors(working_folder(), system.name).read()
            with gateways.plans.audit_snapshot() as snapshot:
                return _result(verify(system.name, snapshot, anchors, unreadable=unreadable))

    return audit_chain_verifies


def _not_evaluated(system: CreditSystem) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="Not evaluated: nothing is installed in the product's database, so there is no audit.",
        metadata={"recovery": f"credit-pipeline init {system.name}"},
    )


def _result(found: Verification) -> dg.AssetCheckResult:
    facts: dict[str, Any] = {
        "rows": found.rows,
        "head_sequence": found.head[0],
        "head_hash": found.head[1],
        "anchors": found.anchors,
    }
    if found.verified:
        return dg.AssetCheckResult(passed=True, description=SENTENCE, metadata=facts)
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.found:,} faults in {found.rows:,} audit rows: {found.faults[0].sentence}.",
        metadata=facts
        | {
            "count": found.found,
            "sample": dg.MetadataValue.json([fault.sentence for fault in found.faults[:PREVIEW]]),
            "truncated": found.found > PREVIEW,
            "recovery": f"credit-pipeline audit {found.system} verify, and credit-pipeline stop {found.system} until "
            "it is known who wrote the audit",
        },
    )
