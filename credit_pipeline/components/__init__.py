"""The Dagster component for YAML: `type: credit_pipeline.components.CreditReconciliation`."""

from credit_pipeline.components.reconciliation import CreditReconciliation

__all__ = ["CreditReconciliation"]
