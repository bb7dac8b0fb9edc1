"""One run, from its request to its receipt: live, resumed or replayed."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from hoptrail.agents.budget.admission import Admission
from hoptrail.agents.budget.branches import Branch, within
from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.lexical_fallback import with_lexical_fallback
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Done, Listener
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.selection import PreparedRoles, local_roles, prepared_roles
from hoptrail.agents.runs.checkpoints import saver
from hoptrail.agents.runs.folder import RunFolder
from hoptrail.agents.runs.intercepted import InterceptedEndpoint, intercepted_corpus, pause
from hoptrail.agents.runs.interceptor import REPLY, Cancelled, ExternalCall, Interceptor
from hoptrail.agents.runs.models import OpenModels
from hoptrail.agents.runs.receipt import Environment, Receipt, package_versions
from hoptrail.agents.runs.recording import Recorder
from hoptrail.agents.runs.request import RunRequest
from hoptrail.agents.runs.waiting import admitted
from hoptrail.agents.strategies.graph import Paused, Strategy, ended_early, run_graph
from hoptrail.agents.types import StopReason
from hoptrail.rag.errors import HoptrailError, SettingsError
from hoptrail.rag.store.layout import disk_errors

ChooseRoles = Callable[[Roles], Roles]
"""Gets the roles that a run would have, and gives those that it has: your own in their place."""

PATIENCE, MOST_PATIENCE = 0.25, 30.0
"""The part of a run's seconds, and the most, within which a model server must say what it is, and
then answer its probe: else the local players stand in."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run before its graph: what is asked, of which corpus, through which interceptor."""

    request: RunRequest
    strategy: Strategy
    corpus: Corpus
    models: OpenModels
    interceptor: Interceptor
    delimiters: Delimiters
    choose_roles: ChooseRoles
    on_event: Listener
    folder: RunFolder | None = None
    """Of a run that is taken up."""
    make_folder: Callable[[], RunFolder] | None = None
    """Makes that of a new run, once it is admitted; None: it is not kept."""
    admission: Admission | None = None
    """None in a replay."""
    reply: object = None
    """What the run was waiting for; None: it was not paused."""
    pauses: bool = False
    """Whether this is the replay of a run that was paused."""


async def receipt_of(run: Run) -> Receipt:
    """Runs to the receipt, and delivers that before anything is cleaned up.

    A run that waits for its admission has nothing on the disk, and one that ends before its first
    node leaves nothing to resume.

    Raises:
        Paused: a node waits for a reply.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    places = run.admission.places(served=run.request.serves_any()) if run.admission else None
    seconds, is_new = run.request.budget.seconds, run.make_folder is not None
    with within(Branch()):
        async with admitted(places, run.interceptor, seconds, run.on_event) as stop:
            if stop is not None:
                run = replace(run, folder=None)
            elif run.make_folder is not None:
                run = replace(run, folder=run.make_folder())
            try:
                final = await _final_state(run, stop)
            except Paused:
                if run.folder is not None and isinstance(run.interceptor, Recorder):
                    run.folder.note_recording(run.interceptor.path)
                raise
            except HoptrailError:
                if run.folder is not None and is_new and not run.folder.checkpoints.exists():
                    run.folder.delete()
                raise
    return _delivered(run, Receipt.parse(final.receipt), began, started)


def _delivered(run: Run, receipt: Receipt, began: float, started: datetime) -> Receipt:
    """Ends the recording, tells the listener, and only then deletes the run's folder."""
    folder, recorder = run.folder, run.interceptor
    problems = []
    if isinstance(recorder, Recorder):
        problems += _unless(lambda: recorder.finish(receipt.json()), "The recording is unfinished")
    receipt = replace(
        receipt,
        environment=Environment(
            run=folder.id if folder else "",
            versions=package_versions(),
            machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            started=started.isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - began, 3),
            model_url=run.request.model,
            problems=tuple(problems),
        ),
    )
    problems += _unless(lambda: run.on_event(Done(receipt=receipt)), "on_event failed at the end")
    if folder is not None:
        folder.delete()
    return replace(receipt, environment=replace(receipt.environment, problems=tuple(problems)))


def _unless(work: Callable[[], None], failed: str) -> list[str]:
    """What went wrong in work that must not cost the answer; its traceback is logged."""
    try:
        work()
    except Exception as error:
        _LOG.exception("%s; the answer is not affected.", failed)
        return [f"{failed}: {error or type(error).__name__}"]
    return []


