"""The folder of a run on disk: its request, budget ledger and checkpoints.

It lies beside the store, but is written without the store's writer lock. It holds `run.json` (the
request), `ledger.jsonl` and `state.db`. It is deleted when the receipt is written: a folder that is
left belongs to a run that crashed or was interrupted, and `resume` goes on with it, until it is
older than `RunRetention` allows.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from hoptrail.agents.budget.journal import JournalError, journal_lock
from hoptrail.agents.corpus.run_retention import RunRetention
from hoptrail.agents.runs.request import JOB, RunRequest
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.layout import disk_errors

_RUN = re.compile(r"[a-z0-9-]{1,40}")

_GRACE = 3_600.0
"""Seconds after the last sign of life for which a run's folder is kept whatever the limits say: one
that has just begun is not locked yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The folder in which a run keeps the files that a resume needs."""

    path: Path

    @property
    def id(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def ledger(self) -> Path:
        """The file of the budget ledger."""
        return self.path / "ledger.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The file of LangGraph's checkpoints."""
        return self.path / "state.db"

    def note_recording(self, path: Path) -> None:
        """Remembers the file of a recording that goes on when the run does."""
        whole = path.parent.resolve() / path.name  # a link at the file itself is not followed
        (self.path / "recording").write_text(str(whole), encoding="utf-8")

    def recording(self) -> Path | None:
        """The file of a recording that was left to go on; None: there is none."""
        note = self.path / "recording"
        return Path(note.read_text(encoding="utf-8")) if note.is_file() else None

    def job(self) -> RunRequest:
        """The request of the run.

        Raises:
            JournalError: `run.json` is missing or broken.
        """
        try:
            return JOB.validate_json((self.path / "run.json").read_bytes())
        except (OSError, ValidationError, ValueError) as error:
            raise JournalError(
                f"The run {self.id!r} cannot be read: delete {str(self.path)!r} and ask again."
            ) from error

    def last_active(self) -> float:
        """When the run last wrote a file or showed that it lives, in seconds since 1970."""
        for path in (self.ledger, self.path / "run.json", self.path):
            with suppress(OSError):
                return path.stat().st_mtime
        return math.inf  # gone: someone else deletes it

    def delete(self) -> None:
        """Deletes the folder and all its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def delete_unless_going(self) -> None:
        """Deletes the folder, unless a process has the run open."""
        with suppress(JournalError), journal_lock(self.ledger):
            self.delete()


def begin(runs: Path, job: RunRequest, retention: RunRetention | None = None) -> RunFolder:
    """Creates the folder of a new run, and writes its request.

    Args:
        runs: where the folders of a store's runs are.
        job: the request.
        retention: those that it does not keep are deleted first; None: none are.
    """
    if retention is not None:
        collect_runs(runs, retention)
    folder = RunFolder(path=runs / secrets.token_hex(5))
    with disk_errors(runs):
        folder.path.mkdir(parents=True)
        (folder.path / "run.json").write_bytes(JOB.dump_json(job, indent=1))
    return folder


def find(runs: Path | None, run: str) -> RunFolder:
    """The folder of a run that can be resumed.

    Raises:
        SettingsError: there is none; the message lists the unfinished runs.
    """
    if runs is None:
        raise SettingsError(
            f"There is no run {run!r}: runs of this store are not kept (keep_runs=False, or the "
            "store can only be read)."
        )
    folder = RunFolder(path=runs / run)
    if not _RUN.fullmatch(run) or not (folder.path / "run.json").is_file():
        left = ", ".join(sorted(f.id for f in unfinished_runs(runs))) or "none"
        raise SettingsError(f"There is no run {run!r} to resume; unfinished runs here: {left}.")
    return folder


def unfinished_runs(runs: Path) -> tuple[RunFolder, ...]:
    """The runs that have no receipt yet."""
    found = sorted(runs.glob("*/run.json")) if runs.is_dir() else []
    return tuple(RunFolder(path=path.parent) for path in found)


def collect_runs(runs: Path, retention: RunRetention) -> None:
    """Deletes the folders of runs that were cut off too long ago, or are too many.

    One that is still going is never deleted. It costs a look at each folder.
    """
    found = [RunFolder(path=path) for path in _folders(runs)]
    latest = sorted((-one.last_active(), one.id, one) for one in found)
    now = time.time()
    for position, (active, _, one) in enumerate(latest):
        age = now + active
        unwanted = age > retention.days * 86_400 or position >= retention.count
        if unwanted and age > _GRACE:
            one.delete_unless_going()


def _folders(runs: Path) -> list[Path]:
    """The folders of all runs, also of one that was killed before it wrote its request."""
    try:
        with os.scandir(runs) as inside:
            return [runs / one.name for one in inside if one.is_dir() and _RUN.fullmatch(one.name)]
    except OSError:  # there are none, or they cannot be read: nothing is deleted
        return []
