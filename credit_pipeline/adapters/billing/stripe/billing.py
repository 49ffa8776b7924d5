"""The Stripe client: lists subscriptions with their invoices, refunds and disputes, of all or of given customers.

It is read-only: no method sends anything but GET.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, Self

from credit_pipeline.adapters.billing.http.client import RequestError, RetryPolicy, host_name
from credit_pipeline.adapters.billing.http.fan_out import FanOut
from credit_pipeline.adapters.billing.stripe.account import EARLY, AccountReading, longer_periods, since_window
from credit_pipeline.adapters.billing.stripe.events import MAX_PAGES as EVENT_PAGES
from credit_pipeline.adapters.billing.stripe.events import undelivered_events
from credit_pipeline.adapters.billing.stripe.invoices import Invoice, with_evidence
from credit_pipeline.adapters.billing.stripe.listing import Listing, StripeList, Window
from credit_pipeline.adapters.billing.stripe.paths import checked_plan, checked_subject
from credit_pipeline.adapters.billing.stripe.reader import StripeReader
from credit_pipeline.adapters.billing.stripe.requests import Refused, Stop, StripeGet, Unknown, default_retry_policy
from credit_pipeline.adapters.billing.stripe.returns import Return, Returns
from credit_pipeline.adapters.billing.stripe.wire import Reading
from credit_pipeline.adapters.billing.subscription_rows import listed_pull, listed_row
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Progress, Pull
from credit_pipeline.services.sync.ports import Undelivered

MAX_PAGES = 5_000
"""Half a million rows, which take four minutes to request."""
_READ = "subscriptions, customers, invoices, refunds (charges) and disputes"
_PAYMENTS_LISTED = "2025-03-31"
"""Since this API version an invoice has a list of payments."""


class StripeBilling:
    """The Billing and EventSource ports over Stripe's API.

    `subject` and `plan` are configured paths into a subscription. `lookback` is how far back invoices are read; for a
    current period that is longer, invoices are read from its start. `base_url_name` and `credentials_name` are the
    setting and the variable that error messages name.
    """

    provider = "stripe"
    lists = True

    def __init__(
        self,
        *,
        system: str,
        base_url: str,
        key: str,
        version: str,
        subject: Sequence[str],
        plan: Sequence[str],
        per_second: int = 20,
        lookback: timedelta = timedelta(days=62),
        in_flight: int = 8,
        deadline: timedelta = timedelta(minutes=15),
        breaker: int = 5,
        max_pages: int = MAX_PAGES,
        retry_policy: RetryPolicy | None = None,
        allow_private: bool = False,
        base_url_name: str = "its base URL",
        credentials_name: str = "the Stripe key",
    ) -> None:
        self._system = system
        self._reading = Reading(
            system=system, subject=checked_subject(system, subject), plan=checked_plan(system, plan)
        )
        self._lookback = lookback
        self._in_flight = in_flight
        self._deadline_s = deadline.total_seconds()
        self._breaker = breaker
        self._payments = version >= _PAYMENTS_LISTED
        self._max_pages = max_pages
        self._base_url_name = base_url_name
        self._credentials_name = credentials_name
        self._api = StripeGet(
            system=system,
            base_url=base_url,
            key=key,
            version=version,
            per_second=per_second,
            in_flight=in_flight,
            retry_policy=retry_policy or default_retry_policy(),
            credentials_name=credentials_name,
            allow_private=allow_private,
        )

    def __repr__(self) -> str:
        return f"StripeBilling({self._system!r}, {self._api.host!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._api.close()

    def identity(self) -> Mapping[str, str]:
        """Identifies this account, for `init` to pin. Sends no request; the key cannot be recovered from it."""
        mode = {True: "test", False: "live", None: "unknown"}[self._api.test_key]
        host = host_name(self._api.host)
        return {"provider": self.provider, "mode": mode, "key": self._api.key_print, "host": host}

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:
        """All subscriptions created until `now` with their invoices, or those of the given customers, in order.

        A list that may lack rows makes an incomplete Pull. Raises SourceError if Stripe cannot be reached, rejects the
        key, or answers no request.
        """
        if ids is not None:
            return self._of(list(dict.fromkeys(ids)), now, progress)
        modes: set[bool] = set()
        end = time.monotonic() + self._deadline_s
        account = AccountReading(
            reader_of=lambda stop: self._reader(end, stop, modes),
            now=now,
            end=end,
            lookback=self._lookback,
            in_flight=self._in_flight,
            breaker=self._breaker,
            progress=progress,
        ).run()
        if account.nothing is not None:
            self._give_up(account.nothing)
        return listed_pull(account.rows, level=account.level, doubts=[*account.doubts, *self._mode_doubts(modes)])

    def undelivered(self, oldest: datetime, newest: datetime, within: timedelta) -> Undelivered:
        """The undelivered events created in this time range, oldest first, with doubts if some may be missing.

        Takes at most `within`. Raises SourceError if Stripe cannot be reached, rejects the key, or answers no request.
        """
        end = time.monotonic() + min(within.total_seconds(), self._deadline_s)
        lists = StripeList(self._api, end=end, max_pages=EVENT_PAGES, stop=lambda: lambda _: False, modes=set())
        window = Window(oldest=int(oldest.timestamp()), newest=int(newest.timestamp()))
        listing = undelivered_events(lists, window)
        if listing.error is not None and not listing.pages:
            self._give_up(listing.error, read="events")
        events = sorted(listing.rows.values(), key=lambda event: event.created)
        return Undelivered(
            events=tuple(events),
            doubts=(*listing.doubts, *self._mode_doubts(lists.modes)),
            too_many=bool(listing.doubts) and listing.error is None and listing.pages >= EVENT_PAGES,
        )

    def _of(self, ids: list[BillingId], now: datetime, progress: Progress | None) -> Pull:
        end = time.monotonic() + self._deadline_s
        fan = FanOut(ids=ids, in_flight=self._in_flight, end=end, breaker=self._breaker)
        modes: set[bool] = set()
        reader = self._reader(end, fan.retry_stop, modes)
        found: dict[BillingId, list[dict[str, Any]]] = {}

        def ask(billing_id: BillingId) -> dict[str, Any]:
            try:
                rows = self._of_customer(reader, billing_id, now)
            except Refused as refused:
                fan.stop(refused)
                return listed_row(billing_id, Lookup.ERROR, "the key is refused")
            except RequestError as error:
                if error.unreachable and fan.answered == 0:
                    fan.stop(error)
                return listed_row(billing_id, Lookup.ERROR, str(error))
            found[billing_id] = rows
            return next((row for row in rows if row["lookup"] == Lookup.ERROR), rows[0])

        answers = fan.run(ask, progress)
        if isinstance(fan.fatal, RequestError):
            self._give_up(fan.fatal)
        if fan.gave_up and fan.answered == 0:
            self._give_up(RequestError(fan.last_detail or "its time was over", retryable=False))
        rows = [
            row
            for billing_id, answer in zip(ids, answers, strict=True)
            for row in found.get(billing_id, [listed_row(billing_id, Lookup.ERROR) | answer])
        ]
        doubts = [f"the pull was given up after {len(found):,}/{len(ids):,} customers: run it again"]
        proven = all(row["lookup"] != Lookup.ERROR for row in rows)
        return listed_pull(
            rows,
            level="L3" if proven else "L1",
            doubts=[*(doubts if fan.gave_up else []), *self._mode_doubts(modes)],
        )

    def _of_customer(self, reader: StripeReader, billing_id: BillingId, now: datetime) -> list[dict[str, Any]]:
        """One customer's rows. Raises RequestError if they are not complete."""
        listing = reader.subscriptions({"customer": billing_id}, Window())
        if isinstance(listing.error, Unknown) and listing.error.param == "customer":
            return [listed_row(billing_id, Lookup.MISSING)]
        if not (listing.rows or listing.doubts):
            return [reader.customer(billing_id)]
        _check_complete(listing)
        subscriptions = listing.rows.values()
        if any(subscription.billing_id != billing_id for subscription in subscriptions):
            raise RequestError("answered about another customer", retryable=False)
        since = now - self._lookback - EARLY
        since = longer_periods(subscriptions, since).get(billing_id, since)
        invoices = reader.invoices({"customer": billing_id}, since_window(since))
        _check_complete(invoices)
        if any(invoice.customer != billing_id for invoice in invoices.rows.values()):
            raise RequestError("answered about another customer", retryable=False)
        return with_evidence(subscriptions, invoices.rows.values(), _returns(reader, invoices.rows.values()))

    def _reader(self, end: float, stop: Callable[[], Stop], modes: set[bool]) -> StripeReader:
        lists = StripeList(self._api, end=end, max_pages=self._max_pages, stop=stop, modes=modes)
        return StripeReader(lists, self._reading, payments=self._payments)

    def _mode_doubts(self, modes: set[bool]) -> list[str]:
        """A doubt if the answers mix test and live mode, or are of another mode than the key."""
        if len(modes) > 1:
            return ["the answers mix test mode and live mode"]
        live, test_key = next(iter(modes), None), self._api.test_key
        if live is None or test_key is None or live is not test_key:
            return []
        answered, key = ("live", "test") if live else ("test", "live")
        return [f"the answers are of {answered} mode and the key is of {key} mode: correct {self._credentials_name}"]

    def _give_up(self, error: RequestError, read: str = _READ) -> NoReturn:
        where = f"{self._system}: the billing API at {self._api.host}"
        if isinstance(error, Refused):
            raise SourceError(f"{where} {self._refusal(error, read)}")
        if error.unreachable:
            raise SourceError(f"{where} cannot be reached ({error}): start it or correct {self._base_url_name}")
        raise SourceError(
            f"{where} answered nothing that can be used ({error}): "
            f"check {self._base_url_name} and the provider's status"
        )

    def _refusal(self, refused: Refused, read: str) -> str:
        if refused.allowed:
            return (
                f"does not let the key read all it must ({refused}): give {self._credentials_name} the right to read "
                f"{read}"
            )
        return f"refuses the key ({refused}): correct {self._credentials_name}"


def _returns(reader: StripeReader, invoices: Iterable[Invoice]) -> Returns:
    """The refunds and disputes of exactly these invoices' payments. Raises RequestError if they are not complete."""
    found: dict[str, Return] = {}
    for payment in dict.fromkeys(payment for invoice in invoices for payment in invoice.payments if payment.ids):
        for read in (reader.refunds, reader.disputes):
            listing = read(payment.params, Window())
            _check_complete(listing)
            if any(not one.payment.ids & payment.ids for one in listing.rows.values()):
                raise RequestError("answered about another payment", retryable=False)
            found |= listing.rows
    return Returns(found.values())


def _check_complete(listing: Listing[Any]) -> None:
    """Raises RequestError if the list may lack rows."""
    if listing.error is not None:
        raise listing.error
    if listing.doubts:
        raise RequestError(listing.doubts[0], retryable=False)
