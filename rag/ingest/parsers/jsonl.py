"""JSON Lines parser, plain or gzipped: one record a line; a bad line does not end the file.

A file is streamed, so its size needs no limit; a line has one, and so has what a gzip archive may
grow to: one that grows too far is refused where it does, the records before that stand.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Generic, Never, TypeVar, cast

from hoptrail.rag.ingest.files import (
    FileProblem,
    SourceFile,
    UnreadableFile,
    as_problem,
    os_refusal,
)
from hoptrail.rag.ingest.parsers.base import RATIO_FROM
from hoptrail.rag.ingest.parsers.decoding import HEAD, check_head, decode
from hoptrail.rag.ingest.parsers.records import UnreadKeys, document_of
from hoptrail.rag.types import Document

T = TypeVar("T")

_CHECK_EVERY = 1_000_000
"""Bytes: asking both streams for their positions takes longer than reading a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A parsed document."""

    document: Document
    is_record: bool
    """A record of a .jsonl file: a passage already, split only above the embedder's window."""
    read_bytes: int
    """How far into its file the reading is; of a gzip archive, compressed bytes."""
    line: int | None = None
    """Of a record: its line, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Generic[T]):
    """A line of a .jsonl file, parsed."""

    number: int
    value: T
    read_bytes: int
    """As in `Parsed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLimits:
    """Limits of a .jsonl file: bytes of a line, bytes and ratio that a gzip archive may grow to."""

    line_bytes: int
    gz_bytes: int
    gz_ratio: float


def read_records(source: SourceFile, limits: RecordLimits) -> Iterator[Parsed | FileProblem]:
    """Yields a .jsonl file's records and the problems of its lines, in order.

    A record is an object: `text` (string, not blank), `id` (string or integer), and optionally
    `title` (string, cut to 300 characters) and `meta` (flat object of strings, numbers and
    booleans; null is absence). Other keys are not read; a warning names each once. Blank lines
    are skipped.
    """
    unread = UnreadKeys(source)

    def parse(line: bytes | UnreadableFile, number: int) -> Document | None:
        fields = fields_of(line, number)
        if fields is None:
            return None
        unread.note(fields, number)
        return document_of(fields)

    for one in read_lines(source, limits, parse):
        yield (
            one
            if isinstance(one, FileProblem)
            else Parsed(
                document=one.value, is_record=True, read_bytes=one.read_bytes, line=one.number
            )
        )


def read_lines(
    source: SourceFile,
    limits: RecordLimits,
    parse: Callable[[bytes | UnreadableFile, int], T | None],
) -> Iterator[Line[T] | FileProblem]:
    """Yields what `parse` makes of each line of a .jsonl file, and the problems, in order.

    Args:
        source: the file.
        limits: what it may cost.
        parse: gets a line, or why it could not be read, and its number from 1; None: a blank line.
            Raises UnreadableFile for a line that is no record.
    """
    try:
        yield from _records(source, limits, parse)
    except UnreadableFile as refused:
        yield as_problem(source, refused)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = f"is a damaged gzip archive ({error}); the records before the damage stand"
        yield as_problem(source, UnreadableFile(reason, "malformed"))
    except OSError as error:
        yield as_problem(source, os_refusal(error))


def _records(
    source: SourceFile,
    limits: RecordLimits,
    parse: Callable[[bytes | UnreadableFile, int], T | None],
) -> Iterator[Line[T] | FileProblem]:
    found = False
    with source.path.open("rb") as raw:
        head = raw.read(HEAD)
        check_head(head, _suffix(source))
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableFile("is UTF-16: JSON lines are read as UTF-8", "encoding")
        raw.seek(0)
        for number, line in _lines(raw, source, limits):
            try:
                value = parse(line, number)
            except UnreadableFile as refused:
                found = True
                yield as_problem(source, refused, number)
            else:
                if value is not None:
                    found = True
                    yield Line(number=number, value=value, read_bytes=raw.tell())
    if not found:
        raise UnreadableFile("holds no record", "empty")


def record(line: bytes | UnreadableFile, number: int) -> Document | None:
    """Returns the document of one line; None if it is blank.

    Raises:
        Refused: it is no record; says why.
    """
    fields = fields_of(line, number)
    return None if fields is None else document_of(fields)


def fields_of(line: bytes | UnreadableFile, number: int) -> dict[str, object] | None:
    """Returns the JSON object of one line; None if it is blank.

    Raises:
        Refused: it is none; says why.
    """
    if isinstance(line, UnreadableFile):
        raise line
    if not line.strip():
        return None
    return _object(line if number > 1 else line.removeprefix(b"\xef\xbb\xbf"))


def _suffix(source: SourceFile) -> str:
    return ".jsonl.gz" if source.path.name.lower().endswith(".gz") else ".jsonl"


def _lines(
    raw: BinaryIO, source: SourceFile, limits: RecordLimits
) -> Iterator[tuple[int, bytes | UnreadableFile]]:
    """Yields line numbers with lines; an overlong line is passed over and becomes a refusal."""
    packed = _suffix(source) == ".jsonl.gz"
    stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
    number, whole, checked = 0, True, 0
    while line := stream.readline(limits.line_bytes + 1):
        checked += len(line)
        if packed and checked > _CHECK_EVERY:
            checked = 0
            _check_growth(stream.tell(), raw.tell(), limits)
        begins, whole = whole, line.endswith(b"\n")
        if not begins:
            continue
        number += 1
        if len(line) > limits.line_bytes:
            reason = f"is longer than {limits.line_bytes:,} bytes"
            yield number, UnreadableFile(reason, "too_large")
        else:
            yield number, line


def _check_growth(grown: int, packed: int, limits: RecordLimits) -> None:
    if grown > limits.gz_bytes:
        raise UnreadableFile(
            f"unpacks to more than {limits.gz_bytes:,} bytes: unpack it first", "bomb"
        )
    if grown > RATIO_FROM and grown > limits.gz_ratio * packed:
        raise UnreadableFile(
            f"unpacks to more than {limits.gz_ratio:g} times its size, as decompression bombs do",
            "bomb",
        )


def _object(line: bytes) -> dict[str, object]:
    try:
        fields = json.loads(decode(line), parse_constant=_no_number)
    except RecursionError:
        raise UnreadableFile("is nested too deeply", "malformed") from None
    except ValueError as error:
        raise UnreadableFile(f"is not JSON: {error}", "malformed") from None
    if not isinstance(fields, dict):
        looks = "a list" if isinstance(fields, list) else "a bare value"
        raise UnreadableFile(f"is {looks}, not a JSON object: write one record a line", "malformed")
    return fields


def _no_number(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")
