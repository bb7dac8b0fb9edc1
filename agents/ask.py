"""One question from beginning to end: the doors that scripts, servers and the command line use.

`aask` is the thing itself. `ask` runs it for those who have no event loop (through a thread of its
own where one is running already), `resume` takes up a run that crashed, `replay` runs one again
from its recording with no model, no store and no embedder.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import time
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.corpus.knowledge_base import KnowledgeBase, open_library
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Done, Listener, ignore
from hoptrail.agents.graph import compile_graph, recursion_limit
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.receipt import Environment, Receipt
from hoptrail.agents.roles.selection import local_roles, served_roles
from hoptrail.agents.runs import folder as runs
from hoptrail.agents.runs.checkpoints import saver
from hoptrail.agents.runs.folder import RunFolder
from hoptrail.agents.runs.intercepted import (
    InterceptedCorpus,
    InterceptedEndpoint,
    NotInReplay,
    pause,
)
from hoptrail.agents.runs.interceptor import Cancelled, Interceptor, LiveInterceptor
from hoptrail.agents.runs.recording import Recorder, Recording, Replayer, difference
from hoptrail.agents.runs.request import RunRequest, RunSettings, job_json
from hoptrail.agents.strategies.registry import strategy as strategy_named
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import HoptrailError, ModelError, SettingsError
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.types import Where

T = TypeVar("T")

_PACKAGES = ("hoptrail", "langgraph", "tantivy", "numpy", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay gave."""

    receipt: Receipt
    same: bool
    """Is it the recorded receipt, `environment` aside?"""
    difference: str
    """Where the two first differ; empty where they do not."""


async def aask(  # noqa: PLR0913 - every option of a question, by name, is its interface
    question: str,
    store: KnowledgeBase | Path | str,
    *,
    tenant: str = "default",
    embedder: Embedder | None = None,
    strategy: str = "pool",
    model: ServedModel | Endpoint | None = None,
    budget: Budget | None = None,
    settings: RunSettings | None = None,
    where: Where | None = None,
    on_event: Listener = ignore,
    record: Path | None = None,
    cancel: asyncio.Event | None = None,
) -> Receipt:
    """Answers a question from a store, within a budget, and returns the receipt.

    Args:
        question: at most 20,000 characters.
        store: a store's folder, or a `Library` that many questions share.
        tenant: whose documents; ignored for a `Library`, which has one.
        embedder: None: the one that the store names.
        strategy: a name in `STRATEGIES`.
        model: None: the local players, which answer in the documents' own words.
        budget: limits on calls, tokens, searches and seconds.
        settings: how far and how wide the search goes.
        where: equality filter on the documents' metadata.
        on_event: called with each event, in this loop, in order.
        record: a file to write the recording to.
        cancel: set it to stop with the best answer so far.

    Raises:
        SettingsError: a wrong question, strategy, budget or filter.
        StoreError: the store cannot be opened.
        ModelError: the model server cannot be used at all.
    """
    strategy_named(strategy)
    job = RunRequest(
        question=question,
        strategy=strategy,
        where=dict(where or {}),
        budget=budget or Budget(),
        settings=settings or RunSettings(),
        recorded=record is not None,
        **_described(model),
    )
    async with AsyncExitStack() as stack:
        library = await _library(stack, store, tenant, embedder)
        job = replace(job, settings=job.settings.resolved(library.mode, served=job.served))
        endpoint = await open_endpoint(stack, model, library.secret)
        live = LiveInterceptor(cancel)
        tape: Interceptor = live
        if record is not None:
            tape = Recorder(live, record, {"job": job_json(job)})
            stack.callback(tape.abandon)
        folder = runs.begin(library.runs, job) if library.runs is not None else None
        try:
            receipt = await _run(
                job, library.corpus, endpoint, tape, folder, on_event, Delimiters.of(library.secret)
            )
        except HoptrailError:
            if folder is not None and not folder.checkpoints.exists():
                folder.delete()  # it ended before its first node: there is nothing to resume
            raise
        if isinstance(tape, Recorder):
            tape.finish(receipt.json())
        return receipt


