"""The digest by which an e-mail address at billing is compared with one at the product. The address itself is not kept.

The digest serves as evidence for a person, never as a link between two ids (semantics §4).
"""

import hashlib
import hmac

LENGTH = 32


def email_digest(system: str, email: str | None) -> str | None:
    """32 hex characters of the trimmed lower-case address, keyed with the system's name so that the same person has
    another digest in another system; None where there is no address."""
    address = (email or "").strip().lower()
    if not address:
        return None
    return hmac.new(system.encode(), address.encode(), hashlib.sha256).hexdigest()[:LENGTH]
