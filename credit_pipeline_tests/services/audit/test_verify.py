"""Verifying the audit: a table of single lies about one true chain, and random mutations of random ones."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.corrections.audit import COLUMNS, START, Anchor, AuditedCorrection, AuditedGrant, TakenKey
from credit_pipeline.services.audit.verify import KINDS, MOST, Verification, verify
from credit_pipeline_tests.services.audit.audit_rows import (
    PERIOD,
    Audit,
    a_row,
    add_change,
    an_audit,
    hashed,
    rechained,
    words_of,
)

OTHER = "f" * 64


def verified(audit: Audit, *anchors: Anchor) -> Verification:
    return verify("wix_app", audit, anchors)


def noted(audit: Audit, seq: int) -> Anchor:
    return Anchor(seq=seq, hash=audit.rows_[seq - 1].hash, noted="noted 2026-03-05 10:00")


def kinds(found: Verification) -> list[tuple[str, int]]:
    return [(fault.kind, fault.seq) for fault in found.faults]


def test_a_true_chain_verifies_and_says_what_it_read() -> None:
    audit = an_audit()
    found = verified(audit, noted(audit, 1), noted(audit, 3))
    assert found.as_json() == {
        "system": "wix_app",
        "verified": True,
        "rows": 3,
        "head": {"seq": 3, "hash": audit.rows_[2].hash},
        "anchors": 2,
        "faults": [],
        "found": 0,
        "truncated": False,
    }


def test_an_empty_chain_verifies_unless_a_head_was_noted() -> None:
    assert verified(Audit()).verified
    assert verified(Audit(), Anchor(seq=0, hash=START, noted="noted")).verified
    assert kinds(verified(Audit(), noted(an_audit(), 1))) == [("anchor_missing", 1)]


def test_every_lane_of_change_may_stand_in_a_chain() -> None:
    audit = an_audit(1)
    add_change(audit, account="b", keys=[], key=None, available=(100, 100))  # a label alone
    add_change(audit, account="c", keys=[f"c/pro/{PERIOD}", "restore:f"], key=f"c/pro/{PERIOD}|restore:f")
    add_change(audit, account="d", keys=["clawback:f"], key="clawback:f", available=(900, 400), approver="ann")
    add_change(audit, account="e", available=(None, 800))  # the balance row was made
    add_change(audit, account="f", keys=[], key=None, available=(None, None))  # a label of one without a balance
    assert verified(audit).faults == ()


def edit(audit: Audit, seq: int, **words: Any) -> str:
    return json.dumps(json.loads(audit.rows_[seq - 1].payload) | words)


def edited_text(audit: Audit) -> None:
    audit.rows_[1] = audit.rows_[1]._replace(payload=edit(audit, 2, reasons=["another"]))


def edited_column(audit: Audit) -> None:
    row = audit.rows_[1]
    audit.rows_[1] = row._replace(columns=(*row.columns[:-1], 9000))


def deleted(audit: Audit) -> None:
    del audit.rows_[1]


def swapped(audit: Audit) -> None:
    one, two = audit.rows_[1:3]
    audit.rows_[1:3] = [two._replace(seq=one.seq), one._replace(seq=two.seq)]


def truncated(audit: Audit) -> None:
    audit.head_ = audit.head()
    audit.rows_.clear()


def cut_and_rewound(audit: Audit) -> None:
    audit.rows_.pop()
    audit.keys_.pop()
    audit.corrections_.pop()
    audit.grants_.pop()


def rewritten(audit: Audit) -> None:
    audit.rows_ = rechained(audit.rows_, {2: edit(audit, 2, reasons=["another"])})


def test_edited_text_is_one_fault_at_its_row() -> None:
    audit = an_audit()
    edited_text(audit)
    (fault,) = verified(audit).faults
    assert (fault.kind, fault.seq) == ("payload_edited", 2)
    assert fault.sentence == "wix_app: audit row 2 was edited: its hash is of another text"


def test_an_edited_column_is_named() -> None:
    audit = an_audit()
    edited_column(audit)
    (fault,) = verified(audit).faults
    assert fault.sentence == "wix_app: after_available of audit row 2 differs from the text it is made of"


def test_a_deleted_row_leaves_a_gap_and_what_belonged_to_it() -> None:
    audit = an_audit()
    deleted(audit)
    assert kinds(verified(audit)) == [
        ("key_differs", 2),
        ("correction_differs", 2),
        ("grant_differs", 2),
        ("row_missing", 2),
    ]


def test_swapped_rows_hold_each_other_s_text() -> None:
    audit = an_audit()
    swapped(audit)
    found = kinds(verified(audit))
    assert ("row_misplaced", 2) in found
    assert ("row_misplaced", 3) in found
    assert ("link_broken", 2) in found


def test_a_truncated_chain_does_not_reach_its_head() -> None:
    audit = an_audit()
    truncated(audit)
    assert kinds(verified(audit))[-1] == ("head_differs", 3)
    assert verified(audit).faults[-1].sentence == "wix_app: the chain ends at row 0, but its head says row 3"


@pytest.mark.parametrize(
    ("lie", "kind", "seq"), [(cut_and_rewound, "anchor_missing", 3), (rewritten, "anchor_differs", 3)]
)
def test_only_a_noted_head_shows_a_chain_that_was_made_consistent(
    lie: Callable[[Audit], None], kind: str, seq: int
) -> None:
    audit = an_audit()
    before, last = noted(audit, 1), noted(audit, 3)
    lie(audit)
    assert verified(audit, before).verified, "row 1 is still as it was"
    assert kinds(verified(audit, before, last)) == [(kind, seq)]


# What stands beside the chain


def beside(**changes: Any) -> Audit:
    """A true chain whose second row is `changes`, made consistent with its own hashes."""
    audit = an_audit(1)
    add_change(audit, **changes)
    add_change(audit)
    return audit


@pytest.mark.parametrize(
    ("audit", "fault"),
    [
        (beside(delta=4000), "audit row 2 says +4000, but went from 1000 to 6000"),
        (beside(available=(900, 400)), "audit row 2 lowered 900 to 400 credits with no approver"),
        (beside(available=(900, 400), approver=" "), "audit row 2 lowered 900 to 400 credits with no approver"),
        (beside(available=(900, None)), "audit row 2 lowered 900 to 0 credits with no approver"),
        (beside(system="other"), "audit row 2 holds the text of row 2 of other"),
        (beside(delta="5000"), "the text of audit row 2 is not one of the write path's"),
        (beside(delta=True), "the text of audit row 2 is not one of the write path's"),
        (beside(before=None), "the text of audit row 2 is not one of the write path's"),
    ],
)
def test_a_row_that_contradicts_itself_is_found(audit: Audit, fault: str) -> None:
    assert f"wix_app: {fault}" in [one.sentence for one in verified(audit).faults]


def without(items: list[Any], seq: int) -> None:
    items[:] = [one for one in items if one.audit_seq != seq]


def replaced(items: list[Any], seq: int, **words: Any) -> None:
    items[:] = [one._replace(**words) if one.audit_seq == seq else one for one in items]


A_KEY, A_GRANT = TakenKey(2, "restore:f"), AuditedGrant(0, "a9/pro/1", "a9", "wix_app-1", 70)
A_CORRECTION = AuditedCorrection(0, "wix_app-1", 9, "a9", "changed", 70, None, None)


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (lambda a: without(a.keys_, 2), [("key_differs", 2)]),
        (lambda a: a.keys_.append(A_KEY), [("key_differs", 2)]),
        (lambda a: a.keys_.append(A_KEY._replace(audit_seq=9)), [("key_differs", 9)]),
        (lambda a: replaced(a.keys_, 2, audit_seq=3), [("key_differs", 2), ("key_differs", 3)]),
        (lambda a: without(a.grants_, 2), [("grant_differs", 2)]),
        (lambda a: a.grants_.append(A_GRANT), [("grant_differs", 0)]),
        (lambda a: a.grants_.append(a.grants_[1]), [("grant_differs", 2), ("grant_differs", 2)]),
        (lambda a: replaced(a.grants_, 2, plan_id="wix_app-2"), [("grant_differs", 2)]),
        (lambda a: replaced(a.grants_, 2, account="b"), [("grant_differs", 2)]),
        (lambda a: replaced(a.grants_, 2, credits=9000), [("grant_differs", 2)]),
        (lambda a: without(a.corrections_, 2), [("correction_differs", 2)]),
        (lambda a: a.corrections_.append(A_CORRECTION), [("correction_differs", 0)]),
        (lambda a: a.corrections_.append(A_CORRECTION._replace(audit_seq=2)), [("correction_differs", 2)]),
        (lambda a: a.corrections_.append(A_CORRECTION._replace(audit_seq=9)), [("correction_differs", 9)]),
        (lambda a: replaced(a.corrections_, 2, outcome="failed"), [("correction_differs", 2)]),
        (lambda a: replaced(a.corrections_, 2, account="b"), [("correction_differs", 2)]),
        (lambda a: replaced(a.corrections_, 2, delta=1), [("correction_differs", 2)]),
        (lambda a: setattr(a, "head_", (3, OTHER)), [("head_differs", 3)]),
        (lambda a: setattr(a, "head_", (4, a.head()[1])), [("head_differs", 4)]),
    ],
)  # fmt: skip
def test_what_does_not_agree_with_the_chain_is_found(
    lie: Callable[[Audit], None], expected: list[tuple[str, int]]
) -> None:
    audit = an_audit()
    lie(audit)
    assert kinds(verified(audit)) == expected


def test_a_grant_without_a_row_in_the_plan_still_needs_its_audit_row_and_the_reverse() -> None:
    """Deleting the grant and its trace in the plan leaves the key in the text."""
    audit = an_audit()
    without(audit.grants_, 2)
    replaced(audit.corrections_, 2, grant_key=None, grant_credits=None)
    assert kinds(verified(audit)) == [("grant_differs", 2)]


def test_a_grant_is_taken_back_by_an_undo_in_the_chain_and_by_nothing_else() -> None:
    """A grant that is marked so is missed by nobody, so the mark is believed only where the chain says the same."""
    audit = an_audit()
    add_change(audit, account="a2", available=(6000, 1000), key="undo:2", keys=["undo:2"], approver="eva")
    replaced(audit.grants_, 2, reversed=True)
    assert kinds(verified(audit)) == []
    replaced(audit.grants_, 3, reversed=True)
    assert kinds(verified(audit)) == [("grant_differs", 3)]
    replaced(audit.grants_, 3, reversed=False)
    add_change(audit, account="a2", available=(1000, 6000), key="undo:4", keys=["undo:4"], approver="eva")
    assert kinds(verified(audit)) == [("grant_differs", 2)], "the undo was undone, so the grant stands"


def test_a_noted_head_that_nobody_can_read_is_not_passed_over() -> None:
    found = verify("wix_app", an_audit(), unreadable=["line 3 of the file"])
    assert [fault.sentence for fault in found.faults] == [
        "wix_app: line 3 of the file is no head of this chain: restore the file from a copy"
    ]


def test_two_different_heads_of_one_row_cannot_both_be_true() -> None:
    audit = an_audit()
    found = verified(audit, noted(audit, 2), Anchor(seq=2, hash=OTHER, noted="given"), noted(audit, 2))
    assert (found.anchors, kinds(found)) == (2, [("anchor_differs", 2)])


def test_faults_are_all_counted_and_the_first_are_listed() -> None:
    audit = an_audit(MOST + 50)
    audit.rows_ = [row._replace(hash=OTHER) for row in audit.rows_]
    found = verified(audit)
    assert len(found.faults) == MOST
    assert found.found == 2 * (MOST + 50) - 1, "each hash is wrong, and each link but the first"
    assert found.as_json()["truncated"] is True
    assert found.rows == MOST + 50


def test_every_kind_has_a_meaning() -> None:
    assert all(KINDS.values())
    assert len(KINDS) == 15


# Any single mutation

CHANGES = st.fixed_dictionaries(
    {"account": st.sampled_from(["a", "b", "ü/x", "renewal:a"])},
    optional={
        "available": st.tuples(st.integers(0, 9000), st.integers(0, 9000)),
        "approver": st.sampled_from([None, "ann"]),
        "reasons": st.lists(st.text(max_size=5), max_size=2),
    },
)


@st.composite
def chains(draw: st.DrawFn) -> Audit:
    """One to five changes, losses approved, each account's grants in a period of its own."""
    audit = Audit()
    for n, changes in enumerate(draw(st.lists(CHANGES, min_size=1, max_size=5))):
        before, after = changes.pop("available", (1000, 6000))
        granted = after > before
        key = f"{changes['account']}/pro/{PERIOD + n}" if granted else f"clawback:{n}"
        approver = changes.pop("approver", None)
        approver = approver if granted else "ann"
        add_change(audit, **changes, available=(before, after), key=key, keys=[key], approver=approver)
    return audit


