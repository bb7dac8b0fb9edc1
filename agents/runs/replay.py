"""The replay of a recorded run: every external call is answered from the recording.

A call is looked up by its kind, node, branch and arguments; equal ones come back in the order in
which they were recorded.
"""

from __future__ import annotations

import difflib
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from hoptrail.agents.budget.branches import current_branch
from hoptrail.agents.llm.types import AttemptFailed
from hoptrail.agents.runs.interceptor import Cancelled, ExternalCall
from hoptrail.agents.runs.recording import Entry, Recording, RecordingError
from hoptrail.rag.errors import EmbedderError, ModelError

T = TypeVar("T")


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


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _key(kind: str, node: str, branch: tuple[int, ...], arguments: object) -> str:
    return f"{kind}\0{node}\0{branch}\0{_canonical(arguments)}"


def _difference(old: str, new: str) -> str:
    """The first difference of two texts, with some characters around it."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), -1)
    start = max(0, (min(len(old), len(new)) if start < 0 else start) - 30)
    return f"recorded …{old[start : start + 120]!r}, now …{new[start : start + 120]!r}"
