"""The log lines people grep, one per decision, on logger `credit_pipeline.<system>` (architecture §5).

A test pins these lines. Ids are pseudonyms. Nothing here decides.
"""

import hashlib
import hmac
import logging

from credit_pipeline.domain.codes import CODES
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.plans.ports import RowOutcome


def pseudonym(system: str, account: AccountId | str) -> str:
    """A stable name for an account that tells nothing about it: `acct_9f2c61d0`."""
    return "acct_" + hmac.new(system.encode(), account.encode(), hashlib.sha256).hexdigest()[:8]


class DecisionLog:
    """Writes one system's decisions."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.logger = logging.getLogger(f"credit_pipeline.{system}")

    def started(self) -> None:
        """A reconciliation began."""
        self.logger.info("sync started")

    def judged(self, judgement: Judgement) -> None:
        """One suspect was judged."""
        who = pseudonym(self.system, judgement.account.account_id)
        account = judgement.account
        if judgement.primary is None:
            self.logger.info("%s: same plan: no change", who)
            return
        billed, held = account.billing.plan, account.balance
        if billed is not None and held.plan != billed:
            self.logger.info("%s: billing says %s, store says %s", who, billed.name, held.label)
        for correction in judgement.corrections:
            for reason in correction.reasons:
                self.logger.info("%s: [%s] %s", who, correction.lane.value, reason)
        if judgement.lane.value in {"approve", "review"}:
            code, lane = judgement.primary, judgement.lane.value
            self.logger.warning("MANUAL ACTION: %s: %s (%s): %s", who, code.value, lane, CODES[code].recovery)

    def all_correct(self, population: int) -> None:
        """Nothing was found."""
        self.logger.info("all %d accounts correct", population)

    def applied(self, outcome: RowOutcome) -> None:
        """One row of a live apply came to its end."""
        who = pseudonym(self.system, outcome.account_id)
        if outcome.outcome == "changed" and outcome.before and outcome.after:
            self.logger.info("synced %s: %s -> %s", who, outcome.before["available"], outcome.after["available"])
            if outcome.granted:
                self.logger.info("%s: granted %d credits", who, outcome.granted)
        elif outcome.failure and "credit loss prevented" in outcome.failure:
            self.logger.warning("%s: %s", who, outcome.failure)
        else:
            self.logger.info("%s: %s%s", who, outcome.outcome, f": {outcome.failure}" if outcome.failure else "")

    def progress(self, done: int, rows: int, last: str) -> None:
        """A batch was committed: how many of the plan's rows have an outcome, and what its own came to."""
        self.logger.info("applied %s of %s rows: %s", f"{done:,}", f"{rows:,}", last)

    def failed(self, reason: str) -> None:
        """The run could not tell or could not write."""
        self.logger.error("sync failed: %s", reason)
