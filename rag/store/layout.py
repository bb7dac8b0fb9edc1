"""Paths of a tenant's store, files written whole, and disk failures as errors with a remedy.

    ROOT/<tenant>/catalogue.db     SQLite, the source of all the rest
                 /manifest.json    copy of the catalogue's settings and newest generation, derived
                 /secret           32 random bytes, for its owner only
                 /writer.lock      held by the writer; writer.owner names the process
                 /vectors-N.f32    exact dense index, derived
                 /tantivy-N/       lexical index, derived
                 /chroma/          Chroma's folder, derived
                 /tree.db          SQLite, the corpus tree; derived, but may have cost model calls
                 /tree.lock        held while a tree is built; tree.owner names the process

A tenant is a store of its own: its name is checked so that no path leaves ROOT, and symbolic
links are refused so that no tenant's file is another's.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sqlite3
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hoptrail.rag.errors import (
    HoptrailError,
    SettingsError,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
)

_TENANT = re.compile(r"[a-z0-9_-]{1,64}")
_FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_CODES = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
"""SQLite reports EFBIG (a quota, a file size limit) and a lack of room for its shared memory by the
latter two: the disk is at fault, not the catalogue."""
_FULL_WORDS = ("database or disk is full", "no space left", "disk quota", "file too large")
_DENIED_ERRNO = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
_DENIED_CODES = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
"""Beginnings: SQLite has several codes of each."""
_DENIED_WORDS = ("permission denied", "read-only file system", "too many open files")
_FAILED_CODE = "SQLITE_IOERR"
"""How the codes begin by which SQLite reports a read, a sync or a lock that failed."""
_DEVICES = Path("/dev")
_BUSY_WORDS = ("database is locked", "database table is locked", "lockbusy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths of one tenant's store."""

    root: Path
    tenant: str

    @property
    def folder(self) -> Path:
        """The tenant's own folder."""
        return self.root / self.tenant

    @property
    def catalogue(self) -> Path:
        """The SQLite file."""
        return self.folder / "catalogue.db"

    @property
    def tree(self) -> Path:
        """The file with the corpus tree."""
        return self.folder / "tree.db"

    @property
    def secret(self) -> Path:
        """The file with the tenant's secret."""
        return self.folder / "secret"

    def check(self) -> None:
        """Refuses a tenant whose name or files could lead outside its own folder.

        Raises:
            SettingsError: a bad name, or a symbolic link where a file of the store should be.
        """
        if not _TENANT.fullmatch(self.tenant):
            raise SettingsError(
                f"{self.tenant!r} is no tenant name: use 1 to 64 of "
                "the letters a-z, digits, - and _."
            )
        inside = self.folder.iterdir() if self.folder.is_dir() else ()
        for path in (self.folder, *inside):
            if path.is_symlink():
                raise SettingsError(
                    f"{str(path)!r} is a symbolic link, and a store follows none: one tenant could "
                    "read another's files. Put the real folder there."
                )

    def size(self) -> int:
        """Bytes of all files in the tenant's folder (sparse parts not counted)."""
        total = 0
        for path in self.folder.rglob("*"):
            try:
                total += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
        return total


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder: not on a read-only disk, or without the right to."""
    return os.access(folder, os.W_OK | os.X_OK)


class _ErrorTranslation:
    """Base of context managers that raise another error in the place of one.

    Holds no state of its own, so one may be entered by many threads; a class because a search
    enters it several times in a fraction of a millisecond.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        other = None if error is None else self._instead_of(error)
        if other is not None:
            raise other from error

    def _instead_of(self, error: BaseException) -> Exception | None:
        """What is raised in the place of an error; None: the error itself."""
        raise NotImplementedError


