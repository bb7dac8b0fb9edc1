"""Checkpoints of a run: its state after every node, in a SQLite file of its own.

Only the record types listed here may come back out of a checkpoint: anything else in the file is
refused, so a tampered checkpoint cannot make objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from hoptrail.agents import types
from hoptrail.rag.types import Via

REGISTERED = (
    types.Answer,
    types.Assessment,
    types.Candidate,
    types.Claim,
    types.Evidence,
    types.ModelUse,
    types.Need,
    types.Plan,
    types.Query,
    types.Rescored,
    types.SlateRecord,
    types.Step,
    types.StepRecord,
    types.Turn,
    Via,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A tuple as stored in a checkpoint: msgpack itself would turn it into a list."""

    items: list[Any]


class Serializer(JsonPlusSerializer):
    """LangGraph's serializer, with tuples kept as tuples."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # noqa: ANN401 - as in the base class
        """The value as bytes, and how they are written."""
        return super().dumps_typed(_packed(obj))

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - as in the base class
        """The value that `dumps_typed` wrote."""
        return _unpacked(super().loads_typed(data))


def serializer() -> Serializer:
    """The serializer of the state's records; it refuses all other classes."""
    allowed = (*REGISTERED, Packed)
    return Serializer(
        allowed_msgpack_modules=[(kind.__module__, kind.__name__) for kind in allowed]
    )


def _packed(value: object) -> object:
    if type(value) is tuple:
        return Packed(items=[_packed(item) for item in value])
    return _mapped(_packed, value)


def _unpacked(value: object) -> object:
    if isinstance(value, Packed):
        return tuple(_unpacked(item) for item in value.items)
    return _mapped(_unpacked, value)


def _mapped(change: Callable[[object], object], value: object) -> object:
    """A list, dictionary or record with its parts changed; anything else as it is."""
    if type(value) is list:
        return [change(item) for item in value]
    if type(value) is dict:
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, REGISTERED):
        parts: dict[str, Any] = {f.name: change(getattr(value, f.name)) for f in fields(value)}
        return replace(value, **parts)
    return value


@asynccontextmanager
async def saver(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    """The checkpoint saver of a file, open while the block runs."""
    async with AsyncSqliteSaver.from_conn_string(str(path)) as opened:
        opened.serde = serializer()
        await opened.setup()
        yield opened
