"""The common shape of all assets of a system: key, group, kinds, owners, tags, IO manager."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.io_manager import MAY_BE_ABSENT

CODE_VERSION = "1"
"""Increased when the meaning of an asset's value changes."""

RECORDS = "credit_records"
"""The key of the IO manager of all values."""


def credit_asset(
    system: CreditSystem,
    noun: str,
    description: str,
    *,
    kinds: set[str],
    of: tuple[str, ...] = (),
    or_none: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`@dg.asset` for `[system, noun]`. `of`: upstream assets, which are also the argument names.

    With `or_none`, an upstream asset that was never materialized is passed as None.
    """
    in_metadata = MAY_BE_ABSENT if or_none else None
    return dg.asset(
        key=[system.name, noun],
        ins={upstream: dg.AssetIn(key=[system.name, upstream], metadata=in_metadata) for upstream in of},
        io_manager_key=RECORDS,
        group_name=system.name,
        description=description,
        kinds=kinds,
        owners=OWNERS,
        tags=tags_of(system),
        code_version=CODE_VERSION,
        metadata=metadata,
    )


OWNERS = ["team:billing"]


def tags_of(system: CreditSystem) -> dict[str, str]:
    """Tags for selecting a system's assets."""
    return {"credit_pipeline/environment": system.environment}
