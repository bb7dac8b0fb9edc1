"""EPUB parser: the chapters of a book in the order of its spine, each read as a web page."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page, PageLimits, check_zip, short_title, too_long
from hoptrail.rag.ingest.parsers.html import html_page

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_CHAPTERS = frozenset(("application/xhtml+xml", "text/html", "application/xml"))
_LONGEST_REASON = 200
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Algorithms that only obfuscate fonts."""
_EMPTY = re.compile(
    rb"<(title|script|style|textarea|iframe|noscript|template|a|i|b|em|strong|span|div|p|td|th|li)"
    rb"((?:\s[^<>]*)?)/>",
    re.I,
)
"""Empty elements as XML writes them: HTML takes them as opened, and so the rest as inside."""


def epub_page(data: bytes, limits: PageLimits) -> Page:
    """Returns title and text of an EPUB file.

    Raises:
        UnreadableFile: it is damaged, encrypted, gives more text than it may, or is a
            decompression bomb.
    """
    check_zip(data, "an EPUB", limits)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            return _page(book, limits.text_chars)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError) as error:
        raise _damaged(str(error)) from None


def _page(book: zipfile.ZipFile, text_chars: int) -> Page:
    _refuse_encrypted(book)
    roots = _xml(book, _CONTAINER).iter()
    place = next((one.get("full-path", "") for one in roots if _name(one) == "rootfile"), "")
    package = _xml(book, place)
    titles = (one.text or "" for one in package.iter() if _name(one) == "title")
    texts, size = [], 0
    for chapter in _chapters(package, posixpath.dirname(place)):
        text = html_page(_EMPTY.sub(rb"<\1\2></\1>", book.read(chapter))).text
        size += len(text) + 2
        if size > text_chars:
            raise too_long(text_chars)
        texts.append(text)
    return Page(
        title=short_title(" ".join(next(titles, "").split())),
        text="\n\n".join(text for text in texts if text),
    )


def _chapters(package: Element, folder: str) -> Iterator[str]:
    """The names of the spine's chapters in the archive, each once."""
    items = {
        one.get("id"): one.get("href", "")
        for one in package.iter()
        if _name(one) == "item" and one.get("media-type") in _CHAPTERS
    }
    wanted = (items.get(one.get("idref")) for one in package.iter() if _name(one) == "itemref")
    for href in dict.fromkeys(filter(None, wanted)):
        yield posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _refuse_encrypted(book: zipfile.ZipFile) -> None:
    if _ENCRYPTION in book.namelist():
        methods = [
            one.get("Algorithm", "")
            for one in _xml(book, _ENCRYPTION).iter()
            if _name(one) == "EncryptionMethod"
        ]
        if any(not one.startswith(_FONTS) for one in methods):
            raise UnreadableFile("is encrypted (DRM): it cannot be read", "malformed")


def _xml(book: zipfile.ZipFile, name: str) -> Element:
    """The root element of a file in the archive; none may declare entities."""
    from xml.etree import ElementTree  # noqa: PLC0415

    source = book.read(name)
    if b"<!ENTITY" in source:
        raise _damaged(f"{name} declares entities")
    try:
        return ElementTree.fromstring(source)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _damaged(f"{name}: {error}") from None


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _damaged(why: str) -> UnreadableFile:
    return UnreadableFile(f"is a damaged EPUB ({why[:_LONGEST_REASON]})", "malformed")