def other_payload(draw: st.DrawFn, audit: Audit, at: int) -> None:
    row = audit.rows_[at]
    place = draw(st.integers(0, len(row.payload) - 1))
    other = draw(st.characters(exclude_categories=["Cs"]).filter(lambda c: c != row.payload[place]))
    audit.rows_[at] = row._replace(payload=row.payload[:place] + other + row.payload[place + 1 :])


def other_column(draw: st.DrawFn, audit: Audit, at: int) -> None:
    row, n = audit.rows_[at], draw(st.integers(0, len(COLUMNS) - 1))
    audit.rows_[at] = row._replace(columns=(*row.columns[:n], "another", *row.columns[n + 1 :]))


def other_number(draw: st.DrawFn, audit: Audit, at: int) -> None:
    row = audit.rows_[at]
    audit.rows_[at] = row._replace(seq=draw(st.integers(-2, 9).filter(lambda n: n != row.seq)))
    audit.rows_.sort(key=lambda one: one.seq)


def other_row(draw: st.DrawFn, audit: Audit, at: int) -> None:
    rows = [row for row in audit.rows_ if row.seq != at + 1]
    rows.append(a_row(words_of(at + 1, account="never"), audit.rows_[at].prev_hash))
    audit.rows_[at] = draw(st.sampled_from(rows))._replace(seq=at + 1)


