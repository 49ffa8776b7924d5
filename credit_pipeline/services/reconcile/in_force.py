"""The catalogue that a judgement goes by: the amounts pinned in the database, and what older periods were sold with.

A changed amount in defs.yaml counts from the moment a person accepts it, for periods that start later. Were it to count
at once, every customer of a plan that was raised would look robbed. That grants are halted meanwhile is `correct.py`'s.
"""

from collections.abc import Iterator
from dataclasses import replace

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.services.gateways import Gateways


def in_force(system: CreditSystem, gateways: Gateways) -> CreditSystem:
    """The system with the amounts that are in force; as it is where nothing is pinned."""
    if not gateways.memory.installed():
        return system
    pinned, former = gateways.plans.pinned(), gateways.plans.former()
    plans = tuple(
        replace(plan, credits=pinned.get(plan.name, plan.credits), former=tuple(former.get(plan.name, ())))
        for plan in system.catalogue.plans
    )
    return system if plans == system.catalogue.plans else replace(system, catalogue=Catalogue(plans=plans))


def not_in_force(system: CreditSystem, judged_by: CreditSystem, gateways: Gateways) -> Iterator[str]:
    """A sentence for each plan of defs.yaml that is not pinned, or whose amount there nobody accepted."""
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
