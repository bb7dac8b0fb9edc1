"""Files to be read, and the reasons why one cannot be.

The process that parses files imports this module too, so it imports little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hoptrail.rag.errors import ParseError

if TYPE_CHECKING:
    from hoptrail.rag.types import Origin

Format = Literal["text", "markdown", "html", "pdf", "docx", "pptx", "xlsx", "epub", "csv", "jsonl"]

SUFFIXES: dict[str, Format] = {
    ".txt": "text",
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".epub": "epub",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
}
"""What is read, and as what."""

ProblemKind = Literal[
    "binary", "bomb", "crash", "duplicate", "empty", "encoding", "malformed", "memory", "misnamed",
    "name", "taken", "timeout", "too_large", "unreadable", "vanished",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to be read."""

    path: Path
    id: str
    """Of the file's document; a .jsonl file's records have ids of their own."""
    origin: Origin
    format: Format
    size: int
    """Bytes when it was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """The reason why a file, or one line of it, gives no document."""

    path: str
    reason: str
    kind: ProblemKind
    line: int | None = None
    """Of a .jsonl file, from 1; None: the whole file."""
    document_id: str | None = None
    """Which document is missing because of it; None: it cannot be known."""

    def __str__(self) -> str:
        """The path, the line if there is one, and the reason."""
        place = self.path if self.line is None else f"{self.path}, line {self.line},"
        return f"{place} {self.reason}"


class UnreadableFile(ParseError):
    """A file or a line that cannot be read; becomes a FileProblem."""

    def __init__(self, reason: str, kind: ProblemKind, document_id: str | None = None) -> None:
        """`reason` continues a sentence that begins with the file's name."""
        super().__init__(reason)
        self.reason = reason
        self.kind: ProblemKind = kind
        self.document_id = document_id


def as_problem(source: SourceFile, refused: UnreadableFile, line: int | None = None) -> FileProblem:
    """Returns what is reported about `source`; a file's own document id is known, a line's not."""
    whole = None if source.format == "jsonl" else source.id
    return FileProblem(
        path=str(source.path),
        reason=refused.reason,
        kind=refused.kind,
        line=line,
        document_id=refused.document_id or whole,
    )


def os_refusal(error: OSError) -> UnreadableFile:
    """Returns the refusal for a file that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return UnreadableFile("is no longer there", "vanished")
    return UnreadableFile(f"cannot be read: {error.strerror or error}", "unreadable")


def format_of(name: str) -> Format | None:
    """What a file of that name is read as; None: it has no parser."""
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)
