"""What one subject came to: findings, corrections, mark, as values."""

from dataclasses import dataclass

from credit_pipeline.domain.codes import Code, by_precedence
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.subjects.account import Account, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one account came to. No finding means in sync."""

    account: Account
    findings: tuple[Finding, ...] = ()
    corrections: tuple[Correction, ...] = ()
    closed: tuple[tuple[str, str], ...] = ()
    """Events that ended with this look: (fingerprint, why)."""
    mark: Mark | None = None
    """The current grant key is to be held as granted by the product."""
    pending: bool = False

    @property
    def primary(self) -> Code | None:
        """The subject's one class, or None for in sync."""
        if self.pending:
            return Code.PENDING_SETTLEMENT
        codes = by_precedence(f.code for f in self.findings)
        return codes[0] if codes else None

    @property
    def secondary(self) -> tuple[Code, ...]:
        """The other codes, most telling first."""
        return tuple(code for code in by_precedence(f.code for f in self.findings) if code is not self.primary)

    @property
    def lane(self) -> Lane:
        """The most demanding lane among the findings."""
        if self.pending:
            return Lane.NONE
        lanes = list(Lane)
        return max((f.lane for f in self.findings), key=lanes.index, default=Lane.NONE)
