"""Broken files and full disks: what can be rebuilt is, the rest is said; nothing is lost."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paths import TESTS
from support.store import indexed, new_store, texts, vector

from hoptrail.rag.errors import StoreDamaged, StoreError, StoreFull
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.indexes.tantivy import TantivyBackend
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.store.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of two generations, closed."""
    with new_store(tmp_path) as store:
        store.commit([indexed(f"d{n}", [f"ship {n}", f"sea {n}"]) for n in range(20)])
        store.commit([indexed("last", ["the last ship"])])
    return tmp_path / "default"


def garble(path: Path) -> None:
    path.write_bytes(b"{nonsense" + os.urandom(40))


def garble_segments(path: Path) -> None:
    for file in path.glob("*.term"):
        file.write_bytes(os.urandom(20))


HARMS: dict[str, Callable[[Path], object]] = {
    "tantivy gone": lambda folder: shutil.rmtree(folder / "tantivy"),
    "meta.json gone": lambda folder: (folder / "tantivy/0/meta.json").unlink(),
    "meta.json garbled": lambda folder: garble(folder / "tantivy/0/meta.json"),
    "segments garbled": lambda folder: garble_segments(folder / "tantivy/0"),
    "vectors gone": lambda folder: (folder / "vectors-0.f32").unlink(),
    "vectors cut": lambda folder: os.truncate(folder / "vectors-0.f32", 100),
    "vectors empty": lambda folder: os.truncate(folder / "vectors-0.f32", 0),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_broken_derived_file_is_built_anew_on_opening(
    folder: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    HARMS[harm](folder)
    with caplog.at_level(logging.WARNING), Store.open(folder.parent) as store:
        assert len(store.lexical("ship", 50).rows) == 21
        assert texts(store, store.dense(vector(("", "the last ship")), 1)) == ["the last ship"]
        assert store.generation == 2
    assert "building it anew" in caplog.text
    assert fsck(folder.parent).clean


def test_an_index_put_back_from_an_older_copy_is_built_anew(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit([indexed("a", ["a ship", "a boat"])])
        shutil.copytree(tmp_path / "default" / "tantivy", tmp_path / "copy")
        store.commit([indexed("a", ["new ship"])])
    shutil.rmtree(tmp_path / "default" / "tantivy")
    shutil.move(tmp_path / "copy", tmp_path / "default" / "tantivy")
    with Store.open(tmp_path) as store:
        assert texts(store, store.lexical("ship", 5)) == ["new ship"]


def test_a_compacted_store_mends_a_broken_slot_map(folder: Path) -> None:
    with Store.open(folder.parent) as store:
        store.commit([], ["d3"])
        store.compact()
    garble(folder / "vectors-1.rows.npy")
    with Store.open(folder.parent) as store:
        assert len(store.dense(vector(0), 50).rows) == 39
    assert fsck(folder.parent).clean


@pytest.mark.parametrize("content", [b"", b"this is no database at all " * 99])
def test_a_broken_catalogue_says_what_to_do(folder: Path, content: bytes) -> None:
    for name in ("catalogue.db-wal", "catalogue.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "catalogue.db").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"cannot be read .*Put back a copy.*hoptrail ingest"):
        Store.open(folder.parent)
    with pytest.raises(StoreDamaged, match="cannot be read"):
        fsck(folder.parent)


def read_everything(root: Path) -> None:
    with Store.open(root) as store:
        for name in store.documents():
            store.document(name)
            store.resolve(store.lexical("ship", 5).rows)


def test_pages_of_the_catalogue_that_went_bad_are_reported(folder: Path) -> None:
    with sqlite3.connect(folder / "catalogue.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (folder / "catalogue.db").open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(8192 * 6))
    with pytest.raises(StoreDamaged, match="cannot be read"):
        read_everything(folder.parent)


def test_a_missing_secret_is_said(folder: Path) -> None:
    (folder / "secret").write_bytes(b"short")
    with pytest.raises(StoreDamaged, match="secret"):
        Store.open(folder.parent)


def test_a_full_catalogue_disk_loses_nothing(folder: Path) -> None:
    with Store.open(folder.parent) as store:
        writer = store._write_connection()
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
        big = [f"ship number {n} " + "long " * 300 for n in range(60)]
        with pytest.raises(StoreFull, match=r"is full.*still there"):
            store.commit([indexed("d0", big)])
        assert store.generation == 2
        assert texts(store, store.lexical("last", 1)) == ["the last ship"]
        writer.execute("PRAGMA max_page_count = 1000000")
        assert store.commit([indexed("d0", big)]) == 3
    assert fsck(folder.parent).clean


def test_a_full_index_disk_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ValueError("IoError { io_error: No space left on device (os error 28) }")

    with Store.open(folder.parent) as store:
        with monkeypatch.context() as patch:
            patch.setattr(TantivyBackend, "write", full)
            with pytest.raises(StoreFull, match="is full"):
                store.commit([indexed("d0", ["gone"])])
        assert store.generation == 2
        assert len(store.lexical("ship", 50).rows) == 21
        assert store.commit([indexed("d0", ["new ship"])]) == 3
    assert fsck(folder.parent).clean


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from hoptrail.rag.errors import StoreFull
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store
from support.store import indexed, new_store
root = Path(sys.argv[1])
acknowledged = []
with new_store(root) as store:
    try:
        for number in range(10_000):
            parts = [f"ship {number} {part} " + "sea " * 200 for part in range(40)]
            store.commit([indexed(f"d{number}", parts)])
            acknowledged.append(f"d{number}")
    except StoreFull as error:
        print("full:", error)
    assert set(acknowledged) <= set(store.fingerprints()) and acknowledged
    assert len(store.lexical("ship", 10).rows) == 10
with Store.open(root) as store:
    assert set(acknowledged) <= set(store.fingerprints())
    whole = [len(store.passages_of(name)) for name in store.documents()]
    assert set(whole) == {40}, whole
print("clean:", fsck(root).clean)
"""


def test_a_disk_that_really_fills_up_loses_nothing(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=6m none {tmp_path} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("needs a user namespace that may mount a tmpfs")
    run = [
        *command,
        sys.executable,
        "-P",
        "-c",
        FILL,
        str(tmp_path / "s"),
        str(TESTS),
    ]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "full: The disk that holds" in done.stdout
    assert "clean: True" in done.stdout


def test_other_errors_pass_through_untouched() -> None:
    with pytest.raises(ValueError, match=r"^mine$") as caught, disk_errors(Path("x")):
        raise ValueError("mine")
    assert caught.value.__cause__ is None


DENIED = r"cannot be opened or written \(.*check the rights.*ulimit -n.*Nothing is damaged"


def open_a_folder(folder: Path) -> None:
    sqlite3.connect(folder).execute("SELECT 1")


def write_what_is_read_only(folder: Path) -> None:
    uri = f"file:{folder / 'catalogue.db'}?mode=ro"
    sqlite3.connect(uri, uri=True).execute("CREATE TABLE more (x)")


def be_denied_by(number: int) -> Callable[[Path], None]:
    def be_denied(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    return be_denied


def be_denied_by_tantivy(_folder: Path) -> None:
    raise ValueError("IoError { io_error: Too many open files (os error 24) }")


@pytest.mark.parametrize(
    "act",
    [
        open_a_folder,
        write_what_is_read_only,
        be_denied_by(errno.EACCES),
        be_denied_by(errno.EROFS),
        be_denied_by(errno.EMFILE),
        be_denied_by_tantivy,
    ],
)
def test_a_file_that_is_not_given_is_no_damage(folder: Path, act: Callable[[Path], None]) -> None:
    with pytest.raises(StoreError, match=DENIED) as caught, disk_errors(folder):
        act(folder)
    assert type(caught.value) is StoreError
    assert "ingest again" not in str(caught.value)


def read_what_the_system_cannot(_folder: Path) -> None:
    Path("/proc/self/mem").read_bytes()


def open_what_the_system_cannot_read(_folder: Path) -> None:
    sqlite3.connect("file:/proc/self/mem?mode=ro", uri=True).execute("SELECT * FROM x")


def be_told_of_a_failed_read(_folder: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_READ"
    raise error


@pytest.mark.parametrize(
    "act", [read_what_the_system_cannot, open_what_the_system_cannot_read, be_told_of_a_failed_read]
)
def test_a_disk_that_fails_is_no_damage(folder: Path, act: Callable[[Path], None]) -> None:
    wanted = r"disk that holds .* failed to read or write \(.*Remove nothing"
    with pytest.raises(StoreError, match=wanted) as caught, disk_errors(folder):
        act(folder)
    assert type(caught.value) is StoreError
    assert "ingest again" not in str(caught.value)


STARVED = """
import os, resource, sys
from pathlib import Path
from hoptrail.rag.errors import StoreError
from hoptrail.rag.store.store import Store
root = Path(sys.argv[1])
with Store.open(root) as store:
    assert len(store.lexical("ship", 50).rows) == 21
limit = len(os.listdir("/proc/self/fd")) + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    Store.open(root)
except StoreError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
@pytest.mark.parametrize("left", [0, 1])
def test_too_many_open_files_are_no_damage(folder: Path, left: int) -> None:
    run = subprocess.run(
        [sys.executable, "-P", "-c", STARVED, str(folder.parent), str(left)],
        check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("StoreError ")
    assert "ulimit -n" in run.stdout
    assert fsck(folder.parent).clean
