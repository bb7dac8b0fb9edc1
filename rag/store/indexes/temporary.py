"""Temporary folders for the indexes of a store that cannot be written.

Tantivy and Chroma write where they read: Tantivy a lock, Chroma its database.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

_ATTEMPTS, _PAUSE = 50, 0.02


def linked(folder: Path) -> TemporaryDirectory[str]:
    """A folder like one, with links to its files but for locks; empty if there is none."""
    return _filled(folder, _link)


def copied(folder: Path) -> TemporaryDirectory[str]:
    """A copy of a folder that can be written; empty if there is none."""
    return _filled(folder, shutil.copyfile)


def removed(made: TemporaryDirectory[str]) -> None:
    """Removes such a folder; an index that was just closed may still be putting a lock there."""
    for _ in range(_ATTEMPTS):
        with suppress(OSError):
            made.cleanup()
            return
        time.sleep(_PAUSE)


def _filled(folder: Path, put: Callable[[str, str], object]) -> TemporaryDirectory[str]:
    made = TemporaryDirectory(prefix="hoptrail-")
    if folder.is_dir():
        # Without `copystat` of folders: those of a read-only disk may not be written either.
        for path in sorted(folder.rglob("*")):
            place = Path(made.name, path.relative_to(folder))
            if path.is_dir():
                place.mkdir()
            elif not path.name.endswith(".lock"):
                put(str(path.absolute()), str(place))
    return made


def _link(source: str, place: str) -> None:
    Path(place).symlink_to(source)
