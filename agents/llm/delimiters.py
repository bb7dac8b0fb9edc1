"""The delimiters between which retrieved text reaches a model.

They are made from a secret drawn once per tenant's store, so that the author of a document cannot
close them from inside, and prompts of one tenant still share prefixes. Hashes, receipts and
recordings carry a placeholder in their place.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

PLACEHOLDER = "«fence»"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """A delimiter word; `wrap` puts text between two of it."""

    word: str

    @classmethod
    def of(cls, secret: bytes) -> Delimiters:
        """The fence of a tenant's secret."""
        return cls(word=hmac.new(secret, b"hoptrail fence", hashlib.sha256).hexdigest()[:16])

    def wrap(self, label: str, text: str) -> str:
        """The text between an opening and a closing line; the word inside it is broken up."""
        safe = text.replace(self.word, self.word[:8] + "-" + self.word[8:])
        return f"<{self.word} {label}>\n{safe}\n</{self.word}>"

    def hide(self, text: str) -> str:
        """The text with the placeholder in the word's place: what may be stored or shown.

        The word is also found where a model spells its characters as JSON escapes.
        """
        spelt = "".join(rf"(?:{c}|\\u{ord(c):04x})" for c in self.word)
        return re.sub(spelt, PLACEHOLDER, text)


def cache_salt(secret: bytes) -> str:
    """What keeps one tenant's prompts out of another's share of the server's prefix cache."""
    return hmac.new(secret, b"hoptrail cache", hashlib.sha256).hexdigest()[:32]
