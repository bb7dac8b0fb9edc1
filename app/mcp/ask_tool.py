"""The tool that answers: a run with progress a hop, and the receipts that clients may read."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoptrail.agents.ask import aask
from hoptrail.agents.events import Event, HitsFound, PlanMade, QueryMade, StepStarted, Waiting
from hoptrail.app.mcp.addresses import RECEIPTS, public_url
from hoptrail.app.mcp.document_tools import safe_title
from hoptrail.app.mcp.token_limit import longest_prefix, that_fit
from hoptrail.app.mcp.tool_types import AnswerClaim, AskArguments, AskResult, CitedSource
from hoptrail.app.receipts import cited_evidence
from hoptrail.app.text import escaped, one_line, plural, shortened, shown

if TYPE_CHECKING:
    from hoptrail.agents import Budget, Receipt, RoleModels, RunSettings
    from hoptrail.agents.knowledge_base import KnowledgeBase
    from hoptrail.agents.types import Evidence

Report = Callable[[float, str], Awaitable[None]]
"""Sends progress: a number that grows, and a line."""

_KEPT = 100
_QUERY, _TITLES = 120, 200
_ANSWER, _CLAIMS, _SOURCES = 2_000, 2_000, 4_000
"""Tokens of the parts of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """How the server answers: what its operator chose when it was started."""

    strategy: str = "pool"
    models: RoleModels | None = None
    budget: Budget | None = None
    settings: RunSettings | None = None


class Receipts:
    """The newest receipts of this process, by ids that cannot be guessed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()

    def keep(self, receipt: Receipt) -> str:
        """Keeps a receipt; returns its address."""
        uri = RECEIPTS + secrets.token_hex(16)
        self._kept[uri] = escaped(receipt.json())
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return uri

    def read(self, uri: str) -> str | None:
        """The JSON of a receipt; None: there is none at this address, or it is too old."""
        return self._kept.get(uri)


async def ask(
    kb: KnowledgeBase,
    options: AskOptions,
    receipts: Receipts,
    arguments: AskArguments,
    report: Report,
) -> AskResult:
    """Answers a question from the documents, and reports each hop meanwhile."""
    messages: asyncio.Queue[str] = asyncio.Queue()
    reporting = asyncio.create_task(_report_all(messages, report))
    try:
        receipt = await _uninterrupted(_run(kb, options, arguments, messages))
        await messages.join()
    finally:
        reporting.cancel()
    return await asyncio.to_thread(_result, kb, receipt, receipts.keep(receipt))


async def _run(
    kb: KnowledgeBase, options: AskOptions, arguments: AskArguments, messages: asyncio.Queue[str]
) -> Receipt:
    round_ = 0

    def on_event(event: Event) -> None:
        nonlocal round_
        if isinstance(event, StepStarted):
            round_ = max(round_, event.round)
        if line := _line(event, round_):
            messages.put_nowait(line)

    return await aask(
        arguments.question,
        kb,
        strategy=arguments.strategy or options.strategy,
        model=options.models,
        budget=options.budget,
        settings=options.settings,
        on_event=on_event,
    )


async def _uninterrupted(run: Awaitable[Receipt]) -> Receipt:
    """Awaits a run in a task of its own, which is cancelled once and then closes what it opened.

    A handler of the SDK is cancelled again at each `await` until it has ended.
    """
    task = asyncio.ensure_future(run)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        raise


async def _report_all(messages: asyncio.Queue[str], report: Report) -> None:
    number = 0
    while True:
        line = await messages.get()
        number += 1
        with suppress(Exception):  # the client may have gone; the run's own end tells
            await report(number, line)
        messages.task_done()


def _line(event: Event, number: int) -> str:
    """What is reported of an event; empty: nothing."""
    match event:
        case Waiting(ahead=ahead):
            text = f"Waiting: {plural(ahead, 'question')} first"
        case PlanMade(plan=plan):
            text = f"To find: {'; '.join(need.text for need in plan.needs)}"
        case QueryMade(query=query):
            text = f"Hop {number}: searching {shortened(query.text, _QUERY)}"
        case HitsFound(count=count, titles=titles):
            found = f"Hop {number}: {plural(count, 'passage')}"
            text = f"{found}: {', '.join(titles)}" if titles else found
        case StepStarted(node="answer"):
            text = "Answering"
        case StepStarted(node="verify"):
            text = "Checking the claims against their quotes"
        case _:
            return ""
    return shortened(one_line(text), _QUERY + _TITLES)


def _result(kb: KnowledgeBase, receipt: Receipt, uri: str) -> AskResult:
    cited = cited_evidence(receipt)
    numbers = {item.id: number for number, item in enumerate(cited, 1)}
    claims = [
        AnswerClaim(
            text=shown(claim.text),
            sources=tuple(numbers[one] for one in claim.evidence if one in numbers),
            verdict=claim.verdict,
        )
        for claim in receipt.claims
    ]
    sources = [_source(kb, number, item) for number, item in enumerate(cited, 1)]
    some_claims, some_sources = (
        tuple(that_fit(claims, _CLAIMS)), tuple(that_fit(sources, _SOURCES))
    )  # fmt: skip
    return AskResult(
        answer=longest_prefix(shown(receipt.answer), _ANSWER),
        outcome=receipt.outcome.kind,
        reason=receipt.outcome.reason or "",
        stop=receipt.stop,
        claims=some_claims,
        sources=some_sources,
        left_out=len(claims) - len(some_claims) + len(sources) - len(some_sources),
        receipt=uri,
    )


def _source(kb: KnowledgeBase, number: int, item: Evidence) -> CitedSource:
    document = kb.store.document(item.document_id)
    return CitedSource(
        number=number,
        document_id=item.document_id,
        title=safe_title(item.title, item.document_id),
        url=public_url(item.document_id, {} if document is None else document.metadata),
        start=item.start,
        end=item.end,
        quote=shown(item.quote),
    )
