"""File discovery for ingestion: regular files in folders whose suffix has a parser.

Ids are relative to the PATH as it was given, with `/` between the parts and in Unicode's NFC, so
that one corpus has the same ids on every system and wherever it lies. Links inside folders are
not followed (they could lead in a circle or out of the folder); hidden entries are skipped, and so
are the files of the store that the documents go into.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hoptrail.rag.errors import ParseError, SettingsError

Format = Literal["text", "markdown", "html", "pdf", "jsonl"]

SUFFIXES: dict[str, Format] = {
    ".txt": "text",
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
}
"""What is read, and as what."""

ProblemKind = Literal[
    "binary", "bomb", "crash", "duplicate", "empty", "encoding", "malformed", "memory", "misnamed",
    "name", "timeout", "too_large", "unreadable", "vanished",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to be read."""

    path: Path
    id: str
    """Of the file's document; a .jsonl file's records have ids of their own."""
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


@dataclass(slots=True, kw_only=True)
class FoundFiles:
    """What was found under the given paths, in the order in which it will be read."""

    files: list[SourceFile] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)
    skipped: int = 0
    """Files whose suffix has no parser."""
    links: int = 0
    """Symbolic links inside folders."""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(source.size for source in self.files)


def find_files(paths: Sequence[Path], *, store: Path | None = None) -> FoundFiles:
    """Returns the files to be read under `paths`, each file once.

    Args:
        paths: files and folders.
        store: the root of a store whose tenants' folders are passed over wherever they are met:
            they hold ledgers and checkpoints of runs, not documents.

    Raises:
        SettingsError: a path does not exist or is a file that has no parser, two paths give two
            files the same id or one file two ids, or there is nothing to read at all.
    """
    found = FoundFiles()
    owners: dict[str, tuple[SourceFile, Path]] = {}
    places: dict[str, tuple[SourceFile, Path]] = {}
    kept_out = _tenants(store) if store is not None else frozenset()
    for root in paths:
        for source in _sources(Path(root), found, kept_out):
            real = os.path.realpath(source.path)
            if real in places and places[real][0].id == source.id:
                continue
            _check_once(source, root, *owners.get(source.id, (source, root)))
            _check_once(source, root, *places.get(real, (source, root)))
            owners[source.id] = places[real] = source, root
            found.files.append(source)
    if not found.files and not found.problems:
        names = ", ".join(repr(str(path)) for path in paths) or "no path"
        raise SettingsError(
            f"There is nothing to read in {names}. Files ending in {', '.join(SUFFIXES)} are read; "
            f"{found.skipped} others, links and hidden ones were skipped."
        )
    return found


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


def _check_once(source: SourceFile, root: Path, other: SourceFile, other_root: Path) -> None:
    if root == other_root:  # two names that NFC makes equal are reported when they are read
        return
    if source.id == other.id:
        raise SettingsError(
            f"{str(other.path)!r} and {str(source.path)!r} would be the same document "
            f"{source.id!r}. Ingest the folder that holds both instead."
        )
    raise SettingsError(
        f"{str(source.path)!r} lies in {str(root)!r} and in {str(other_root)!r}, and would be two "
        f"documents, {source.id!r} and {other.id!r}. Give one of the two paths."
    )


def _tenants(store: Path) -> frozenset[Path]:
    """The real paths of a store's tenants."""
    real = Path(os.path.realpath(store))
    folders = real.iterdir() if real.is_dir() else ()
    return frozenset(one for one in folders if os.path.isfile(one / "catalogue.db"))


def _sources(root: Path, found: FoundFiles, kept_out: frozenset[Path]) -> Iterator[SourceFile]:
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise SettingsError(
            f"There is no file or folder {str(root)!r} ({error.strerror}). Check the path."
        ) from None
    if stat.S_ISDIR(mode):
        yield from _folder(root, found, kept_out)
        return
    if _format(root.name) is None:
        raise SettingsError(
            f"{str(root)!r} has no parser. Files ending in {', '.join(SUFFIXES)} are read."
        )
    yield from _file(root, Path(root.name), found)


def _folder(root: Path, found: FoundFiles, kept_out: frozenset[Path]) -> Iterator[SourceFile]:
    def report(error: OSError) -> None:
        problem = FileProblem(
            path=str(error.filename), reason=os_refusal(error).reason, kind="unreadable"
        )
        found.problems.append(problem)

    for folder, folders, names in os.walk(root, onerror=report):
        real = Path(os.path.realpath(folder))
        if not kept_out.isdisjoint((real, *real.parents)):
            folders.clear()
            continue
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found.links += len(links)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in links)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_symlink():
                found.links += 1
            elif _format(name) is None:
                found.skipped += 1
            else:
                yield from _file(path, path.relative_to(root), found)


def _file(path: Path, relative: Path, found: FoundFiles) -> Iterator[SourceFile]:
    identifier = unicodedata.normalize("NFC", relative.as_posix())
    try:
        identifier.encode()
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableFile("is not a regular file", "unreadable", identifier)
    except UnicodeEncodeError:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        found.problems.append(
            FileProblem(path=name, reason="has a name that is not UTF-8: rename it", kind="name")
        )
    except OSError as error:
        refused = os_refusal(error)
        found.problems.append(FileProblem(path=str(path), reason=refused.reason, kind=refused.kind))
    except UnreadableFile as refused:
        found.problems.append(
            FileProblem(
                path=str(path), reason=refused.reason, kind=refused.kind, document_id=identifier
            )
        )
    else:
        kind = _format(path.name)
        assert kind is not None
        yield SourceFile(path=path, id=identifier, format=kind, size=about.st_size)


def _format(name: str) -> Format | None:
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)
