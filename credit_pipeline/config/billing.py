"""The keys of `billing` in `defs.yaml`, by provider, and what they mean to the gateways. Nothing is contacted here."""

from typing import Annotated, Literal

from pydantic import Field

from credit_pipeline.config.system import StripeConfig, WixConfig
from credit_pipeline.config.values import Address, ApiVersion, EnvName, PlanPath, Section, SubjectPath

_WIX = WixConfig(app_id_env="", app_secret_env="")
_STRIPE = StripeConfig(key_env="")


class WixWords(Section):
    """A Wix app."""

    provider: Literal["wix"]
    app_id_env: EnvName
    app_secret_env: EnvName
    base_url: Address = _WIX.base_url
    base_url_env: EnvName | None = None
    in_flight: Annotated[int, Field(strict=True, ge=1, le=64)] = _WIX.in_flight


class StripeWords(Section):
    """A Stripe account."""

    provider: Literal["stripe"]
    key_env: EnvName
    base_url: Address = _STRIPE.base_url
    base_url_env: EnvName | None = None
    version: ApiVersion = _STRIPE.version
    subject: Annotated[tuple[SubjectPath, ...], Field(min_length=1)] = _STRIPE.subject
    plan: tuple[PlanPath, ...] = _STRIPE.plan
    per_second: Annotated[int, Field(strict=True, ge=1, le=100)] = _STRIPE.per_second


BillingWords = Annotated[WixWords | StripeWords, Field(discriminator="provider")]


def billing_config(words: WixWords | StripeWords) -> WixConfig | StripeConfig:
    """The provider as the gateways need it."""
    given = {key: value for key, value in words if key != "provider"}
    return WixConfig(**given) if isinstance(words, WixWords) else StripeConfig(**given)
