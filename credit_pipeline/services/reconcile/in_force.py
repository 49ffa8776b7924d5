"""The catalogue in force: the amounts pinned in the database, and those of older periods.

A changed amount in defs.yaml applies from the moment a person accepts it, to periods that start later. If it applied at
once, every customer of a raised plan would look short of credits.
"""

from collections.abc import Iterator
from dataclasses import replace

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.services.gateways import Gateways


def in_force(system: CreditSystem, gateways: Gateways) -> CreditSystem:
    """The system with the amounts in force; unchanged if nothing is pinned."""
    if not gateways.memory.installed():
        return system
    pinned, former = gateways.plans.pinned(), gateways.plans.former()
    plans = tuple(
        replace(plan, credits=pinned.get(plan.name, plan.credits), former=tuple(former.get(plan.name, ())))
        for plan in system.catalogue.plans
    )
    return system if plans == system.catalogue.plans else replace(system, catalogue=Catalogue(plans=plans))


def not_in_force(system: CreditSystem, judged_by: CreditSystem, gateways: Gateways) -> Iterator[str]:
    """One sentence per plan of defs.yaml that is not pinned, or whose amount was not accepted."""
    pinned = gateways.plans.pinned() if gateways.memory.installed() else {}
    for plan in system.catalogue.plans:
        if pinned and plan.name not in pinned and not plan.free:
            yield (
                f"{system.name}: {plan.name} is new in defs.yaml and not pinned: its grants are halted until "
                f"credit-pipeline init {system.name}"
            )
            continue
        known = judged_by.catalogue.named(plan.name)
        if known is not None and known.credits != plan.credits:
            yield (
                f"{system.name}: {plan.name} gives {plan.credits:,} credits in defs.yaml, {known.credits:,} is pinned, "
                f"so it is judged by that and its grants are halted until credit-pipeline init {system.name} "
                "--accept-catalogue --as YOU --reason WHY"
            )
