"""Checkpoints of a run: its state after every node, in a SQLite file of its own.

Only the record types listed here may come back out of a checkpoint: anything else in the file is
refused, so a tampered checkpoint cannot make objects.

A checkpoint is written after every node, so it must be cheap: records are packed as plain lists,
and the file is written in the loop's own thread (LangGraph's asynchronous saver changes threads
seven times a node) and without waiting for the disk, as the ledger's journal is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import ormsgpack
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Send

from hoptrail.agents import types
from hoptrail.rag.types import Via

REGISTERED = (
    types.Answer,
    types.Assessment,
    types.Binding,
    types.Candidate,
    types.Claim,
    types.Computation,
    types.Evidence,
    types.ModelUse,
    types.Need,
    types.Plan,
    types.Query,
    types.ReadPassage,
    types.Rescored,
    types.SlateRecord,
    types.Step,
    types.StepAnswer,
    types.StepRecord,
    types.TriplePattern,
    types.Turn,
    Via,
)
_BY_NAME = {kind.__name__: kind for kind in REGISTERED}
_FIELDS = {kind: tuple(one.name for one in fields(kind)) for kind in REGISTERED}
_NAME_AND_VALUES = {
    kind: attrgetter("__class__.__name__", *names) for kind, names in _FIELDS.items()
}
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_PACKED = "hoptrail"
"""The mark of what `Serializer` packed itself."""


class _Unknown(Exception):
    """A value that holds something other than plain values and registered records."""


class Serializer(JsonPlusSerializer):
    """The serializer of the state: plain values, tuples, registered records, `Send` with a state.

    What LangGraph itself stores beside these is left to its own serializer, which refuses every
    class of ours.
    """

    def __init__(self) -> None:
        super().__init__(allowed_msgpack_modules=[])

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # noqa: ANN401 - as in the base class
        """The value as bytes, and how they are written."""
        try:
            return _PACKED, ormsgpack.packb(_packed(obj))
        except (_Unknown, ormsgpack.MsgpackEncodeError):  # such as a lone surrogate
            return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - as in the base class
        """The value that `dumps_typed` wrote."""
        kind, packed = data
        return (
            _unpacked(ormsgpack.unpackb(packed)) if kind == _PACKED else super().loads_typed(data)
        )


def _packed(value: object) -> object:
    """A value as msgpack has it: containers as lists that begin with their kind."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in _FIELDS:
        return _each_packed(_NAME_AND_VALUES[kind](value))
    match value:
        case tuple() | list() if kind in (tuple, list):
            return [kind.__name__, *_each_packed(value)]
        case Send(node=node, arg=state) if is_dataclass(state):
            # A branch that has not begun: its state by field, for no class is made from a file.
            named = {one.name: getattr(state, one.name) for one in fields(state)}
            return ["Send", node, _packed(named)]
        case dict() if kind is dict:
            return ["dict", *zip(_each_packed(value), _each_packed(value.values()), strict=True)]
        case _:
            raise _Unknown


def _each_packed(values: Iterable[object]) -> list[object]:
    """The values packed; most are plain and cost no call."""
    return [one if type(one) in _PLAIN else _packed(one) for one in values]


def _unpacked(value: object) -> object:
    if not isinstance(value, list):
        return value
    kind, *items = value
    match kind:
        case "tuple":
            return tuple(map(_unpacked, items))
        case "list":
            return list(map(_unpacked, items))
        case "Send":
            return Send(items[0], _unpacked(items[1]))
        case "dict":
            return {_unpacked(key): _unpacked(item) for key, item in items}
        case _:
            record: Any = _BY_NAME[kind]
            return record(**dict(zip(_FIELDS[record], map(_unpacked, items), strict=True)))


class RunSaver(SqliteSaver):
    """LangGraph's SQLite saver for one run at a time, within its event loop."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The latest checkpoint."""
        return self.get_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Writes a checkpoint."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Writes what a node returned before its step is over."""
        self.put_writes(config, writes, task_id, task_path)


@asynccontextmanager
async def saver(path: Path) -> AsyncIterator[RunSaver]:
    """The checkpoint saver of a file, open while the block runs."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        opened = RunSaver(connection, serde=Serializer())
        opened.setup()
        yield opened