async def _final_state(run: Run, stop: StopReason | None) -> RunState:
    """The state after the last node; the ledger is open until then.

    Args:
        run: the run.
        stop: why it was not admitted; None: it was.
    """
    from langsmith import tracing_context  # noqa: PLC0415 (loaded when a run begins)

    interceptor, folder, spent = run.interceptor, run.folder, 0.0

    def clock() -> float:
        """Seconds of the run in this process: the ledger adds those of earlier ones itself."""
        return interceptor.seconds() - spent

    path, waited = folder.ledger if folder else None, clock()
    ledger = Ledger.open(path, run.request.budget, clock, waited=waited)
    spent = ledger.elapsed() - waited
    interceptor.begin(spent=spent, deadline=run.request.budget.seconds)
    try:
        with tracing_context(enabled=False), disk_errors(folder.path if folder else Path()):
            if stop is not None:
                context = await _context(run, ledger, ask_models=False)
                return await ended_early(run.request, context, stop)
            reply = run.reply
            if reply is not None:
                reply = await _reply(interceptor, reply)
            return await _until_over(run, ledger, reply)
    finally:
        ledger.close()


async def _until_over(run: Run, ledger: Ledger, reply: object) -> RunState:
    """Runs the graph; a replay also goes on after each pause, with the reply that was recorded."""
    context = await _context(run, ledger, ask_models=True)
    async with _checkpoints(run) as checkpointer:
        while True:
            try:
                return await run_graph(
                    run.strategy,
                    run.request,
                    context,
                    run=run.folder.id if run.folder else "",
                    checkpointer=checkpointer,
                    reply=reply,
                )
            except Paused:
                if run.folder is not None:
                    raise
                if not run.pauses:
                    raise SettingsError(
                        "A node waits for a reply, but runs are not kept here: open the store with "
                        "keep_runs=True."
                    ) from None
            reply = await _reply(run.interceptor, None)
            # As the process that went on made it.
            context = await _context(run, ledger, ask_models=True)


@asynccontextmanager
async def _checkpoints(run: Run) -> AsyncIterator[BaseCheckpointSaver[Any] | None]:
    """Where a run's checkpoints go: its folder; for a replay that pauses, the memory."""
    if run.folder is not None:
        async with saver(run.folder.checkpoints) as opened:
            yield opened
    elif run.pauses:
        yield InMemorySaver()
    else:
        yield None


async def _reply(interceptor: Interceptor, given: object) -> object:
    """The reply that a paused run goes on with, recorded or from the recording."""

    async def live() -> object:
        return given

    return await interceptor.call(
        ExternalCall(
            kind=REPLY, arguments=dict, live=live, encode=lambda one: one, decode=lambda one: one
        )
    )


async def _context(run: Run, ledger: Ledger, *, ask_models: bool) -> RunContext:
    """The context of a run: the corpus and the models behind the interceptor, roles, ledger.

    Without `ask_models`, as for a run that was not admitted, the local players have all roles.
    """
    intercepted = intercepted_corpus(run.corpus, run.interceptor)
    corpus = with_lexical_fallback(intercepted, ledger.seconds_left)
    local = local_roles(corpus, ledger.seconds_left, run.request.settings.mode)
    prepared = PreparedRoles(roles=local)
    if ask_models:
        with suppress(Cancelled):  # then the local players come to a stop at their first search
            prepared = await _prepared(run, ledger, local)
    return RunContext(
        question=run.request.question,
        strategy=run.strategy.name,
        model=prepared.model,
        flags=prepared.flags,
        corpus=corpus,
        roles=run.choose_roles(prepared.roles),
        ledger=ledger,
        settings=run.request.settings,
        emit=run.on_event,
    )


async def _prepared(run: Run, ledger: Ledger, local: Roles) -> PreparedRoles:
    """The roles as the run's models play them; the local ones where they do not."""
    patience = min(MOST_PATIENCE, run.request.budget.seconds * PATIENCE)
    servers = {
        name: RetryingEndpoint(
            InterceptedEndpoint(
                endpoint, run.interceptor, run.delimiters, server=name, patience=patience
            ),
            ledger,
            sleep=partial(pause, run.interceptor),
            timeout=run.request.settings.call_seconds,
            rng=Random(run.request.question),
        )
        for name, endpoint in run.models.endpoints.items()
    }
    return await prepared_roles(
        servers,
        run.models,
        run.delimiters,
        seconds=patience,
        fallback=local,
        settings=run.request.settings,
    )
