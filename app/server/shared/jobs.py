"""The jobs of a server: documents that wait to be stored, one after the other for each tenant."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import overloaded, shown_error
from hoptrail.app.server.shared.tenants import Tenants
from hoptrail.rag.types import Document

_REMEMBERED = 1_000
"""Finished jobs of a tenant whose state can be asked for."""

_AT_ONCE = 2
"""Jobs that store at one time, of all tenants: they take processor time and a thread each."""

JobState = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands: the documents it stores, and what came of it."""

    id: str
    document_ids: tuple[str, ...]
    state: JobState = "queued"
    generation: int | None = None
    """The store's generation that has the documents; None: it is not done."""
    error: str = ""


class Jobs:
    """Stores documents in the background. For one event loop.

    Args:
        tenants: where.
        store: what is done with a knowledge base and documents, in a thread; the generation.
        most: jobs of a tenant that wait at one time.
    """

    def __init__(
        self,
        tenants: Tenants,
        store: Callable[[KnowledgeBase, Sequence[Document]], int],
        most: int,
    ) -> None:
        self._tenants, self._store, self._most = tenants, store, most
        self._jobs: dict[str, OrderedDict[str, Job]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    def get(self, tenant: str, identifier: str) -> Job | None:
        """The state of a tenant's job; None: there is none."""
        known = self._jobs.get(tenant)
        return known.get(identifier) if known else None

    def add(self, tenant: str, documents: Sequence[Document]) -> Job:
        """Begins a job.

        Raises:
            ApiError: status 429, too many wait.
        """
        known = self._jobs.setdefault(tenant, OrderedDict())
        if sum(one.state in ("queued", "running") for one in known.values()) >= self._most:
            raise overloaded("As many documents wait to be stored as may: try again.")
        job = Job(id=f"j-{secrets.token_hex(8)}", document_ids=tuple(one.id for one in documents))
        known[job.id] = job
        while len(known) > _REMEMBERED + self._most:
            known.popitem(last=False)
        self._tasks[job.id] = asyncio.create_task(self._work(tenant, job, documents))
        return job

    async def finished(self, tenant: str, job: Job) -> Job:
        """The job at its end."""
        if job.id in self._tasks:
            await asyncio.wait({self._tasks[job.id]})
        return self._jobs[tenant][job.id]

    async def close(self) -> None:
        """Waits for every job."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def _work(self, tenant: str, job: Job, documents: Sequence[Document]) -> None:
        known = self._jobs[tenant]
        try:
            async with self._tenants.writing(tenant) as opened, self._places:
                known[job.id] = replace(job, state="running")
                generation = await asyncio.to_thread(self._store, opened, documents)
            known[job.id] = replace(job, state="done", generation=generation)
        except Exception as error:  # reported in the job: nobody waits for the task
            known[job.id] = replace(job, state="failed", error=shown_error(error).message)
        finally:
            del self._tasks[job.id]
