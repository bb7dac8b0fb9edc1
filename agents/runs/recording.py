"""The recording of a run: its external calls and their results, in one JSONL file.

Its lines are a header (question and settings), texts (each stored once, by the hash of its
content), calls (node, branch, arguments, result or failure, time) and at the end the receipt. A
replay runs the same nodes and replaces only the calls; a call that was not recorded is an error
that names the node and the difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from hoptrail.agents.budget.branches import Branch, current_branch
from hoptrail.agents.budget.journal import Journal
from hoptrail.agents.llm.types import AttemptFailed
from hoptrail.agents.runs.interceptor import REPLY, Cancelled, ExternalCall, LiveInterceptor
from hoptrail.agents.runs.request import RunRequest, job_of
from hoptrail.rag.errors import EmbedderError, HoptrailError, ModelError, StoreFull
from hoptrail.rag.store.layout import is_device

T = TypeVar("T")

FORMAT = 2
LONG = 80
"""Characters from which a text is stored once and referred to by its hash."""
_REFERENCE = "$text"


class RecordingError(HoptrailError):
    """A recording cannot be written or read, or lacks a call that a replay makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recorded call."""

    kind: str
    node: str
    branch: tuple[int, ...]
    """The path of the branch it was made in; (): of the trunk."""
    arguments: Any
    at: float
    """Seconds of the run, by the clock of its branch."""
    result: Any = None
    error: Mapping[str, Any] | None = None


class Recorder:
    """An interceptor that makes every call live and records it.

    The file gets its own name when `finish` is called: a partial recording never looks like a
    complete one.

    Args:
        live: makes the calls.
        path: the recording's file.
        header: what was asked, as JSON; None: the recording of a run that was paused goes on.
    """

    def __init__(self, live: LiveInterceptor, path: Path, header: Mapping[str, Any] | None) -> None:
        if path.is_dir() or not path.parent.is_dir() or is_device(path):
            raise RecordingError(
                f"Cannot record to {str(path)!r}: its folder does not exist, or it is a folder "
                "itself, a device or a pipe."
            )
        self._live = live
        self.path = path
        """The file that the recording gets when it is finished."""
        self._part = path.with_name(path.name + ".part")
        self._journal = Journal(self._part, fresh=header is not None)
        self._stored = {line["text"] for line in self._journal.lines if "text" in line}
        self._full = False
        if header is not None:
            try:
                self._append({"format": FORMAT, "header": self._shorten(dict(header))})
            except BaseException:
                self.abandon()
                raise

    def begin(self, *, spent: float, deadline: float) -> None:
        """Sets the run's clock."""
        self._live.begin(spent=spent, deadline=deadline)

    def seconds(self) -> float:
        """The clock of the current branch."""
        return self._live.seconds()

    async def call(self, call: ExternalCall[T]) -> T:
        """The result of the live call, which is recorded."""
        branch = current_branch()
        try:
            result = await self._live.call(call)
        except (AttemptFailed, TimeoutError, Cancelled, ModelError, EmbedderError) as error:
            self._write(call, branch, {"error": describe(error)})
            raise
        self._write(call, branch, {"result": call.encode(result)})
        return result

    def finish(self, receipt: str) -> None:
        """Ends the recording with the run's receipt (JSON) and gives the file its name."""
        self._append({"receipt": json.loads(receipt)})
        self._journal.sync()
        self.abandon()
        self._part.replace(self.path)

    def abandon(self) -> None:
        """Closes the file of a run that did not end.

        It keeps its `.part` name, unless the disk was full: then it is removed.
        """
        self._journal.close()
        if self._full:
            self._part.unlink(missing_ok=True)
        self._part.with_name(self._part.name + ".lock").unlink(missing_ok=True)

    def _write(
        self, call: ExternalCall[Any], branch: Branch, outcome: Mapping[str, object]
    ) -> None:
        line = {
            "call": call.kind,
            "node": branch.node,
            "branch": list(branch.path),
            "at": branch.seconds,
            "arguments": self._shorten(call.arguments()),
            **{key: self._shorten(value) for key, value in outcome.items()},
        }
        self._append(line)

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            self._journal.append(line)
        except StoreFull:
            self._full = True
            raise

    def _shorten(self, value: object) -> object:
        """The value with long texts stored apart, each once."""
        match value:
            case str() if len(value) >= LONG:
                digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
                if digest not in self._stored:
                    self._stored.add(digest)
                    self._append({"text": digest, "value": value})
                return {_REFERENCE: digest}
            case Mapping():
                return {key: self._shorten(item) for key, item in value.items()}
            case list() | tuple():
                return [self._shorten(item) for item in value]
            case _:
                return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording: its header, calls and receipt."""

    header: Mapping[str, Any]
    entries: tuple[Entry, ...]
    receipt: Mapping[str, Any]

    @property
    def pauses(self) -> bool:
        """Whether the run waited for replies from outside."""
        return any(entry.kind == REPLY for entry in self.entries)

    def job(self) -> RunRequest:
        """The recorded request: question and settings.

        Raises:
            RecordingError: the header cannot be read.
        """
        try:
            return job_of(self.header["job"])
        except (KeyError, ValidationError) as error:
            raise RecordingError("The recording's header cannot be read: record again.") from error

    @classmethod
    def read(cls, path: Path) -> Recording:
        """The recording in a file.

        Raises:
            RecordingError: the file is missing, broken, unfinished or of another format.
        """
        texts: dict[str, str] = {}
        header: dict[str, Any] | None = None
        receipt: dict[str, Any] | None = None
        entries: list[Entry] = []
        for number, line in _lines(path):
            try:
                if "text" in line:
                    texts[line["text"]] = line["value"]
                elif "header" in line:
                    _check_format(path, line)
                    header = _expand(line["header"], texts)
                elif "receipt" in line:
                    receipt = line["receipt"]
                else:
                    entries.append(_entry(line, texts))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise RecordingError(
                    f"Line {number} of {str(path)!r} is no line of a recording: record again."
                ) from error
        if not isinstance(header, dict) or not isinstance(receipt, dict):
            raise RecordingError(f"File {str(path)!r} is unfinished or no recording: record again.")
        return cls(header=header, entries=tuple(entries), receipt=receipt)


def describe(error: Exception) -> dict[str, Any]:
    """An exception as JSON."""
    match error:
        case AttemptFailed():
            return {
                "type": "AttemptFailed",
                "kind": error.kind,
                "detail": error.detail,
                "retryable": error.retryable,
                "retry_after": error.retry_after,
                "spent": error.spent,
            }
        case _:
            return {"type": type(error).__name__, "detail": str(error)}


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, raw in enumerate(file, start=1):
                line = json.loads(raw)
                if not isinstance(line, dict):
                    raise ValueError("no object")
                yield number, line
    except OSError as error:
        raise RecordingError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RecordingError(
            f"File {str(path)!r} is no recording, or a broken one ({error}): record again."
        ) from error


def _check_format(path: Path, line: Mapping[str, Any]) -> None:
    if line["format"] != FORMAT:
        raise RecordingError(
            f"File {str(path)!r} has recording format {line['format']!r}, this version reads "
            f"{FORMAT}: record again."
        )


def _entry(line: Mapping[str, Any], texts: Mapping[str, str]) -> Entry:
    return Entry(
        kind=line["call"],
        node=line["node"],
        branch=tuple(line["branch"]),
        at=float(line["at"]),
        arguments=_expand(line["arguments"], texts),
        result=_expand(line.get("result"), texts),
        error=_expand(line["error"], texts) if "error" in line else None,
    )


def _expand(value: Any, texts: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case {"$text": digest}:
            return texts[digest]
        case dict():
            return {key: _expand(item, texts) for key, item in value.items()}
        case list():
            return [_expand(item, texts) for item in value]
        case _:
            return value
