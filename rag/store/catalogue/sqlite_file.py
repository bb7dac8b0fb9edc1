"""Addresses of the SQLite files of a store, also of one that can only be read.

SQLite keeps a log (WAL) and an index of it beside a file, and makes both even to read. Where the
folder cannot be written and no log is left in it, the file is opened as one that nobody changes
(`immutable`). A log that is left belongs to the file and is read as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from hoptrail.rag.store.layout import can_write


def address(path: Path) -> str:
    """The URI by which SQLite opens a file, for reading only if its folder cannot be written."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}"
    if can_write(path.parent):
        return uri
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return f"{uri}?{how}"
