"""The tables that cross the ports, as Arrow schemas.

* balances (counter): `account_id` string, `label` string?, `total` int64?, `used` int64?
* subscriptions: `billing_id` string, `lookup` string (domain.account.Lookup), `status` string? (BillingStatus),
  `raw_plan` string?, `subscription_id` string?, `cycle` string? (domain.periods.Cycle), `anchor` timestamp[us, UTC]?,
  `changed_at` timestamp[us, UTC]?, `ends_at` timestamp[us, UTC]?, `auto_renews` bool?, `detail` string?
* balances (ledger): as a counter's, with `total` = the sum of all transactions but spends, `used` = total − balance
  (null: no balance row), `status` string? and `local` bool (the product's subscription row), `period_start`,
  `period_end` timestamp[us, UTC]?, `spent` int64, `rows` int64, `unknown_types` list<string>, `entries` list<ENTRY>
* identities: `auth_id` string, `mapped` list<string>, `metadata` list<struct<key, value>> (valid uuids of the known
  keys), `local` bool (has a local subscription row), `same_id` bool (the store knows the user's own id),
  `billing_id` string?, `subscription_id` string? (what the local row names), `email_hash` string?
* subscriptions (listed): one row a subscription, with SUBSCRIPTIONS' columns and `lookup_key` string?, `metadata`
  string? (the plan's word there), `period_start`, `period_end`, `started_at` timestamp[us, UTC]?, `quantity` int64,
  `items` int64, `subjects` list<struct<source, id>>, `email_hash` string?, `invoices` list<INVOICE>
* observation: `account` string, `label` string?, `total` int64, `used` int64, `billed_plan` string?,
  `billed_period_start` timestamp[us, UTC]?, `billed_status` string?, `mark` string?, `as_of` timestamp[us, UTC],
  `unanswered_since` timestamp[us, UTC]?, `gap` int64? (ledger: balance less the sum of all transactions)
"""

import pyarrow as pa

SUBSCRIPTIONS = pa.schema(
    [
        pa.field("billing_id", pa.string(), nullable=False),
        pa.field("lookup", pa.string(), nullable=False),
        ("status", pa.string()),
        ("raw_plan", pa.string()),
        ("subscription_id", pa.string()),
        ("cycle", pa.string()),
        ("anchor", pa.timestamp("us", "UTC")),
        ("changed_at", pa.timestamp("us", "UTC")),
        ("ends_at", pa.timestamp("us", "UTC")),
        ("auto_renews", pa.bool_()),
        ("detail", pa.string()),
    ]
)


COUNTER_BALANCES = pa.schema(
    [
        pa.field("account_id", pa.string(), nullable=False),
        ("label", pa.string()),
        ("total", pa.int64()),
        ("used", pa.int64()),
    ]
)


_UTC = pa.timestamp("us", "UTC")


ENTRY = pa.struct(
    [
        ("entry_id", pa.string()),
        ("at", _UTC),
        ("amount", pa.int64()),
        ("kind", pa.string()),
        ("type", pa.string()),
        ("reference", pa.string()),
    ]
)


LEDGER_BALANCES = pa.schema(
    [
        *COUNTER_BALANCES,
        ("status", pa.string()),
        pa.field("local", pa.bool_(), nullable=False),
        ("period_start", _UTC),
        ("period_end", _UTC),
        pa.field("spent", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("unknown_types", pa.list_(pa.string()), nullable=False),
        pa.field("entries", pa.list_(ENTRY), nullable=False),
    ]
)


IDENTITIES = pa.schema(
    [
        pa.field("auth_id", pa.string(), nullable=False),
        pa.field("mapped", pa.list_(pa.string()), nullable=False),
        pa.field("metadata", pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])), nullable=False),
        pa.field("local", pa.bool_(), nullable=False),
        pa.field("same_id", pa.bool_(), nullable=False),
        ("billing_id", pa.string()),
        ("subscription_id", pa.string()),
        ("email_hash", pa.string()),
    ]
)


INVOICE = pa.struct(
    [
        ("invoice_id", pa.string()),
        ("line_id", pa.string()),
        ("status", pa.string()),
        ("raw_plan", pa.string()),
        ("period_start", _UTC),
        ("period_end", _UTC),
        ("paid_at", _UTC),
        ("change", pa.bool_()),
        ("paid", pa.int64()),
        ("refunded", pa.int64()),
        ("disputed", pa.string()),
    ]
)


LISTED_SUBSCRIPTIONS = pa.schema(
    [
        *SUBSCRIPTIONS,
        ("lookup_key", pa.string()),
        ("metadata", pa.string()),
        ("period_start", _UTC),
        ("period_end", _UTC),
        ("started_at", _UTC),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("subjects", pa.list_(pa.struct([("source", pa.string()), ("id", pa.string())])), nullable=False),
        ("email_hash", pa.string()),
        pa.field("invoices", pa.list_(INVOICE), nullable=False),
    ]
)


OBSERVATIONS = pa.schema(
    [
        pa.field("account", pa.string(), nullable=False),
        ("label", pa.string()),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("used", pa.int64(), nullable=False),
        ("billed_plan", pa.string()),
        ("billed_period_start", pa.timestamp("us", "UTC")),
        ("billed_status", pa.string()),
        ("mark", pa.string()),
        pa.field("as_of", pa.timestamp("us", "UTC"), nullable=False),
        ("unanswered_since", pa.timestamp("us", "UTC")),
        ("gap", pa.int64()),
    ]
)