async def aresume(
    run: str,
    store: KnowledgeBase | Path | str,
    *,
    tenant: str = "default",
    embedder: Embedder | None = None,
    model: ServedModel | Endpoint | None = None,
    on_event: Listener = ignore,
    cancel: asyncio.Event | None = None,
) -> Receipt:
    """Takes up a run that crashed or was interrupted, from its last checkpoint.

    What it had reserved and not settled counts as spent. A run that had a served model goes on
    with the same address; give `model` where that needs a key or has moved. It is not recorded: a
    recording that broke off stays in its `.part` file and cannot be replayed.

    Raises:
        SettingsError: there is no such run.
    """
    async with AsyncExitStack() as stack:
        library = await _library(stack, store, tenant, embedder)
        folder = runs.find(library.runs or Path(), run)
        job = folder.job()
        if model is None and job.served:
            if not job.model:
                raise SettingsError(f"the run {run!r} had a model given as an endpoint: give it")
            model = ServedModel(url=job.model, name=job.model_name)
        endpoint = await open_endpoint(stack, model, library.secret)
        fence = Delimiters.of(library.secret)
        return await _run(
            job, library.corpus, endpoint, LiveInterceptor(cancel), folder, on_event, fence
        )


async def areplay(path: Path, *, on_event: Listener = ignore) -> ReplayResult:
    """Runs a recording again: the same nodes, only the recorded things replaced.

    Raises:
        RecordingError: it cannot be read, or the code now asks for what was not recorded.
    """
    recording = await asyncio.to_thread(Recording.read, path)
    job = recording.job()
    endpoint = cast(Endpoint, NotInReplay()) if job.served else None
    receipt = await _run(
        job,
        cast(Corpus, NotInReplay()),
        endpoint,
        Replayer(recording),
        None,
        on_event,
        # Another word than the recorded run's: a recording must not depend on it.
        Delimiters.of(secrets.token_bytes(16)),
    )
    differs = difference(recording.receipt, receipt.record())
    return ReplayResult(receipt=receipt, same=not differs, difference=differs)


def ask(question: str, store: KnowledgeBase | Path | str, **options: Any) -> Receipt:  # noqa: ANN401
    """`aask` for callers without an event loop, and for those inside one that cannot await."""
    return run_sync(aask(question, store, **options))


def resume(run: str, store: KnowledgeBase | Path | str, **options: Any) -> Receipt:  # noqa: ANN401
    """`aresume` for callers without an event loop."""
    return run_sync(aresume(run, store, **options))


def replay(path: Path, **options: Any) -> ReplayResult:  # noqa: ANN401
    """`areplay` for callers without an event loop."""
    return run_sync(areplay(path, **options))


async def _run(
    job: RunRequest,
    corpus: Corpus,
    endpoint: Endpoint | None,
    tape: Interceptor,
    folder: RunFolder | None,
    on_event: Listener,
    fence: Delimiters,
) -> Receipt:
    """Runs the graph to its receipt; the run's folder goes when the receipt is there."""
    from langsmith import tracing_context  # noqa: PLC0415 (loaded when a run begins)

    began, started = time.monotonic(), datetime.now(UTC)
    ledger = Ledger.open(folder.ledger if folder else None, job.budget, tape.seconds)
    taped = InterceptedCorpus(corpus, tape)
    try:
        with tracing_context(enabled=False):
            run = await _prepared(job, taped, endpoint, tape, ledger, on_event, fence)
            with disk_errors(folder.path if folder else Path()):
                final = await _through_graph(job, run, folder)
    finally:
        ledger.close()
    receipt = replace(
        Receipt.parse(final.receipt),
        environment=Environment(
            run=folder.id if folder else "",
            versions={name: version(name) for name in _PACKAGES},
            machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            started=started.isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - began, 3),
            model_url=job.model,
        ),
    )
    if folder is not None:
        folder.delete()
    on_event(Done(receipt=receipt))
    return receipt


