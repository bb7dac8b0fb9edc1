"""Runs on disk: one folder each, beside the store but never under its writer's lock.

A folder holds `run.json` (what was asked, under which settings), `ledger.jsonl` and
`checkpoints.db`. It is deleted when the receipt is written, so what is left over is what crashed
or was interrupted, and `resume` takes it up.
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
    """Where one run keeps what it needs to be resumed."""

    path: Path

    @property
    def id(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def ledger(self) -> Path:
        """What was reserved and spent."""
        return self.path / "ledger.jsonl"

    @property
    def checkpoints(self) -> Path:
        """LangGraph's checkpoints."""
        return self.path / "checkpoints.db"

    def job(self) -> RunRequest:
        """What was asked.

        Raises:
            JournalError: the file is missing or broken.
        """
        try:
            return JOB.validate_json((self.path / "run.json").read_bytes())
        except (OSError, ValidationError, ValueError) as error:
            raise JournalError(
                f"the run {self.id!r} cannot be read: delete {str(self.path)!r} and ask again"
            ) from error

    def delete(self) -> None:
        """Removes the folder: the run has its receipt, or is not wanted any more."""
        shutil.rmtree(self.path, ignore_errors=True)


def begin(runs: Path, job: RunRequest) -> RunFolder:
    """A new run's folder, its job written down."""
    folder = RunFolder(path=runs / secrets.token_hex(5))
    with disk_errors(runs):
        folder.path.mkdir(parents=True)
        (folder.path / "run.json").write_bytes(JOB.dump_json(job, indent=1))
    return folder


def find(runs: Path, run: str) -> RunFolder:
    """The folder of a run that can be resumed.

    Raises:
        SettingsError: there is none; the message lists those there are.
    """
    folder = RunFolder(path=runs / run)
    if not _RUN.fullmatch(run) or not (folder.path / "run.json").is_file():
        left = ", ".join(sorted(f.id for f in unfinished_runs(runs))) or "none"
        raise SettingsError(f"no run {run!r} to resume; unfinished runs here: {left}")
    return folder


def unfinished_runs(runs: Path) -> tuple[RunFolder, ...]:
    """The runs that have no receipt yet."""
    found = sorted(runs.glob("*/run.json")) if runs.is_dir() else []
    return tuple(RunFolder(path=path.parent) for path in found)
