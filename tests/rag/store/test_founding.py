"""What a process leaves that was killed while it made a store goes away; a live one's stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TESTS
from support.store import new_store

from hoptrail.rag.errors import StoreMissing
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store import spec as founding
from hoptrail.rag.store.store import Store

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from hoptrail.rag.store import spec as founding
from support.store import new_store
founding._rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
new_store(Path(sys.argv[1]))
"""


def be_killed(root: Path) -> None:
    run = [sys.executable, "-P", "-c", KILLED, str(root), str(TESTS)]
    assert subprocess.run(run, check=False, timeout=100).returncode == -signal.SIGKILL
    assert [one.name[:13] for one in root.iterdir()] == [".new-default-"]


def test_a_store_that_was_half_made_is_removed_by_the_next_that_is_made(tmp_path: Path) -> None:
    be_killed(tmp_path)
    new_store(tmp_path).close()
    assert [one.name for one in tmp_path.iterdir()] == ["default"]


@pytest.mark.parametrize("look", [Store.open, fsck])
def test_a_store_that_was_half_made_is_removed_on_looking(tmp_path: Path, look: object) -> None:
    be_killed(tmp_path)
    with pytest.raises(StoreMissing):
        look(tmp_path)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_being_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = founding._rename

    def rename(building: Path, folder: Path) -> None:
        # What another process does in the middle of it.
        founding.remove_unfinished(tmp_path)
        assert (building / "catalogue.db").is_file()
        whole(building, folder)

    monkeypatch.setattr(founding, "_rename", rename)
    new_store(tmp_path).close()
    assert [one.name for one in tmp_path.iterdir()] == ["default"]
    assert fsck(tmp_path).clean
