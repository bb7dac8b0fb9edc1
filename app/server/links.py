"""Links to a document's view that open without a key: signed for one document, and not for ever.

A browser that follows a citation sends no key. The link carries who it is for (the tenant), until
when, and a signature by the tenant's own secret, so it opens this document and no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import quote, urlencode

_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Makes the links of one tenant's documents.

    Args:
        base: the server's address, without a slash at its end.
        tenant: whose documents.
        secret: the tenant's; None: links are not signed, since no key is asked for.
        days: for which a link opens.
    """

    base: str
    tenant: str
    secret: bytes | None
    days: float

    def to(self, document_id: str, start: int, end: int) -> str:
        """The address at which a browser shows a document with a span marked."""
        fields: dict[str, str | int] = {"start": start, "end": end}
        if self.secret is not None:
            # Whole days: a link stays the same for a day, so that equal answers have equal texts.
            until = (int(time.time() // _DAY) + 1 + round(self.days)) * _DAY
            fields |= {
                "tenant": self.tenant,
                "until": until,
                "signature": signature(self.secret, self.tenant, document_id, until),
            }
        path = quote(document_id, safe="")
        return f"{self.base}/v1/documents/{path}?{urlencode(fields)}#span"


def signature(secret: bytes, tenant: str, document_id: str, until: int) -> str:
    """HMAC-SHA-256 of a link, cut to 128 bits."""
    text = f"document link\0{tenant}\0{until}\0{document_id}".encode("utf-8", "surrogatepass")
    digest = hmac.new(secret, text, hashlib.sha256).digest()[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def opens(secret: bytes, tenant: str, document_id: str, until: int, signed: str) -> bool:
    """Whether a link is genuine and not over."""
    wanted = signature(secret, tenant, document_id, until)
    return hmac.compare_digest(wanted.encode(), signed.encode()) and time.time() < until
