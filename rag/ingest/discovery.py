"""File discovery for ingestion: regular files in folders whose suffix has a parser.

Ids are those of `roots`, with `/` between the parts and in Unicode's NFC, so that one corpus has
the same ids on every system. Links inside folders are not followed (they could lead in a circle or
out of the folder); hidden entries are skipped, and so are the files of the store that the documents
go into.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import (
    SUFFIXES,
    FileProblem,
    SourceFile,
    UnreadableFile,
    format_of,
    os_refusal,
)
from hoptrail.rag.ingest.roots import Roots, plan_roots, resolved, stored
from hoptrail.rag.types import Origin


@dataclass(slots=True, kw_only=True)
class FoundFiles:
    """What was found under the given paths, in the order in which it will be read."""

    files: list[SourceFile] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)
    skipped: int = 0
    """Files whose suffix has no parser."""
    links: int = 0
    """Symbolic links inside folders."""
    barren: list[str] = field(default_factory=list)
    """The given paths that gave no file."""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(source.size for source in self.files)


def find_files(
    paths: Sequence[Path],
    *,
    store: Path | None = None,
    roots: Roots | None = None,
    name: str | None = None,
    ids: Mapping[Origin, str] | None = None,
) -> FoundFiles:
    """Returns the files to be read under `paths`, each file once.

    Args:
        paths: files and folders.
        store: the root of a store whose tenants' folders are passed over wherever they are met:
            they hold ledgers and checkpoints of runs, not documents.
        roots: of `plan_roots`; None: those of an empty store.
        name: of the root in an empty store; None: the last part of its path.
        ids: of the documents of files that the store has already.

    Raises:
        SettingsError: a path does not exist or is a file that has no parser, two paths have one
            name, or there is nothing to read at all.
    """
    check_paths(paths)
    walk = _Walk(
        roots=roots or plan_roots(paths, {}, name=name),
        ids=ids or {},
        kept_out=_tenants(store) if store is not None else frozenset(),
    )
    found = walk.found
    met: set[str] = set()
    for root in paths:
        any_file = False
        for source in walk.sources(Path(root)):
            any_file = True
            real = os.path.realpath(source.path)
            if real not in met:
                found.files.append(source)
            met.add(real)
        if not any_file:
            found.barren.append(str(root))
    if not found.files and not found.problems:
        names = ", ".join(repr(str(path)) for path in paths) or "no path"
        raise SettingsError(
            f"There is nothing to read in {names}. Files ending in {', '.join(SUFFIXES)} are read; "
            f"{found.skipped} others, links and hidden ones were skipped."
        )
    return found


def check_paths(paths: Sequence[Path]) -> None:
    """Raises SettingsError for a path that does not exist, or a file that has no parser."""
    for path in map(Path, paths):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise SettingsError(
                f"There is no file or folder {str(path)!r} ({error.strerror}). Check the path."
            ) from None
        if not stat.S_ISDIR(mode) and format_of(path.name) is None:
            raise SettingsError(
                f"{str(path)!r} has no parser. Files ending in {', '.join(SUFFIXES)} are read."
            )


def _tenants(store: Path) -> frozenset[Path]:
    """The real paths of a store's tenants."""
    real = Path(os.path.realpath(store))
    folders = real.iterdir() if real.is_dir() else ()
    return frozenset(one for one in folders if os.path.isfile(one / "catalogue.db"))


class _Walk:
    """The walk over the given paths."""

    def __init__(
        self, *, roots: Roots, ids: Mapping[Origin, str], kept_out: frozenset[Path]
    ) -> None:
        self.found = FoundFiles()
        self._roots, self._ids, self._kept_out = roots, ids, kept_out

    def sources(self, given: Path) -> Iterator[SourceFile]:
        """Yields the files that a path gives, in the order of their names."""
        if given.is_dir():
            yield from self._folder(given)
        else:
            yield from self._file(given, Path(given.name), resolved(given))

    def _folder(self, given: Path) -> Iterator[SourceFile]:
        for folder, folders, names in os.walk(given, onerror=self._unreadable):
            real = Path(os.path.realpath(folder))
            if not self._kept_out.isdisjoint((real, *real.parents)):
                folders.clear()
                continue
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            self.found.links += len(links)
            folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in links)
            for name in sorted(names):
                path = Path(folder, name)
                if name.startswith("."):
                    continue
                if path.is_symlink():
                    self.found.links += 1
                elif format_of(name) is None:
                    self.found.skipped += 1
                else:
                    yield from self._file(path, path.relative_to(given), stored(real / name))

    def _file(self, path: Path, relative: Path, real: str) -> Iterator[SourceFile]:
        problems = self.found.problems
        origin = self._roots.origin(real)
        kind = format_of(path.name)
        assert kind is not None
        identifier = self._roots.identifier(origin)
        if kind != "jsonl":
            identifier = self._ids.get(origin, identifier)
        try:
            str(relative).encode()
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise UnreadableFile("is not a regular file", "unreadable", identifier)
        except UnicodeEncodeError:
            reason = "has a name that is not UTF-8: rename it"
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            problems.append(FileProblem(path=name, reason=reason, kind="name"))
        except OSError as error:
            refused = os_refusal(error)
            problems.append(FileProblem(path=str(path), reason=refused.reason, kind=refused.kind))
        except UnreadableFile as refused:
            problems.append(
                FileProblem(
                    path=str(path), reason=refused.reason, kind=refused.kind, document_id=identifier
                )
            )
        else:
            yield SourceFile(
                path=path, id=identifier, origin=origin, format=kind, size=about.st_size
            )

    def _unreadable(self, error: OSError) -> None:
        self.found.problems.append(
            FileProblem(
                path=str(error.filename), reason=os_refusal(error).reason, kind="unreadable"
            )
        )