def other_word(items: str, *words: dict[str, Any]) -> Callable[[st.DrawFn, Audit, int], None]:
    """One of these words in one item of that list; the grants may be fewer than the rows."""

    def lie(draw: st.DrawFn, audit: Audit, at: int) -> None:
        told = getattr(audit, items) or audit.rows_
        n = min(at, len(told) - 1)
        told[n] = told[n]._replace(**(draw(st.sampled_from(words)) if told is not audit.rows_ else {"hash": OTHER}))

    return lie


def forgotten(items: str) -> Callable[[st.DrawFn, Audit, int], None]:
    def lie(_draw: st.DrawFn, audit: Audit, at: int) -> None:
        told = getattr(audit, items) or audit.rows_
        del told[min(at, len(told) - 1)]

    return lie


LIES: dict[str, Callable[[st.DrawFn, Audit, int], None]] = {
    "another payload": other_payload,
    "another column": other_column,
    "another number": other_number,
    "another row in its place": other_row,
    "another hash": other_word("rows_", {"hash": OTHER}, {"prev_hash": OTHER}),
    "a row twice": lambda _draw, audit, at: audit.rows_.insert(at, audit.rows_[at]),
    "no row": forgotten("rows_"),
    "another head": lambda draw, audit, _: setattr(
        audit, "head_", draw(st.sampled_from([(len(audit.rows_) + 1, audit.head()[1]), (len(audit.rows_), OTHER)]))
    ),
    "another key": other_word("keys_", {"key": "another"}, {"audit_seq": 99}),
    "no key": forgotten("keys_"),
    "another correction": other_word(
        "corrections_", {"plan_id": "p"}, {"seq": 99}, {"account": "z"}, {"outcome": None}, {"audit_seq": 0}
    ),
    "no correction": forgotten("corrections_"),
    "another grant": other_word("grants_", {"credits": -1}, {"key": "a/b/1"}, {"account": "z"}, {"plan_id": "p"}),
    "no grant": forgotten("grants_"),
}


