"""The YAML door for Dagster: `type: credit_pipeline.components.CreditReconciliation`."""

from credit_pipeline.components.reconciliation import CreditReconciliation

__all__ = ["CreditReconciliation"]
