"""The branches of a run: parallel work, each part of it with a path and a time of its own.

What a branch sees of the clock and what a recording files its calls under must not depend on how
fast its siblings are: a branch begins at the time of the work that it branched off, and where
branches join, the latest of their times goes on. So a replay, in which nothing takes time, comes
to the same times and finds each call in its own branch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Branch:
    """One branch of a run, or its trunk."""

    node: str = "start"
    """The graph's node that it belongs to; what a recording files its calls under."""
    path: tuple[int, ...] = ()
    """Its number among its siblings, after those of the branches it lies in; (): the trunk."""
    seconds: float = 0.0
    """Seconds of the run at which the last call in it came back."""
    embedder_failure: str = ""
    """Why the embedder failed in it or before it; empty: it did not."""

    def advance(self, seconds: float) -> None:
        """Moves its time on; it never goes back."""
        self.seconds = max(self.seconds, seconds)

    def join(self, branch: Branch) -> None:
        """Goes on with what a branch of it has come to know."""
        self.advance(branch.seconds)
        self.embedder_failure = self.embedder_failure or branch.embedder_failure


_current: ContextVar[Branch] = ContextVar("current_branch")


def current_branch() -> Branch:
    """The branch of the task that asks; outside of every run, a trunk of its own."""
    try:
        return _current.get()
    except LookupError:
        branch = Branch()
        _current.set(branch)
        return branch


@contextmanager
def within(branch: Branch) -> Iterator[Branch]:
    """Makes a branch the current one while the block runs."""
    token = _current.set(branch)
    try:
        yield branch
    finally:
        _current.reset(token)


async def gather_or_cancel(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of parallel tasks, in order, each in a branch; if one fails, all are ended."""
    parent = current_branch()
    branches = []
    tasks = []
    for number, one in enumerate(work):
        path = (*parent.path, number)
        branch = Branch(parent.node, path, parent.seconds, parent.embedder_failure)
        branches.append(branch)
        tasks.append(asyncio.ensure_future(_in_branch(branch, one)))
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for branch in branches:
            parent.join(branch)


async def _in_branch(branch: Branch, work: Coroutine[Any, Any, T]) -> T:
    with within(branch):
        return await work
