"""The Dagster component that turns one `defs.yaml` into the definitions of one system."""

from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from credit_pipeline.config.attributes import SystemAttributes
from credit_pipeline.config.loader import FILE, load_file
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.orchestration.assemble import reconciliation_defs

DAGSTERS_OWN_KEYS = ("template_vars_module", "requirements", "post_processing")


class Attributes(SystemAttributes):
    """The keys of `attributes`, for Dagster's listings and for editors.

    Invalid values pass here and are rejected by our loader: Dagster's message would repeat the value, which may be a
    secret, and the loader's shows the position.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _leave_mistakes_to_the_loader(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError:
            return cls.model_construct()


class CreditReconciliation(dg.Component):
    """Keeps the credit balances in one product's Postgres true to what its billing provider says was bought.

    The folder's name is the system's name. The file configures plans, billing, store and policy, and names the
    environment variables that hold secrets. `store.layout` is `counter` (one row per account) or `ledger` (every
    movement, and users with another id). Produces the assets from `balances` and `subscriptions` to `audit_trail` with
    their checks, the jobs `<system>_reconcile`, `<system>_apply`, `<system>_undo` and `<system>_health`, the jobs about
    single accounts, and schedules and sensors. Scheduled runs and sensors write nothing unless `automation.apply` is
    true.
    """

    def __init__(self, system: CreditSystem) -> None:
        self.system = system

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What the component produces, for Dagster's listings."""
        produces = ["asset", "asset_check", "job", "schedule", "sensor"]
        return dg.ComponentTypeSpec(tags=["billing", "credits"], produces=produces)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The model of `attributes`; a plain one, into which Dagster renders no templates."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:  # noqa: ARG003 (see Attributes)
        """The system of this folder. Raises ConfigurationError with file, line and position."""
        path = context.path if context.path.is_file() else context.path / FILE
        if not path.is_file():
            raise ConfigurationError(f"{path} does not exist: a system is a folder with a {FILE}")
        return cls(load_file(path, also=DAGSTERS_OWN_KEYS))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 (the base class's signature)
        """Assets, checks, jobs, schedules and sensors of this system."""
        return reconciliation_defs(self.system)
