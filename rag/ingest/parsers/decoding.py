"""Decoding of bytes to text by declared encodings, without guessing; signatures of binary files."""

from __future__ import annotations

import codecs

import webencodings

from hoptrail.rag.ingest.files import UnreadableFile

HEAD = 1024
"""Bytes that are enough to recognise a file; a PDF's mark may stand anywhere in them."""

_SIGNATURES = {
    b"%PDF-": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an office document",
    b"\xd0\xcf\x11\xe0": "an old office document",
    b"{\\rtf": "an RTF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"(\xb5/\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
}

_ZIPPED = (".docx", ".pptx", ".xlsx", ".epub")

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; UTF-32's before the UTF-16 one that it begins with."""


def check_head(head: bytes, suffix: str) -> None:
    """Checks a file's first bytes against what its suffix promises.

    Args:
        head: its first `HEAD` bytes, fewer if it is shorter.
        suffix: one of `SUFFIXES`.

    Raises:
        Refused: it is empty, or something else than its name says.
    """
    if not head:
        raise UnreadableFile("is empty", "empty")
    looks = next((name for mark, name in _SIGNATURES.items() if head.startswith(mark)), None)
    if suffix == ".pdf":
        right = b"%PDF-" in head
    elif suffix.endswith(".gz"):
        right = looks == "a gzip archive"
    elif suffix in _ZIPPED:
        right = looks in ("a zip archive or an office document", "an old office document")
    else:
        right = looks is None
    if not right:
        looks = looks or ("something binary" if b"\0" in head else "text")
        raise UnreadableFile(
            f"is named {suffix} but looks like {looks}: rename or convert it", "misnamed"
        )


def decode(data: bytes, encoding: str | None = None) -> str:
    """Returns the text of `data`: by its byte order mark, else as `encoding`, else as UTF-8.

    Nothing is guessed: Latin-1 would accept any bytes and make a wrong text of them.

    Raises:
        Refused: the bytes are not that, or hold a NUL; names the first wrong byte.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    encoding = marked or encoding or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(data, error) from None
    except LookupError:
        raise UnreadableFile(f"names an unknown encoding, {encoding!r}", "encoding") from None
    nul = text.find("\0")
    if nul >= 0:
        raise UnreadableFile(f"looks binary (a NUL at character {nul})", "binary")
    return text


def declared_encoding(label: str | None) -> str | None:
    """The codec of an encoding that a web page declares, by WHATWG's table of labels.

    As a browser takes them: iso-8859-1 is windows-1252, x-sjis is shift_jis, and a page whose bytes
    spell out "utf-16" is in UTF-8. No other codec of Python's can be named by a file.

    Raises:
        UnreadableFile: no browser knows the label.
    """
    if label is None:
        return None
    known = webencodings.lookup(label)
    if known is None:
        raise UnreadableFile(f"names an unknown encoding, {label!r}", "encoding")
    return "utf-8" if known.name.startswith("utf-16") else known.codec_info.name


def _undecodable(data: bytes, error: UnicodeDecodeError) -> UnreadableFile:
    if b"\0" in data[:HEAD] and error.encoding.startswith("utf-8"):
        return UnreadableFile(f"looks binary (a NUL at byte {data.index(0)})", "binary")
    return UnreadableFile(
        f"is not {error.encoding} text: byte {error.start} is 0x{data[error.start]:02x}. "
        "Save it as UTF-8",
        "encoding",
    )
