"""Checksums of a Tantivy folder: each segment's files, and the list of the segments.

Tantivy ends every file of a segment with a footer that has the CRC-32 of the rest, taken when the
file was written; opening and searching do not check it. The list of segments, `meta.json`, has
none: the catalogue keeps its CRC-32 as the seal of the commit.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHEAP = 8_000_000
"""Bytes of a folder up to which opening a store checks all of it: under 10 ms."""

_LIST = "meta.json"
_MAGIC = 1337
_TAIL = struct.Struct("<II")
"""The last bytes of a file: the length of the footer before them, and Tantivy's magic number."""
_LONGEST_FOOTER = 50_000


def list_seal(folder: Path) -> int | None:
    """CRC-32 of the list of segments; None if there is none."""
    try:
        return zlib.crc32((folder / _LIST).read_bytes())
    except FileNotFoundError:
        return None


def folder_damage(folder: Path, seal: int | None, *, whole: bool) -> str | None:
    """What has changed under its checksum; None if nothing has.

    Args:
        folder: the Tantivy folder; one without a list of segments is not judged.
        seal: `list_seal` of the last commit; None: not known.
        whole: check all files, however large they are.
    """
    path = folder / _LIST
    if not path.is_file():
        return None
    content = path.read_bytes()
    if seal is not None and zlib.crc32(content) != seal:
        return "its list of segments is not that of the last commit"
    try:
        files = list(_files(folder, json.loads(content)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its list of segments cannot be parsed ({error!r})"
    if not whole and sum(one.stat().st_size for one in files) > CHEAP:
        return None
    return next((f"{one.name} has changed" for one in files if not _is_intact(one)), None)


def _files(folder: Path, listed: dict[str, Any]) -> Iterator[Path]:
    """The files of the listed segments; those of others and earlier deletes are not read."""
    known: dict[str, str] = {}
    for segment in listed["segments"]:
        deletes = segment["deletes"]
        end = "" if deletes is None else f"{deletes['opstamp']}.del"
        known[segment["segment_id"].replace("-", "")] = end
    for path in sorted(folder.iterdir()):
        name, _, end = path.name.partition(".")
        if name in known and (not end.endswith(".del") or end == known[name]):
            yield path


def _is_intact(path: Path) -> bool:
    size = path.stat().st_size
    if size < _TAIL.size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as data,
        memoryview(data) as view,
    ):
        length, magic = _TAIL.unpack(data[size - _TAIL.size :])
        end = size - _TAIL.size - length
        if magic != _MAGIC or length > _LONGEST_FOOTER or end < 0:
            return False
        try:
            crc = json.loads(data[end : size - _TAIL.size])["crc"]
        except (ValueError, KeyError, TypeError):
            return False
        with view[:end] as body:
            return bool(zlib.crc32(body) == crc)
