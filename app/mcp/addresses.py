"""Ids and addresses of documents, parts of documents and receipts.

A part of a long document is `ID#char=START,END`, characters counted from 0 as RFC 5147 counts the
gaps between them. Its address is `hoptrail://documents/ID#char=START,END`, the id percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from hoptrail.app.text import one_line
from hoptrail.rag.types import Scalar

DOCUMENTS, RECEIPTS = "hoptrail://documents/", "hoptrail://receipts/"

PART = 12_000
"""Characters of a part."""

_CHARACTERS = re.compile(r"#char=(\d{1,15}),(\d{1,15})$")
_MOST_URL = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Characters `start` to `end` of a document."""

    document_id: str
    start: int = 0
    end: int = PART

    @property
    def id(self) -> str:
        """The id by which `fetch` takes it."""
        return f"{self.document_id}#char={self.start},{self.end}"


def part_of(identifier: str) -> Part | None:
    """The part that an id names; None: it names none."""
    found = _CHARACTERS.search(identifier)
    if found is None or int(found[1]) >= int(found[2]):
        return None
    return Part(document_id=identifier[: found.start()], start=int(found[1]), end=int(found[2]))


def part_around(document_id: str, start: int) -> Part:
    """The part to fetch for a passage that begins at `start`.

    Parts begin at multiples of half their size, so that a passage lies in one as a whole and
    neighbouring passages are mostly in the same.
    """
    begin = start // (PART // 2) * (PART // 2)
    return Part(document_id=document_id, start=begin, end=begin + PART)


def resource_uri(document_id: str) -> str:
    """The address of a document, or of a part by its id, as a resource of this server."""
    part = part_of(document_id)
    if part is None:
        return DOCUMENTS + quote(document_id, safe="")
    return f"{DOCUMENTS}{quote(part.document_id, safe='')}#char={part.start},{part.end}"


def id_of(uri: str) -> str:
    """The document id in an address that begins with `DOCUMENTS`."""
    path, mark, fragment = uri.removeprefix(DOCUMENTS).partition("#")
    return unquote(path, errors="replace") + mark + fragment


def public_url(document_id: str, metadata: Mapping[str, Scalar]) -> str:
    """Where a person can open a document: the web address in its metadata, else the resource."""
    url = metadata.get("url")
    if isinstance(url, str) and len(url) <= _MOST_URL and url == one_line(url) and _is_web(url):
        return url
    return resource_uri(document_id)


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and " " not in url