async def _prepared(
    job: RunRequest,
    corpus: InterceptedCorpus,
    endpoint: Endpoint | None,
    tape: Interceptor,
    ledger: Ledger,
    on_event: Listener,
    fence: Delimiters,
) -> RunContext:
    """The context of a run: with a model the served players, which fall back on the local ones."""
    roles, model = local_roles(corpus, ledger.seconds_left, job.settings.mode), ""
    if endpoint is not None:
        exchange = RetryingEndpoint(
            InterceptedEndpoint(endpoint, tape, fence),
            ledger,
            sleep=partial(pause, tape),
            rng=Random(job.question),
        )
        asker = LLMClient(exchange)
        with suppress(Cancelled):  # then the local players come to a stop at their first search
            model = (await _within_budget(asker.prepare(), ledger)).model
            roles = served_roles(asker, fence, roles)
    return RunContext(
        strategy=job.strategy,
        model=model,
        corpus=corpus,
        roles=roles,
        ledger=ledger,
        settings=job.settings,
        emit=on_event,
    )


async def _within_budget(work: Awaitable[T], ledger: Ledger) -> T:
    """What a server says of itself, unless the whole budget's seconds pass first."""
    try:
        return await asyncio.wait_for(work, ledger.seconds_left())
    except TimeoutError as error:
        raise ModelError(
            f"the model server said nothing of itself within {ledger.budget.seconds:g} s: look at "
            "its log, give the run more seconds, or ask without a model"
        ) from error


async def _through_graph(job: RunRequest, run: RunContext, folder: RunFolder | None) -> RunState:
    """The last state of the graph, begun anew or from the run's last checkpoint."""
    async with AsyncExitStack() as stack:
        checkpointer = (
            await stack.enter_async_context(saver(folder.checkpoints)) if folder else None
        )
        graph = compile_graph(
            strategy_named(job.strategy), seconds=job.budget.seconds, checkpointer=checkpointer
        )
        config: Any = {
            "configurable": {"thread_id": folder.id if folder else "run"},
            "recursion_limit": recursion_limit(job.settings),
        }
        state: RunState | None = None
        if checkpointer is None or await checkpointer.aget_tuple(config) is None:
            state = RunState(
                question=job.question,
                where=tuple(sorted(job.where.items())),
                generation=await run.corpus.generation(),
            )
        durability: Any = {"durability": "sync"} if folder else {}
        values = await graph.ainvoke(state, config, context=run, **durability)
        return RunState(**values)


def _described(model: ServedModel | Endpoint | None) -> dict[str, Any]:
    """What a job remembers of its model: everything but the key."""
    if isinstance(model, ServedModel):
        return {"model": model.url, "model_name": model.name, "served": True}
    return {"served": model is not None}


async def _library(
    stack: AsyncExitStack, store: KnowledgeBase | Path | str, tenant: str, embedder: Embedder | None
) -> KnowledgeBase:
    if isinstance(store, KnowledgeBase):
        return store
    library = await asyncio.to_thread(open_library, Path(store), tenant=tenant, embedder=embedder)
    stack.callback(library.close)
    return library


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end from synchronous code, in a loop or out of one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return _in_a_thread(coroutine)
    return asyncio.run(coroutine)


def _in_a_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it in a loop of its own beside the caller's; Ctrl-C here cancels it there."""
    with ThreadPoolExecutor(1, thread_name_prefix="hoptrail-portal") as thread:
        loop = thread.submit(asyncio.new_event_loop).result()
        task = thread.submit(loop.create_task, coroutine).result()
        try:
            return thread.submit(loop.run_until_complete, task).result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            thread.submit(loop.close)
