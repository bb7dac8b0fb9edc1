"""Ask, resume and replay: one question from beginning to end.

`aask` answers a question; `aresume` goes on with a run that crashed, `areplay` runs one again from
its recording with no model, no store and no embedder. `ask`, `resume` and `replay` are the same
for callers that cannot await.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

from hoptrail.agents.budget.admission import Admission
from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.corpus.lexical_fallback import with_lexical_fallback
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Done, Listener, ignore
from hoptrail.agents.graph import Strategy, ended_early, run_graph
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.served_model import ServedModel, open_endpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.nodes.state import RunContext
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.selection import local_roles, prepared_roles
from hoptrail.agents.runs import folder as runs
from hoptrail.agents.runs.folder import RunFolder
from hoptrail.agents.runs.intercepted import (
    InterceptedEndpoint,
    NotInReplay,
    intercepted_corpus,
    pause,
)
from hoptrail.agents.runs.interceptor import Cancelled, Interceptor, LiveInterceptor
from hoptrail.agents.runs.receipt import Environment, Receipt, package_versions
from hoptrail.agents.runs.recording import Recorder, Recording, Replayer, difference
from hoptrail.agents.runs.request import RunRequest, RunSettings, job_json
from hoptrail.agents.runs.synchronous import synchronous
from hoptrail.agents.runs.waiting import admitted
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.agents.strategies.registry import strategy as strategy_named
from hoptrail.agents.types import StopReason
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import HoptrailError, SettingsError
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.types import Where

ChooseRoles = Callable[[Roles], Roles]
"""Gets the roles that a run would have, and gives those that it has: your own in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """The receipt of a replay, and whether it is the recorded one."""

    receipt: Receipt
    same: bool
    """Is it the recorded receipt, `environment` aside?"""
    difference: str
    """Where the two first differ; empty where they do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run before its graph: what is asked, of which corpus, through which interceptor."""

    request: RunRequest
    strategy: Strategy
    corpus: Corpus
    endpoint: Endpoint | None
    interceptor: Interceptor
    delimiters: Delimiters
    folder: RunFolder | None
    choose_roles: ChooseRoles
    on_event: Listener
    runs: Path | None = None
    """Where the folder of a new run is made, once it is admitted."""
    admission: Admission | None = None
    """None in a replay."""
    began: float = field(default_factory=time.monotonic)


async def aask(  # noqa: PLR0913 - every option of a question, by name, is its interface
    question: str,
    store: OpenStore | Path | str,
    *,
    tenant: str = "default",
    embedder: str | Embedder | None = None,
    strategy: str | Strategy = "pool",
    model: ServedModel | Endpoint | None = None,
    budget: Budget | None = None,
    settings: RunSettings | None = None,
    roles: ChooseRoles | None = None,
    where: Where | None = None,
    on_event: Listener = ignore,
    record: Path | None = None,
    cancel: asyncio.Event | None = None,
) -> Receipt:
    """Answers a question from a store, within a budget, and returns the receipt.

    Args:
        question: at most 20,000 characters.
        store: a store's folder, or a `KnowledgeBase` that many questions share.
        tenant: whose documents; ignored for a `KnowledgeBase`, which has one.
        embedder: one, or its name; None: the one that the store records.
        strategy: a name in `STRATEGIES`, or a `Strategy` of your own.
        model: None: the local players, which answer in the documents' own words.
        budget: limits on calls, tokens, searches and seconds.
        settings: how far and how wide the search goes.
        roles: puts roles of your own in the place of the run's:
            `lambda roles: dataclasses.replace(roles, planner=MyPlanner())`.
        where: equality filter on the documents' metadata.
        on_event: called with each event, in this loop, in order.
        record: a file to write the recording to.
        cancel: set it to stop with the best answer so far.

    Raises:
        SettingsError: a wrong question, strategy, budget or filter.
        StoreError: the store cannot be opened.
        ModelError: the model server cannot be used at all.
    """
    chosen = strategy if isinstance(strategy, Strategy) else strategy_named(strategy)
    request = RunRequest(
        question=question,
        strategy=chosen.name,
        where=dict(where or {}),
        budget=budget or Budget(),
        settings=settings or RunSettings(),
        recorded=record is not None,
        **_described(model),
    )
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, store, tenant, embedder)
        settled = request.settings.resolved(opened.mode, served=request.served)
        request = replace(request, settings=settled)
        endpoint = await open_endpoint(stack, model, opened.secret)
        live, recorder = LiveInterceptor(cancel), None
        if record is not None:
            recorder = Recorder(live, record, {"job": job_json(request)})
            stack.callback(recorder.abandon)
        run = _Run(
            request=request,
            strategy=chosen,
            corpus=opened.corpus,
            endpoint=endpoint,
            interceptor=recorder or live,
            delimiters=Delimiters.of(opened.secret),
            folder=None,
            choose_roles=roles or _unchanged,
            on_event=on_event,
            runs=opened.runs,
            admission=opened.admission,
        )
        receipt = await _receipt_of(run)
        if recorder is not None:
            recorder.finish(receipt.json())
        return receipt


