"""Ask, stream, resume and replay: one question from beginning to end.

`aask` answers a question; `aresume` goes on with a run that crashed, `areplay` runs one again from
its recording with no model, no store and no embedder. `ask`, `resume` and `replay` are the same
for callers that cannot await.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack, cast

from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Event, Listener, ignore
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.run import ChooseRoles, Run, receipt_of
from hoptrail.agents.runs import folder as runs
from hoptrail.agents.runs.intercepted import NotInReplay
from hoptrail.agents.runs.interceptor import LiveInterceptor
from hoptrail.agents.runs.models import OpenModels, RoleModels, restored
from hoptrail.agents.runs.quota_endpoint import place_in
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.runs.recording import Recorder, Recording
from hoptrail.agents.runs.replay import Replayer, difference
from hoptrail.agents.runs.request import RunRequest, RunSettings, job_json
from hoptrail.agents.runs.synchronous import synchronous
from hoptrail.agents.strategies.graph import Strategy
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.agents.strategies.registry import strategy as strategy_named
from hoptrail.agents.types import Turn
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """The receipt of a replay, and whether it is the recorded one."""

    receipt: Receipt
    same: bool
    """Is it the recorded receipt, `environment` aside?"""
    difference: str
    """Where the two first differ; empty where they do not."""


class RunOptions(TypedDict, total=False):
    """Options that `aask` and `aresume` share."""

    model: AnyModel | RoleModels | None
    quota: Quota | None
    roles: ChooseRoles | None
    on_event: Listener
    cancel: asyncio.Event | None


class ResumeOptions(RunOptions, total=False):
    """Options of `aresume`, which explains them."""

    reply: object


class AskOptions(RunOptions, total=False):
    """Options of `aask`, which explains them."""

    history: Sequence[Turn]
    strategy: str | Strategy
    budget: Budget | None
    settings: RunSettings | None
    where: Where | None
    record: Path | None


async def aask(  # noqa: PLR0913 - every option of a question, by name, is its interface
    question: str,
    store: OpenStore | Path | str,
    *,
    history: Sequence[Turn] = (),
    tenant: str = "default",
    embedder: str | Embedder | None = None,
    strategy: str | Strategy = "pool",
    model: AnyModel | RoleModels | None = None,
    budget: Budget | None = None,
    quota: Quota | None = None,
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
        history: the conversation before it, oldest turn first; a question that leans on it ("and
            where was he born?") is made to stand alone, by a rule or by the model.
        tenant: whose documents; ignored for a `KnowledgeBase`, which has one.
        embedder: one, or its name; None: the one that the store records.
        strategy: a name in `STRATEGIES`, or a `Strategy` of your own.
        model: the model of all roles: an address, a `ModelClient` that runs share, or an endpoint
            of your own; `RoleModels`: one for each role. None: the local players, which answer
            in the documents' own words.
        budget: limits on calls, tokens, searches and seconds.
        quota: limits that other questions share; waiting for it takes of the budget's seconds.
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
        Paused: a node of your own waits for a reply; `aresume` goes on with it.
    """
    chosen = strategy if isinstance(strategy, Strategy) else strategy_named(strategy)
    request = RunRequest(
        question=question,
        history=tuple(history),
        strategy=chosen.name,
        where=dict(where or {}),
        budget=budget or Budget(),
        settings=settings or RunSettings(),
        recorded=record is not None,
        **RoleModels.of(model).described(),
    )
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, store, tenant, embedder)
        settled = request.settings.resolved(opened.mode, served=request.serves("scorer"))
        request = replace(request, settings=settled)
        models = await OpenModels.open(stack, RoleModels.of(model), opened.secret)
        live, recorder = LiveInterceptor(cancel), None
        await place_in(stack, quota, request.budget.seconds, cancel)
        if record is not None:
            recorder = Recorder(live, record, {"job": job_json(request)})
            stack.callback(recorder.abandon)
        run = Run(
            request=request,
            strategy=chosen,
            corpus=opened.corpus,
            models=models.within(quota),
            interceptor=recorder or live,
            delimiters=Delimiters.of(opened.secret),
            choose_roles=roles or _unchanged,
            on_event=on_event,
            make_folder=partial(runs.begin, opened.runs, request, opened.retention)
            if opened.runs is not None
            else None,
            admission=opened.admission,
        )
        return await receipt_of(run)


