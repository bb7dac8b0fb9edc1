"""A document as a page for people: its text with a span marked; and who may see it."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import SubElement

from fastapi import Request
from fastapi.security import HTTPBearer

from hoptrail.app.html.page import blank, put, serialised
from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.auth import caller
from hoptrail.app.server.links import opens
from hoptrail.app.server.shared.context import context_of
from hoptrail.app.text import one_line, shown
from hoptrail.rag.types import Document

PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_STYLE = """
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit}
mark{background:#ffe066;color:#000;scroll-margin-top:30vh}
"""
_AROUND = 50_000
"""Characters shown before and after the span."""
_BEARER = HTTPBearer(auto_error=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`text[start:end]`; empty where the end is not behind the start."""

    start: int
    end: int


def document_page(document: Document, span: Span) -> str:
    """The page: title, id, and the text around the span, which is marked as `#span`."""
    html, body = blank(document.title, _STYLE)
    put(body, "h1", one_line(document.title))
    text, end = document.text, max(span.start, span.end)
    first, last = max(0, span.start - _AROUND), min(len(text), end + _AROUND)
    place = f", characters {span.start} to {end} marked" if end > span.start else ""
    put(body, "p", f"{one_line(document.id)}{place}", "small")
    shown_text = put(body, "pre", ("… " if first else "") + text[first : span.start])
    mark = SubElement(shown_text, "mark", id="span")
    mark.text = shown(text[span.start : end])
    mark.tail = shown(text[end:last]) + (" …" if last < len(text) else "")
    return serialised(html)


async def viewer_of(request: Request, document_id: str) -> str:
    """The tenant whose document a request may see: that of its link's signature, or of its key.

    Raises:
        ApiError: it has neither.
    """
    context, fields = context_of(request), request.query_params
    signed = fields.get("signature")
    if signed is None or not context.settings.keys:
        return caller(request, await _BEARER(request)).tenant
    tenant, until = fields.get("tenant", ""), fields.get("until", "")
    over = ApiError(401, "link_over", "This link is over, or was changed: ask again.")
    if tenant not in context.settings.tenants() or not until.isdecimal() or len(until) > 12:
        raise over
    async with context.tenants.reading(tenant) as opened:
        secret = opened.secret
    if not opens(secret, tenant, document_id, int(until), signed):
        raise over
    return tenant