@st.composite
def lies(draw: st.DrawFn) -> tuple[Audit, Audit, str]:
    """(a true audit, the same with one thing changed, what)."""
    true = draw(chains())
    told = Audit(list(true.rows_), list(true.keys_), list(true.corrections_), list(true.grants_), true.head())
    what = draw(st.sampled_from(list(LIES)))
    LIES[what](draw, told, draw(st.integers(0, len(true.rows_) - 1)))
    return true, told, what


@given(lies())
def test_any_single_mutation_of_a_random_chain_is_found(drawn: tuple[Audit, Audit, str]) -> None:
    true, told, what = drawn
    assert verified(true).faults == ()
    found = verified(told)
    assert not found.verified, what
    assert all(fault.kind in KINDS for fault in found.faults)


@given(chains(), st.data())
def test_a_chain_made_consistent_again_is_found_by_any_later_head(audit: Audit, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(audit.rows_)))
    before = [noted(audit, row.seq) for row in audit.rows_]
    audit.rows_ = rechained(audit.rows_, {at: edit(audit, at, reasons=["never said"])})
    assert verified(audit).verified, "nothing in the database shows it"
    found = verified(audit, *before)
    assert kinds(found) == [("anchor_differs", row.seq) for row in audit.rows_ if row.seq >= at]


def test_hashes_are_over_the_hash_before_and_the_exact_text() -> None:
    row = an_audit(1).rows_[0]
    assert row.prev_hash == START
    assert row.hash == hashed(START, row.payload)