async def aresume(  # noqa: PLR0913 - as `aask`
    run: str,
    store: OpenStore | Path | str,
    *,
    tenant: str = "default",
    embedder: str | Embedder | None = None,
    strategy: Strategy | None = None,
    model: ServedModel | Endpoint | None = None,
    roles: ChooseRoles | None = None,
    on_event: Listener = ignore,
    cancel: asyncio.Event | None = None,
) -> Receipt:
    """Takes up a run that crashed or was interrupted, from its last checkpoint.

    What it had reserved and not settled counts as spent. A run that had a served model goes on
    with the same address; give `model` where that needs a key or has moved. It is not recorded: a
    recording that broke off stays in its `.part` file and cannot be replayed.

    Raises:
        SettingsError: there is no such run, or it had a strategy or model that must be given.
    """
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, store, tenant, embedder)
        folder = runs.find(opened.runs or Path(), run)
        request = folder.job()
        if model is None and request.served:
            if not request.model:
                raise SettingsError(
                    f"Run {run!r} was started with an Endpoint object, which cannot be restored: "
                    "pass model=… to resume()."
                )
            model = ServedModel(url=request.model, name=request.model_name)
        return await _receipt_of(
            _Run(
                request=request,
                strategy=_strategy_of(request, strategy),
                corpus=opened.corpus,
                endpoint=await open_endpoint(stack, model, opened.secret),
                interceptor=LiveInterceptor(cancel),
                delimiters=Delimiters.of(opened.secret),
                folder=folder,
                choose_roles=roles or _unchanged,
                on_event=on_event,
                admission=opened.admission,
            )
        )


async def areplay(
    path: Path,
    *,
    strategy: Strategy | None = None,
    roles: ChooseRoles | None = None,
    on_event: Listener = ignore,
) -> ReplayResult:
    """Runs a recording again: the same nodes, only the recorded things replaced.

    `strategy`, `roles`: those of the recorded run, where it had its own.

    Raises:
        RecordingError: it cannot be read, or the code now asks for what was not recorded.
        SettingsError: the run had a strategy of its own, which must be given.
    """
    recording = await asyncio.to_thread(Recording.read, path)
    request = recording.job()
    receipt = await _receipt_of(
        _Run(
            request=request,
            strategy=_strategy_of(request, strategy),
            corpus=cast(Corpus, NotInReplay()),
            endpoint=cast(Endpoint, NotInReplay()) if request.served else None,
            interceptor=Replayer(recording),
            # Another secret than the recorded run's: a recording must not depend on it.
            delimiters=Delimiters.of(secrets.token_bytes(16)),
            folder=None,
            choose_roles=roles or _unchanged,
            on_event=on_event,
        )
    )
    differs = difference(recording.receipt, receipt.record())
    return ReplayResult(receipt=receipt, same=not differs, difference=differs)


ask, resume, replay = synchronous(aask), synchronous(aresume), synchronous(areplay)


