"""One system's open connections for the length of a run. Adapters implement the ports."""

from dataclasses import dataclass

from credit_pipeline.services.alerts.ports import Outbox
from credit_pipeline.services.collect.ports import Billing, Snapshots, Store
from credit_pipeline.services.plans.ports import PlanStore
from credit_pipeline.services.reconcile.ports import MemoryStore
from credit_pipeline.services.sync.ports import Inbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """One system's open connections, for the length of a run."""

    billing: Billing
    store: Store
    memory: MemoryStore
    plans: PlanStore
    snapshots: Snapshots
    inbox: Inbox | None = None
    """The failed webhooks; None where nobody asks about them."""
    outbox: Outbox | None = None
    """What people are to be told; None where nobody asks about it."""
    at_home: bool = False
    """Memory and plans are not in the product's database, which has none of ours: nothing can be applied."""
