"""Delimiters around retrieved text in prompts, against prompt injection.

They are derived from a secret drawn once per tenant's store, so that the author of a document
cannot close them from inside, and prompts of one tenant still share prefixes. Hashes, receipts
and recordings hold a placeholder in their place.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

PLACEHOLDER = "«fence»"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """A delimiter word that cannot be guessed; `wrap` puts text between two lines with it."""

    word: str

    @classmethod
    def of(cls, secret: bytes) -> Delimiters:
        """The delimiters of a tenant's secret."""
        return cls(word=hmac.new(secret, b"hoptrail fence", hashlib.sha256).hexdigest()[:16])

    def wrap(self, label: str, text: str) -> str:
        """The text between an opening and a closing line; the delimiter word in it is broken up.

        The placeholder, which stands in text that a model wrote, is left out.
        """
        safe = text.replace(PLACEHOLDER, "").replace(self.word, self.word[:8] + "-" + self.word[8:])
        return f"<{self.word} {label}>\n{safe}\n</{self.word}>"

    def hide(self, text: str) -> str:
        """The text with the delimiter word replaced by a placeholder, so it may be stored or shown.

        The word is also found where a model spells its characters as JSON escapes.
        """
        spelt = "".join(rf"(?:{c}|\\u{ord(c):04x})" for c in self.word)
        return re.sub(spelt, PLACEHOLDER, text)


def cache_salt(secret: bytes) -> str:
    """The salt, 32 hex digits, that keeps the prefix caches of tenants on one server apart."""
    return hmac.new(secret, b"hoptrail cache", hashlib.sha256).hexdigest()[:32]
