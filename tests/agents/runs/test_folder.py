"""Folders of runs that were cut off: which are kept, which are collected, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.agents import QUESTION, make_chain

from hoptrail.agents import KnowledgeBase, RunRetention, unfinished_runs
from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.runs.folder import RunFolder, begin, collect_runs
from hoptrail.agents.runs.request import RunRequest
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError

DAY = 86_400.0


def cut_off(runs: Path, days: float, *, ledger: bool = True) -> RunFolder:
    """A run that last did anything some days ago."""
    folder = begin(runs, RunRequest(question=f"asked {days} days ago"))
    if ledger:
        Ledger.open(folder.ledger, Budget()).close()
    then = time.time() - days * DAY
    for path in (*folder.path.iterdir(), folder.path):
        os.utime(path, (then, then))
    return folder


def left(runs: Path) -> set[str]:
    return {run.id for run in unfinished_runs(runs)}


def test_runs_older_than_the_limit_are_collected_the_others_not(tmp_path: Path) -> None:
    old, young = cut_off(tmp_path, 8), cut_off(tmp_path, 6)
    never_begun = cut_off(tmp_path, 9, ledger=False)
    half_made = tmp_path / "0123456789"
    half_made.mkdir()
    os.utime(half_made, (1, 1))
    collect_runs(tmp_path, RunRetention(days=7))
    assert left(tmp_path) == {young.id}
    assert not any(path.exists() for path in (old.path, never_begun.path, half_made))


def test_of_too_many_runs_the_latest_are_kept(tmp_path: Path) -> None:
    made = [cut_off(tmp_path, days) for days in (3, 1, 4, 2, 5)]
    collect_runs(tmp_path, RunRetention(count=2))
    assert left(tmp_path) == {made[1].id, made[3].id}


def test_a_run_that_is_still_going_is_never_collected(tmp_path: Path) -> None:
    going = cut_off(tmp_path, 100)
    ledger = Ledger.open(going.ledger, Budget())
    os.utime(going.ledger, (1, 1))
    collect_runs(tmp_path, RunRetention(days=1, count=1))
    assert left(tmp_path) == {going.id}
    ledger.close()
    os.utime(going.ledger, (1, 1))
    collect_runs(tmp_path, RunRetention(days=1))
    assert left(tmp_path) == set()


def test_runs_of_the_last_hour_are_kept_whatever_the_limits_say(tmp_path: Path) -> None:
    made = {cut_off(tmp_path, 0.5 / 24, ledger=number > 1).id for number in range(4)}
    collect_runs(tmp_path, RunRetention(days=1e-6, count=1))
    assert left(tmp_path) == made


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "README"):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "My Folder").mkdir()
    os.utime(tmp_path / "My Folder", (1, 1))
    collect_runs(tmp_path, RunRetention(days=1, count=1))
    collect_runs(tmp_path / "nothing here", RunRetention())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["My Folder", "README", "notes.txt"]


def test_the_next_question_collects_by_the_stores_own_limits(tmp_path: Path) -> None:
    root = make_chain(tmp_path)
    runs = root / "default" / "runs"
    old, young = cut_off(runs, 3), cut_off(runs, 1)
    kept = RunRetention(days=2)
    with KnowledgeBase.open(root, embedder=HashEmbedder(), keep_runs=kept) as kb:
        assert set(kb.unfinished_runs()) == {old.id, young.id}
        kb.ask(QUESTION)
        assert kb.unfinished_runs() == [young.id]


@pytest.mark.parametrize("limits", [{"days": 0}, {"days": float("nan")}, {"count": 0}])
def test_limits_that_keep_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="keep_runs=False to keep none"):
        RunRetention(**limits)  # type: ignore[arg-type]