async def _receipt_of(run: _Run) -> Receipt:
    """Waits for admission, then runs to the receipt; a run that waits has nothing on the disk."""
    places = run.admission.places(served=run.request.served) if run.admission else None
    seconds = run.request.budget.seconds
    async with admitted(places, run.interceptor, seconds, run.on_event) as stop:
        if stop is not None:
            return await _finished(replace(run, folder=None), stop)
        if run.runs is None:
            return await _finished(run, None)
        folder = runs.begin(run.runs, run.request)
        try:
            return await _finished(replace(run, folder=folder), None)
        except HoptrailError:
            if not folder.checkpoints.exists():
                folder.delete()  # it ended before its first node: there is nothing to resume
            raise


async def _finished(run: _Run, stop: StopReason | None) -> Receipt:
    """The receipt of a run; its folder goes when the receipt is there.

    Args:
        run: the run.
        stop: why it was not admitted; None: it was.
    """
    from langsmith import tracing_context  # noqa: PLC0415 (loaded when a run begins)

    started = datetime.now(UTC)
    request, folder, clock = run.request, run.folder, run.interceptor.seconds
    path = folder.ledger if folder else None
    ledger = Ledger.open(path, request.budget, clock, waited=clock())
    try:
        with tracing_context(enabled=False), disk_errors(folder.path if folder else Path()):
            context = await _context(run, ledger, served=stop is None)
            if stop is None:
                final = await run_graph(run.strategy, request, context, folder)
            else:
                final = await ended_early(request, context, stop)
    finally:
        ledger.close()
    receipt = replace(
        Receipt.parse(final.receipt),
        environment=Environment(
            run=folder.id if folder else "",
            versions=package_versions(),
            machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            started=started.isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - run.began, 3),
            model_url=request.model,
        ),
    )
    if folder is not None:
        folder.delete()
    run.on_event(Done(receipt=receipt))
    return receipt


async def _context(run: _Run, ledger: Ledger, *, served: bool) -> RunContext:
    """The context of a run: corpus and endpoint behind the interceptor, roles, ledger."""
    notes: list[str] = []
    intercepted = intercepted_corpus(run.corpus, run.interceptor)
    corpus = with_lexical_fallback(intercepted, ledger.seconds_left, notes.append)
    roles, model = local_roles(corpus, ledger.seconds_left, run.request.settings.mode), ""
    if run.endpoint is not None and served:
        endpoint = RetryingEndpoint(
            InterceptedEndpoint(run.endpoint, run.interceptor, run.delimiters),
            ledger,
            sleep=partial(pause, run.interceptor),
            rng=Random(run.request.question),
        )
        with suppress(Cancelled):  # then the local players come to a stop at their first search
            roles, model = await prepared_roles(endpoint, ledger, run.delimiters, fallback=roles)
    return RunContext(
        strategy=run.strategy.name,
        model=model,
        corpus=corpus,
        roles=run.choose_roles(roles),
        ledger=ledger,
        settings=run.request.settings,
        emit=run.on_event,
        notes=notes,
    )


def _described(model: ServedModel | Endpoint | None) -> dict[str, Any]:
    """What a request remembers of its model: everything but the key."""
    if isinstance(model, ServedModel):
        return {"model": model.url, "model_name": model.name, "served": True}
    return {"served": model is not None}


def _strategy_of(request: RunRequest, given: Strategy | None) -> Strategy:
    """The strategy of an earlier run: the one given, or the built-in one of its name."""
    if given is None and request.strategy not in STRATEGIES:
        raise SettingsError(
            f"The run had a strategy of its own, {request.strategy!r}: pass strategy=…."
        )
    return given if given is not None else strategy_named(request.strategy)


def _unchanged(roles: Roles) -> Roles:
    return roles


async def _opened(
    stack: AsyncExitStack,
    store: OpenStore | Path | str,
    tenant: str,
    embedder: str | Embedder | None,
) -> OpenStore:
    if isinstance(store, OpenStore):
        return store
    opened = await asyncio.to_thread(OpenStore.open, store, tenant=tenant, embedder=embedder)
    stack.callback(opened.close)
    return opened
