"""Checkpoints of a run: after every node, in a file of the run's own.

Only the record types listed here may come back out of a checkpoint: anything else in the file is
refused, so a tampered checkpoint cannot make objects.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

# Read by LangGraph when it is imported: no type but the registered ones is ever revived.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from hoptrail.agents import types

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
    types.StepRecord,
)


def serializer() -> JsonPlusSerializer:
    """Writes and reads the records of the state, and refuses all other classes."""
    return JsonPlusSerializer(
        allowed_msgpack_modules=[(kind.__module__, kind.__name__) for kind in REGISTERED]
    )


@asynccontextmanager
async def saver(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    """The checkpoints in a file, open while the block runs."""
    async with AsyncSqliteSaver.from_conn_string(str(path)) as opened:
        opened.serde = serializer()
        await opened.setup()
        yield opened
