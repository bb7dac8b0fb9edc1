"""The folder of a run on disk: its request, budget ledger and checkpoints.

It lies beside the store, but is written without the store's writer lock. It holds `run.json` (the
request), `ledger.jsonl` and `state.db`. It is deleted when the receipt is written: a folder
that is left belongs to a run that crashed or was interrupted, and `resume` goes on with it.
"""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from hoptrail.agents.budget.journal import JournalError
from hoptrail.agents.runs.request import JOB, RunRequest
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.layout import disk_errors

_RUN = re.compile(r"[a-z0-9-]{1,40}")


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
        (self.path / "recording").write_text(str(path.resolve()), encoding="utf-8")

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

    def delete(self) -> None:
        """Deletes the folder and all its files."""
        shutil.rmtree(self.path, ignore_errors=True)


def begin(runs: Path, job: RunRequest) -> RunFolder:
    """Creates the folder of a new run, and writes its request."""
    folder = RunFolder(path=runs / secrets.token_hex(5))
    with disk_errors(runs):
        folder.path.mkdir(parents=True)
        (folder.path / "run.json").write_bytes(JOB.dump_json(job, indent=1))
    return folder


def find(runs: Path, run: str) -> RunFolder:
    """The folder of a run that can be resumed.

    Raises:
        SettingsError: there is none; the message lists the unfinished runs.
    """
    folder = RunFolder(path=runs / run)
    if not _RUN.fullmatch(run) or not (folder.path / "run.json").is_file():
        left = ", ".join(sorted(f.id for f in unfinished_runs(runs))) or "none"
        raise SettingsError(f"There is no run {run!r} to resume; unfinished runs here: {left}.")
    return folder


def unfinished_runs(runs: Path) -> tuple[RunFolder, ...]:
    """The runs that have no receipt yet."""
    found = sorted(runs.glob("*/run.json")) if runs.is_dir() else []
    return tuple(RunFolder(path=path.parent) for path in found)