async def aresume(  # noqa: PLR0913 - as `aask`
    run: str,
    store: OpenStore | Path | str,
    *,
    tenant: str = "default",
    embedder: str | Embedder | None = None,
    strategy: Strategy | None = None,
    model: AnyModel | RoleModels | None = None,
    quota: Quota | None = None,
    roles: ChooseRoles | None = None,
    reply: object = None,
    on_event: Listener = ignore,
    cancel: asyncio.Event | None = None,
) -> Receipt:
    """Takes up a run that crashed, was interrupted or is paused, from its last checkpoint.

    What it had reserved and not settled counts as spent. A run that had a served model goes on
    with the same address; give `model` where that needs a key or has moved. The recording of a
    paused run goes on; that of any other broke off, stays in its `.part` file and cannot be
    replayed.

    A paused run takes a `reply`, a JSON value other than null.

    Raises:
        SettingsError: there is no such run, it had a strategy or model that must be given, or it
            waits for a reply that is not given, or for none.
        Paused: it waits for a further reply.
    """
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, store, tenant, embedder)
        folder = runs.find(opened.runs, run)
        request = folder.job()
        models = RoleModels.of(restored(run, request, model))
        live, recording = LiveInterceptor(cancel), folder.recording()
        recorder = None
        if recording is not None and reply is not None:
            recorder = Recorder(live, recording, None)
            stack.callback(recorder.abandon)
        opened_models = await OpenModels.open(stack, models, opened.secret)
        await place_in(stack, quota, request.budget.seconds, cancel)
        return await receipt_of(
            Run(
                request=request,
                strategy=_strategy_of(request, strategy),
                corpus=opened.corpus,
                models=opened_models.within(quota),
                interceptor=recorder or live,
                delimiters=Delimiters.of(opened.secret),
                folder=folder,
                choose_roles=roles or _unchanged,
                on_event=on_event,
                reply=reply,
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
    receipt = await receipt_of(
        Run(
            request=request,
            strategy=_strategy_of(request, strategy),
            corpus=cast(Corpus, NotInReplay()),
            models=OpenModels.of_replay(request),
            interceptor=Replayer(recording),
            # Another secret than the recorded run's: a recording must not depend on it.
            delimiters=Delimiters.of(secrets.token_bytes(16)),
            choose_roles=roles or _unchanged,
            on_event=on_event,
            pauses=recording.pauses,
        )
    )
    differs = difference(recording.receipt, receipt.record())
    return ReplayResult(receipt=receipt, same=not differs, difference=differs)


async def astream(
    question: str,
    store: OpenStore | Path | str,
    *,
    tenant: str = "default",
    embedder: str | Embedder | None = None,
    **options: Unpack[AskOptions],
) -> AsyncIterator[Event]:
    """The events of `aask` as an async iterator, which ends with `Done` and the receipt.

    Closing the iterator early (`async with aclosing(...)`) ends the run with it.

    All arguments are those of `aask`; `on_event` is called as well.

    Raises:
        Paused, HoptrailError: as `aask`, once the events before it are out.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    listener = options.get("on_event", ignore)

    def heard(event: Event) -> None:
        events.put_nowait(event)
        listener(event)

    options["on_event"] = heard
    run = asyncio.ensure_future(aask(question, store, tenant=tenant, embedder=embedder, **options))
    run.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


ask, resume, replay = synchronous(aask), synchronous(aresume), synchronous(areplay)


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
