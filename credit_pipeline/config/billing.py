"""The section `billing` of `defs.yaml`, by provider. Secrets are named by environment variable, never held."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from credit_pipeline.config.values import Address, ApiVersion, EnvName, PlanPath, Section, SubjectPath


class WixConfig(Section):
    """A Wix app: one token and one GET per instance."""

    provider: Literal["wix"]
    app_id_env: EnvName
    app_secret_env: EnvName
    base_url: Address = "https://www.wixapis.com"
    base_url_env: EnvName | None = None
    """A variable that, where set, replaces `base_url`; the sandbox uses it."""
    in_flight: Annotated[int, Field(strict=True, ge=1, le=64)] = 16

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variable → what it holds."""
        return {self.app_id_env: "the Wix app's id", self.app_secret_env: "the Wix app's secret"}


class StripeConfig(Section):
    """Stripe: subscriptions, customers and invoices are listed."""

    provider: Literal["stripe"]
    key_env: EnvName
    base_url: Address = "https://api.stripe.com"
    base_url_env: EnvName | None = None
    version: ApiVersion = "2026-10-28.endive"
    subject: Annotated[tuple[SubjectPath, ...], Field(min_length=1)] = ("metadata.user_id", "customer.metadata.user_id")
    """Paths of a subscription that name the product's user; all are read and compared."""
    plan: tuple[PlanPath, ...] = ("price.metadata.plan",)
    """Paths of an item that name the plan, asked after the price's id and lookup key."""
    per_second: Annotated[int, Field(strict=True, ge=1, le=100)] = 20

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variable → what it holds."""
        return {self.key_env: "a restricted, read-only Stripe key"}


Billing = Annotated[WixConfig | StripeConfig, Field(discriminator="provider")]