class disk_errors(_ErrorTranslation):
    """Context manager that turns failures of the disk and of SQLite into a `StoreError`.

    Raises:
        StoreFull: no space is left.
        StoreBusy: SQLite's own lock was not freed in time.
        StoreError: a file cannot be opened, or the disk fails to read or write it; neither says
            that its content is damaged.
        StoreDamaged: a file is no database, or a malformed one.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def _instead_of(self, error: BaseException) -> Exception | None:
        if not isinstance(error, OSError | sqlite3.Error | ValueError):
            return None
        translated = _translated(error, self._path)
        return None if translated is error else translated


def is_index_failure(error: BaseException) -> bool:
    """Whether an error that an index raised means that its files are not as it wrote them.

    Errors of the disk, of the catalogue and of the caller are none. A panic of a library in Rust
    comes as an exception that is no `Exception`.
    """
    if type(error).__name__ == "PanicException":
        return True
    if isinstance(error, HoptrailError | OSError | sqlite3.Error | AssertionError | MemoryError):
        return False
    return isinstance(error, Exception) and _translated(error, Path()) is error


class index_errors(_ErrorTranslation):
    """Context manager that turns whatever an index raises over damaged files into `StoreDamaged`.

    Raises:
        StoreDamaged: `is_index_failure` holds; the message says how to build the index anew.
    """

    __slots__ = ("_index", "_path")

    def __init__(self, path: Path, index: str) -> None:
        self._path = path
        self._index = index

    def _instead_of(self, error: BaseException) -> Exception | None:
        if not is_index_failure(error):
            return None
        return StoreDamaged(
            f"The {self._index} index of {str(self._path)!r} cannot be read ({error}). The "
            "documents are not affected; build it anew: hoptrail fsck --repair "
            f"{self._path.parent!s}"
        )


def _translated(error: Exception, path: Path) -> Exception:
    text = str(error).lower()
    number = getattr(error, "errno", None)
    code = getattr(error, "sqlite_errorname", "")
    if number in _FULL_ERRNO or code in _FULL_CODES or any(words in text for words in _FULL_WORDS):
        return StoreFull(
            f"The disk that holds {str(path)!r} is full. Everything committed is still there; "
            "free some space and run the same command again."
        )
    if any(words in text for words in _BUSY_WORDS):
        return StoreBusy(f"The store {str(path)!r} is being written by another process; try again.")
    if _is_denied(number, code, text):
        return StoreError(
            f"A file of the store {str(path)!r} cannot be opened or written ({error}): check the "
            "rights of that folder and of what is in it, and the limit of open files (ulimit -n). "
            "Nothing is damaged."
        )
    if number == errno.EIO or code.startswith(_FAILED_CODE):
        return StoreError(
            f"The disk that holds {str(path)!r} failed to read or write ({error}), which says "
            "nothing about what is on it. Remove nothing: look at the disk and at the system's "
            "log, and run the same command again; if it goes on, copy the folder to another disk."
        )
    # The latter: the message in which SQLite quotes bytes that are no text.
    damaged = isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError)
    if damaged and not isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return StoreDamaged(
            f"The catalogue of {str(path)!r} cannot be read ({error}). Keep what can be: hoptrail "
            f"fsck --repair {path.parent!s}. Put back a copy of the folder if that fails, or "
            f"remove it and ingest again: hoptrail ingest ... --store {path.parent!s}"
        )
    return error


def _is_denied(number: int | None, code: str, text: str) -> bool:
    """Whether rights or the limit of open files are in the way."""
    return (
        number in _DENIED_ERRNO
        or code.startswith(_DENIED_CODES)
        or any(words in text for words in _DENIED_WORDS)
    )


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file wholly or not at all: under a name that nobody knows, then renamed.

    A link at the path is replaced, never followed; a device or pipe is written to as it is.

    Raises:
        OSError: it cannot be written; whatever was at the path is still there, and nothing else.
    """
    if is_device(path):
        path.write_bytes(data)
        return
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(FileNotFoundError):
                before = path.lstat()
                if stat.S_ISREG(before.st_mode):
                    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, such as /dev/stdout: nothing is renamed over it."""
    folder = path.absolute().parent.resolve()
    if any(folder.is_relative_to(system) for system in ("/dev/fd", "/proc")) or folder == _DEVICES:
        return True
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode))


def _sync_folder(folder: Path) -> None:
    """Makes a new name in a folder outlast a power cut, where its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
