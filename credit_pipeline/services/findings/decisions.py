"""What a person may decide about findings: which ones the words name, and why a decision is refused.

Nothing is written here; the port Lifecycle does that, and only for what was named before.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from credit_pipeline.domain.codes import UNKNOWN, Code
from credit_pipeline.domain.errors import DecisionError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.services.findings.ports import Chosen, Decided, Lifecycle

WAITING = ("open", "acknowledged")
STATES = (*WAITING, "accepted", "resolved")
NOT_KNOWN = frozenset(code.value for code in {*UNKNOWN, Code.PENDING_SETTLEMENT})
"""What could not be told cannot be right as it is: these are never accepted (semantics §1)."""


def decided_by(system: str, who: str, reason: str) -> Decided:
    """The decision's who and why. Raises DecisionError where one of them is blank."""
    if not who.strip() or not reason.strip():
        raise DecisionError(f"{system}: a decision needs a name and a reason: give both --as WHO and --reason TEXT")
    return Decided(who=who.strip(), reason=reason.strip())


def known_words(system: str, chosen: Chosen) -> Chosen:
    """The words, each once. Raises DecisionError where a code is none of ours or an address stands for an account."""
    for code in chosen.codes:
        if code not in {known.value for known in Code}:
            near = get_close_matches(code, [known.value for known in Code], 1)
            hint = f"did you mean `{near[0]}`?" if near else f"`credit-pipeline mismatches {system} list` shows codes"
            raise DecisionError(f"{system}: there is no code `{code}`: {hint}")
    if any("@" in account for account in chosen.accounts):
        raise DecisionError(
            f"{system}: findings are kept by account, not by e-mail: `credit-pipeline account {system}` finds the id"
        )
    return Chosen(
        fingerprints=tuple(dict.fromkeys(chosen.fingerprints)),
        codes=tuple(dict.fromkeys(chosen.codes)),
        accounts=tuple(dict.fromkeys(chosen.accounts)),
    )


def to_acknowledge(system: str, lifecycle: Lifecycle, chosen: Chosen, *, everything: bool) -> list[Mismatch]:
    """The findings that an `ack` names: open ones; by fingerprint also one that is acknowledged already."""
    return _named(system, lifecycle, chosen, everything=everything, states=("open",), by_name=WAITING)


def to_accept(
    system: str, lifecycle: Lifecycle, chosen: Chosen, *, everything: bool
) -> tuple[list[Mismatch], list[Mismatch]]:
    """The findings that an `accept` names, and those among them that cannot be accepted.

    They are those that wait; by fingerprint also an accepted one, to change its end.
    """
    by_name = (*WAITING, "accepted")
    found = _named(system, lifecycle, chosen, everything=everything, states=WAITING, by_name=by_name)
    known = [one for one in found if one.code not in NOT_KNOWN]
    unknown = [one for one in found if one.code in NOT_KNOWN]
    if unknown and (chosen.fingerprints or chosen.codes or not known):
        raise DecisionError(
            f"{system}: {unknown[0].code} says that something could not be told, which cannot be accepted: mend it, "
            f"or `credit-pipeline exempt {system} ID` leaves the account alone"
        )
    return known, unknown


def _named(
    system: str,
    lifecycle: Lifecycle,
    chosen: Chosen,
    *,
    everything: bool,
    states: Sequence[str],
    by_name: Sequence[str],
) -> list[Mismatch]:
    """Raises DecisionError where nothing is named, or something that is not there."""
    chosen = known_words(system, chosen)
    if not everything and chosen == Chosen():
        raise DecisionError(
            f"{system}: no finding is named: give --fingerprint, --code or --account, or --all for all of them"
        )
    if chosen.fingerprints and (everything or chosen.codes or chosen.accounts):
        raise DecisionError(f"{system}: a fingerprint names one finding: leave out --code, --account and --all")
    found = lifecycle.named(chosen)
    if chosen.fingerprints:
        _refuse_absent(system, chosen, found, by_name)
        return list(found)
    waiting = [one for one in found if one.state in states]
    holders = {one.account_id for one in waiting}
    absent = [account for account in chosen.accounts if account not in holders]
    if absent or not waiting:
        of = f" of account `{absent[0]}`" if absent else ""
        code = f" with code {', '.join(chosen.codes)}" if chosen.codes else ""
        raise DecisionError(
            f"{system}: no {' or '.join(states)} finding{of}{code}: "
            f"`credit-pipeline mismatches {system} list --state all` shows what there is"
        )
    return waiting


def _refuse_absent(system: str, chosen: Chosen, found: Sequence[Mismatch], states: Sequence[str]) -> None:
    state = {one.fingerprint: one.state for one in found}
    for fingerprint in chosen.fingerprints:
        if fingerprint not in state:
            raise DecisionError(
                f"{system}: no finding has the fingerprint `{fingerprint}`: "
                f"`credit-pipeline mismatches {system} list` shows them"
            )
        if state[fingerprint] not in states:
            raise DecisionError(
                f"{system}: the finding {fingerprint} is {state[fingerprint]}: "
                f"this is for one that is {' or '.join(states)}"
            )
