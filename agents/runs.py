"""Runs on disk: one folder each, beside the store but never under its writer's lock.

A folder holds `run.json` (what was asked, under which settings), `ledger.jsonl` and
`checkpoints.db`. It is deleted when the receipt is written, so what is left over is what crashed
or was interrupted, and `resume` takes it up.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hoptrail.agents.budget.journal import JournalError
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.context import Settings
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.catalogue.filters import facets
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.types import Scalar

_RUN = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is asked, and under which settings: all that a run and its replay start from."""

    question: str
    strategy: str = "pool"
    where: Mapping[str, Scalar] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    settings: Settings = field(default_factory=Settings)
    model: str = ""
    """The served model's address; empty: none, or one given as an open endpoint."""
    model_name: str | None = None
    """None: the first model that the server lists."""
    served: bool = False
    """Whether a model plays the roles."""
    recorded: bool = False
    """Whether it was recorded when it began; what a resume adds never is."""

    def __post_init__(self) -> None:
        """Refuses a question or a filter that nothing could be searched for."""
        if not self.question.strip():
            raise SettingsError("the question is empty: ask something")
        if any("\ud800" <= character <= "\udfff" for character in self.question):
            raise SettingsError("the question is no valid Unicode text: give it in UTF-8")
        facets(self.where)
        if len(self.question) > LONGEST_QUESTION:
            raise SettingsError(
                f"the question has {len(self.question):,} characters, at most "
                f"{LONGEST_QUESTION:,} are read: ask briefly, and ingest long texts as documents"
            )


LONGEST_QUESTION = 20_000
"""Characters; a longer text is a document, not a question."""

_JOB = TypeAdapter(Job)


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

    def job(self) -> Job:
        """What was asked.

        Raises:
            JournalError: the file is missing or broken.
        """
        try:
            return _JOB.validate_json((self.path / "run.json").read_bytes())
        except (OSError, ValidationError, ValueError) as error:
            raise JournalError(
                f"the run {self.id!r} cannot be read: delete {str(self.path)!r} and ask again"
            ) from error

    def delete(self) -> None:
        """Removes the folder: the run has its receipt, or is not wanted any more."""
        shutil.rmtree(self.path, ignore_errors=True)


def begin(runs: Path, job: Job) -> RunFolder:
    """A new run's folder, its job written down."""
    folder = RunFolder(path=runs / secrets.token_hex(5))
    with disk_errors(runs):
        folder.path.mkdir(parents=True)
        (folder.path / "run.json").write_bytes(_JOB.dump_json(job, indent=1))
    return folder


def find(runs: Path, run: str) -> RunFolder:
    """The folder of a run that can be resumed.

    Raises:
        SettingsError: there is none; the message lists those there are.
    """
    folder = RunFolder(path=runs / run)
    if not _RUN.fullmatch(run) or not (folder.path / "run.json").is_file():
        left = ", ".join(sorted(f.id for f in unfinished(runs))) or "none"
        raise SettingsError(f"no run {run!r} to resume; unfinished runs here: {left}")
    return folder


def unfinished(runs: Path) -> tuple[RunFolder, ...]:
    """The runs that have no receipt yet."""
    found = sorted(runs.glob("*/run.json")) if runs.is_dir() else []
    return tuple(RunFolder(path=path.parent) for path in found)


def job_json(job: Job) -> dict[str, object]:
    """A job as JSON, for a recording's header."""
    record: dict[str, object] = json.loads(_JOB.dump_json(job))
    return record


def job_of(record: Mapping[str, object]) -> Job:
    """The job that `job_json` wrote."""
    return _JOB.validate_python(record)
