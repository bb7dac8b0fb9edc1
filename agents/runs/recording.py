"""Record and replay: the external calls of a run and their results, in one JSONL file.

Its lines are a header (question and settings), texts (each stored once, by the hash of its
content), calls (node, branch, arguments, result or failure, time) and at the end the receipt. A
replay runs the same nodes and replaces only the calls; a call that was not recorded is an error
that names the node and the difference.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from hoptrail.agents.budget.branches import Branch, current_branch
from hoptrail.agents.budget.journal import Journal
from hoptrail.agents.llm.types import AttemptFailed
from hoptrail.agents.runs.interceptor import REPLY, Cancelled, ExternalCall, LiveInterceptor
from hoptrail.agents.runs.request import RunRequest, job_of
from hoptrail.rag.errors import EmbedderError, HoptrailError, ModelError

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
        if path.is_dir() or not path.parent.is_dir():
            raise RecordingError(
                f"Cannot record to {str(path)!r}: its folder does not exist, or it is a folder "
                "itself."
            )
        self._live = live
        self.path = path
        """The file that the recording gets when it is finished."""
        self._part = path.with_name(path.name + ".part")
        self._journal = Journal(self._part, fresh=header is not None)
        self._stored = {line["text"] for line in self._journal.lines if "text" in line}
        if header is not None:
            self._journal.append({"format": FORMAT, "header": self._shorten(dict(header))})

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
        self._journal.append({"receipt": json.loads(receipt)})
        self.abandon()
        self._part.replace(self.path)

    def abandon(self) -> None:
        """Closes the file of a run that did not end; it keeps its `.part` name."""
        self._journal.close()
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
        self._journal.append(line)

    def _shorten(self, value: object) -> object:
        """The value with long texts stored apart, each once."""
        match value:
            case str() if len(value) >= LONG:
                digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
                if digest not in self._stored:
                    self._stored.add(digest)
                    self._journal.append({"text": digest, "value": value})
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
            except (KeyError, TypeError, ValueError) as error:
                raise RecordingError(
                    f"Line {number} of {str(path)!r} is no line of a recording: record again."
                ) from error
        if not isinstance(header, dict) or not isinstance(receipt, dict):
            raise RecordingError(f"File {str(path)!r} is unfinished or no recording: record again.")
        return cls(header=header, entries=tuple(entries), receipt=receipt)


class Replayer:
    """An interceptor that answers every call from a recording."""

    def __init__(self, recording: Recording) -> None:
        self._all = recording.entries
        self._left: dict[str, deque[Entry]] = defaultdict(deque)
        for entry in recording.entries:
            self._left[_key(entry.kind, entry.node, entry.branch, entry.arguments)].append(entry)

    def begin(self, *, spent: float, deadline: float) -> None:
        """Does nothing: the clock is the recorded one."""

    def seconds(self) -> float:
        """The clock of the current branch, as recorded."""
        return current_branch().seconds

    async def call(self, call: ExternalCall[T]) -> T:
        """The recorded result or failure of the same call at the same node and branch.

        Raises:
            RecordingError: the recording holds no such call (any more).
        """
        branch, node = current_branch(), current_branch().node
        arguments = json.loads(json.dumps(call.arguments()))
        waiting = self._left.get(_key(call.kind, node, branch.path, arguments))
        if not waiting:
            raise RecordingError(self._miss(call.kind, node, arguments))
        entry = waiting.popleft()
        branch.advance(entry.at)
        try:
            failure = revive(entry.error) if entry.error is not None else None
            result = call.decode(entry.result) if failure is None else None
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(
                f"What the recording holds for {call.kind} at node {node!r} cannot be read "
                f"({error}): record again."
            ) from error
        if failure is not None:
            raise failure
        return cast(T, result)

    def _miss(self, kind: str, node: str, arguments: object) -> str:
        """The message for a call that was not recorded, with the difference to the nearest one."""
        asked = _canonical(arguments)
        there = [e for e in self._all if e.kind == kind and e.node == node]
        if not there:
            return (
                f"The recording has no {kind} at node {node!r}, which asked for {asked[:300]}: "
                "record again."
            )
        recorded = [_canonical(e.arguments) for e in there]
        nearest = max(
            recorded, key=lambda text: difflib.SequenceMatcher(None, text, asked).quick_ratio()
        )
        if nearest == asked:
            return (
                f"Node {node!r} made the same {kind} more often than was recorded, for "
                f"{asked[:300]}: record again."
            )
        return (
            f"Node {node!r} asked {kind} for what was not recorded: "
            f"{_difference(nearest, asked)}. Record again."
        )


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


def revive(described: Mapping[str, Any]) -> Exception:
    """The exception that `describe` wrote as JSON."""
    fields = dict(described)
    match fields.pop("type"):
        case "AttemptFailed":
            return AttemptFailed(fields.pop("kind"), fields.pop("detail"), **fields)
        case "Cancelled":
            return Cancelled()
        case "ModelError":
            return ModelError(fields["detail"])
        case "EmbedderError":
            return EmbedderError(fields["detail"])
        case _:
            return TimeoutError(fields["detail"])


def difference(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first place at which two receipts differ, `environment` aside; empty where equal."""
    for key in sorted((recorded.keys() | now.keys()) - {"environment"}):
        if recorded.get(key) != now.get(key):
            return f"{key}: " + _difference(_canonical(recorded.get(key)), _canonical(now.get(key)))
    return ""


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
    except ValueError as error:
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


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _key(kind: str, node: str, branch: tuple[int, ...], arguments: object) -> str:
    return f"{kind}\0{node}\0{branch}\0{_canonical(arguments)}"


def _difference(old: str, new: str) -> str:
    """The first difference of two texts, with some characters around it."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), -1)
    start = max(0, (min(len(old), len(new)) if start < 0 else start) - 30)
    return f"recorded …{old[start : start + 120]!r}, now …{new[start : start + 120]!r}"
