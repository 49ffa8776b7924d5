"""The book of the sandbox's Wix: app instances and their subscriptions, in memory and in a JSON file.

`payload` is the exact shape of Wix's Get App Instance.
"""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import NAMESPACE_URL, uuid5

from credit_pipeline.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One app instance. Texts are in wire format, so that wrong ones can be planted.

    `uninstalled`, `not_found` and `lookup_error` are lasting states: no token, 404, and 500 on every request.
    """

    is_free: bool = True
    package_name: str | None = None
    billing_cycle: str | None = "MONTHLY"
    time_stamp: str | None = None
    expiration_date: str | None = None
    auto_renewing: bool | None = None
    free_trial: str | None = None
    """freeTrialInfo.status: IN_PROGRESS, ENDED or NOT_AVAILABLE."""
    free_trial_ends: str | None = None
    source: str = ""
    """The coupon, if there is one."""
    uninstalled: bool = False
    not_found: bool = False
    lookup_error: bool = False
    owner_email: str | None = None


_FIELDS = frozenset(field.name for field in fields(Instance))


def wire_time(moment: datetime) -> str:
    """An instant in Wix's format: `2026-01-31T10:00:00.000Z`."""
    assert moment.tzinfo is not None, "an instant needs its time zone"
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class BillingBook:
    """Instance id → Instance. Wix answers 404 for an id that is not in the book.

    Safe to change from one thread while another serves from it.
    """

    def __init__(self, instances: Mapping[str, Instance] | None = None, *, path: Path | None = None) -> None:
        self.path = path
        self._instances = dict(instances or {})
        self._saving = threading.Lock()

    @classmethod
    def load(cls, path: Path) -> Self:
        """The book stored in a file by `save`."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))["instances"]
            instances = {key: Instance(**_checked(value)) for key, value in stored.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"sandbox: {path.name} cannot be read as a billing book ({type(error).__name__}): "
                "plant the sandbox again"
            ) from error
        return cls(instances, path=path)

    def save(self, path: Path | None = None) -> None:
        """Writes the file atomically, readable by its owner only, since it holds e-mail addresses."""
        target = path or self.path
        if target is None:
            return
        blank = asdict(Instance())
        stored = {
            key: {name: value for name, value in asdict(instance).items() if value != blank[name]}
            for key, instance in list(self._instances.items())
        }
        with self._saving:
            scratch = target.with_name(target.name + ".new")
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"instances": stored}, file)
            scratch.replace(target)
            self.path = target

    def put(self, instance_id: str, instance: Instance | None = None, **values: Any) -> None:
        """Sets a whole instance. Instants may be given as datetimes."""
        self._instances[instance_id] = replace(instance or Instance(), **_checked(values))

    def patch(self, instance_id: str, **values: Any) -> None:
        """Changes some values of an instance that exists."""
        self._instances[instance_id] = replace(self._instances[instance_id], **_checked(values))

    def remove(self, instance_ids: Iterable[str]) -> None:
        """Removes instances. Unknown ids are ignored."""
        for instance_id in instance_ids:
            self._instances.pop(instance_id, None)

    def get(self, instance_id: str) -> Instance | None:
        """The instance, or None for an unknown id."""
        return self._instances.get(instance_id)

    @property
    def ids(self) -> list[str]:
        """All ids, in the order of their creation."""
        return list(self._instances)

    def __len__(self) -> int:
        return len(self._instances)

    def payload(self, instance_id: str) -> dict[str, Any]:
        """The JSON of GET /apps/v1/instance for this id. Raises KeyError for an unknown one."""
        return payload_of(instance_id, self._instances[instance_id])


def payload_of(instance_id: str, instance: Instance) -> dict[str, Any]:
    """The documented JSON. `billing` is absent for a free instance, and keys without a value are omitted."""
    answer: dict[str, Any] = {
        "appName": "SANDBOX_APP",
        "appVersion": "1.0.0",
        "instanceId": instance_id,
        "isFree": instance.is_free,
        "permissions": ["WIX_DEVELOPERS.MANAGE_APP_INSTANCE"],
        "availablePlans": [],
        "freeTrialAvailable": False,
    }
    if not instance.is_free:
        answer["billing"] = _billing(instance)
    return {"instance": answer, "site": _site(instance_id, instance)}


def _billing(instance: Instance) -> dict[str, Any]:
    billing: dict[str, Any] = {
        "packageName": instance.package_name,
        "billingCycle": instance.billing_cycle,
        "timeStamp": instance.time_stamp,
        "expirationDate": instance.expiration_date,
        "autoRenewing": instance.auto_renewing,
        "source": instance.source,
    }
    if instance.free_trial is not None:
        trial = {"status": instance.free_trial, "endDate": instance.free_trial_ends}
        billing["freeTrialInfo"] = {key: value for key, value in trial.items() if value is not None}
    return {key: value for key, value in billing.items() if value is not None}


def _site(instance_id: str, instance: Instance) -> dict[str, Any]:
    return {
        "locale": "en",
        "multilingual": {"isMultiLingual": False, "supportedLanguages": []},
        "paymentCurrency": "USD",
        "siteDisplayName": f"Site {instance_id[:8]}",
        "url": f"https://{instance_id[:8]}.example.com",
        "ownerInfo": {
            "email": instance.owner_email or f"owner-{instance_id[:8]}@example.com",
            "emailStatus": "VERIFIED_OPT_IN",
        },
        "siteId": str(uuid5(NAMESPACE_URL, instance_id)),
    }


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(values.keys() - _FIELDS)
    if unknown:
        raise ConfigurationError(f"sandbox: an instance has no value {unknown[0]!r}: use one of {sorted(_FIELDS)}")
    return {name: wire_time(value) if isinstance(value, datetime) else value for name, value in values.items()}
