"""Roots: the folders and single files that documents come from, and the ids that follow from them.

A path that is given becomes a root, unless it lies in one that the store knows. A file belongs to
the nearest root above it, and its document's id is the root's name and the path below it
(`notes/2024/a.md`; a single file's is its name; records have the ids they name). A root is
recognised by its resolved path, so the ids do not depend on the working directory or on links, and
no two roots of a store have one name.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import format_of
from hoptrail.rag.types import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The roots of one ingest: those that the store knows, and those it will."""

    names: Mapping[str, str]
    """By resolved path."""
    added: Mapping[str, str] = field(default_factory=dict)
    """Those of `names` that the store does not know."""
    moved: Mapping[str, str] = field(default_factory=dict)
    """By the path that the store knows: the present path of a root that was taken over."""

    def origin(self, real: str) -> Origin:
        """The root and the path below it of a resolved path, which must lie in a root."""
        root = next(path for path in upwards(real) if path in self.names)
        return Origin(root=root, path=real.removeprefix(root).lstrip("/"))

    def identifier(self, origin: Origin) -> str:
        """The id of a file's document."""
        name = self.names[origin.root]
        return f"{name}/{origin.path}" if origin.path else name

    def present(self, origin: Origin) -> Origin:
        """An origin as the store has it, under the present path of its root."""
        return Origin(root=self.moved.get(origin.root, origin.root), path=origin.path)


def plan_roots(
    paths: Sequence[Path],
    known: Mapping[str, str],
    *,
    name: str | None = None,
    take_over: bool = False,
) -> Roots:
    """The roots of an ingest of `paths`, which exist.

    Args:
        paths: files and folders.
        known: the names of the store's roots by resolved path.
        name: of the new root; None: the last part of its path.
        take_over: a new root may have the name of a known one, and then takes its place.

    Raises:
        SettingsError: a name is taken, or can be none.
    """
    given = {resolved(path): path for path in paths}
    names, moved = dict(known), dict[str, str]()
    added = _new_roots(given, known, name)
    if name is not None:
        _check_one(name, given, names | added)
    for real, chosen in added.items():
        other = next((path for path, taken in names.items() if taken == chosen), None)
        if other in added:
            raise SettingsError(
                f"{str(given[other])!r} and {str(given[real])!r} have one name, {chosen!r}. Ingest "
                "them one after the other, one of them with --name NAME, or the folder that holds "
                "both."
            )
        if other is not None and not take_over:
            raise SettingsError(
                f"The store has documents of another {chosen!r}, {other!r}. If "
                f"{str(given[real])!r} is the same one, moved, or comes in its place, add "
                "--take-over; if not, give it a name of its own: --name NAME."
            )
        if other is not None:
            moved[other] = real
            del names[other]
        names[real] = chosen
    return Roots(names=names, added=added, moved=moved)


def _new_roots(
    given: Mapping[str, Path], known: Mapping[str, str], name: str | None
) -> dict[str, str]:
    """The names of the given paths that lie in no known root and in no other given path."""
    added = {}
    for real, path in given.items():
        if lies_in(real, known) or lies_in(os.path.dirname(real), given.keys() - {real}):
            continue
        if name is None and _names_its_records(path):
            added[real] = real
            continue
        added[real] = name if name is not None else _name(path, real)
        _check_name(added[real], path)
    return added


def resolved(path: Path | str) -> str:
    """The absolute path without links, as `stored` has it."""
    return stored(os.path.realpath(path))


def stored(path: Path | str) -> str:
    """A path as text in NFC, bytes that are not UTF-8 escaped: it tells paths apart, opens none."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def upwards(real: str) -> Iterator[str]:
    """A resolved path, then the folders that it lies in, nearest first."""
    yield real
    while (above := os.path.dirname(real)) != real:
        yield above
        real = above


def lies_in(real: str, folders: Collection[str]) -> bool:
    """Whether a resolved path is one of the paths or lies below one."""
    return any(path in folders for path in upwards(real))


def full_path(origin: Origin) -> str:
    """The resolved path of an origin's file."""
    return os.path.join(origin.root, origin.path) if origin.path else origin.root


def _name(path: Path, real: str) -> str:
    return stored(path.name) if path.name not in ("", "..") else os.path.basename(real)


def _names_its_records(path: Path) -> bool:
    """Whether a path is a file whose records have ids of their own, so that its name is in none."""
    return path.is_file() and format_of(path.name) == "jsonl"


def _check_name(name: str, path: Path) -> None:
    if not name.strip() or "/" in name or name in (".", "..") or not name.isprintable():
        raise SettingsError(
            f"{name!r} cannot be the name of {str(path)!r} in document ids. Give it one of "
            "printable characters without '/': --name NAME."
        )


def _check_one(name: str, given: Mapping[str, Path], names: Mapping[str, str]) -> None:
    """Raises SettingsError unless a name that was chosen names what is given."""
    if len(given) != 1:
        raise SettingsError(f"The name {name!r} goes with one path. Ingest the others apart.")
    ((real, path),) = given.items()
    root = next(above for above in upwards(real) if above in names)
    if names[root] != name:
        raise SettingsError(
            f"{str(path)!r} belongs to {root!r}, which the store has as {names[root]!r}. Leave "
            f"the name {name!r} out."
        )
