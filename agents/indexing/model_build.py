"""Index builds by a served model, graph or tree: connection, budget, questions, run and outcome.

`run_build` is the one driver. What differs is a `Build`: `graph_builder` and `tree_builder` each
have one. `Forecast` is what the two estimates have in common.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.indexing.batch_runner import (
    RETRIES,
    TIMEOUT,
    BatchRunner,
    BatchWork,
    IndexingStop,
    check_parallel,
)
from hoptrail.agents.indexing.build_records import BuildEstimate, BuildReport
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import ReplySchema
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.served_model import AnyModel, open_endpoint
from hoptrail.agents.llm.token_estimate import TokenEstimate, server_scale
from hoptrail.agents.llm.types import Endpoint
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import SettingsError

T = TypeVar("T")
Report_co = TypeVar("Report_co", covariant=True)

_NO_TOKENS = TokenEstimate(prompt=0, usual=0, most=0)

RunBatch = Callable[[BatchWork[Any, Any]], Awaitable[IndexingStop]]
"""Runs jobs side by side until none is left, or until nothing more can be asked."""


@dataclass(slots=True)
class ModelSession:
    """Questions of one build to its model, within one budget; counts the replies that failed."""

    client: LLMClient
    ledger: Ledger
    delimiters: Delimiters
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed questions by kind of failure."""
    without_salt: bool = False
    """The server refused `cache_salt`."""

    @classmethod
    async def open(cls, endpoint: Endpoint, secret: bytes, ledger: Ledger) -> ModelSession:
        """A session with a server whose abilities have been found out.

        Args:
            endpoint: the server; it stays its owner's to close.
            secret: the tenant's; the model sees texts between delimiters made from it.
            ledger: what the session may spend, a probe of the server included.

        Raises:
            ModelError: the server cannot be used.
        """
        client = LLMClient(RetryingEndpoint(endpoint, ledger, retries=RETRIES, timeout=TIMEOUT))
        await client.prepare()
        return cls(client=client, ledger=ledger, delimiters=Delimiters.of(secret))

    @property
    def model(self) -> str:
        """The model's name, as its server gives it."""
        return self.client.server.model

    async def ask(
        self, node: str, prompt: Rendered, form: ReplySchema[T], max_tokens: int
    ) -> LLMResult[T]:
        """The model's reply to one prompt.

        Args:
            node: the asker's name in the ledger.
            prompt: the messages.
            form: the reply's schema.
            max_tokens: the most tokens that the reply may have.

        Raises:
            OutOfBudget: nothing is left for the question; it counts as not tried.
        """
        # Half is enough for most; with less the reply would be cut and paid in vain.
        asked = await self.client.ask(
            node=node, prompt=prompt, form=form, max_tokens=max_tokens, min_tokens=max_tokens // 2
        )
        self.without_salt |= "cache_salt" in asked.without
        return asked

    def failure(self, asked: LLMResult[Any]) -> tuple[str, str]:
        """Kind and details of the failure of a question that has no value."""
        detail = self.delimiters.hide(asked.problems[-1]) if asked.problems else ""
        return asked.failure or "parse", detail

    def report(self, stop: IndexingStop) -> BuildReport:
        """The shared part of a build's report."""
        return BuildReport(
            model=self.model,
            stop=stop,
            failed=self.failures.total(),
            failures=dict(sorted(self.failures.items())),
            usage=self.ledger.spent(),
            flags=sum(flag.count for flag in self.ledger.flags),
            without_salt=self.without_salt,
        )


class Build(Protocol[Report_co]):
    """The kind of a build: which questions it asks and what it makes of the replies."""

    async def run(self, run_batch: RunBatch) -> IndexingStop:
        """Asks all questions, in one batch or in several; returns why it ended."""

    async def report(self, shared: BuildReport) -> Report_co:
        """The whole report, given the part that all builds share. The connection is closed."""


async def run_build(
    begin: Callable[[ModelSession], Build[Report_co]],
    model: AnyModel,
    secret: bytes,
    *,
    budget: Budget,
    parallel: int,
    cancel: asyncio.Event | None,
    journal: Path | None = None,
) -> Report_co:
    """Runs a build from the first question to its report.

    Args:
        begin: makes the build, once the server's abilities are known.
        model: the model that is asked.
        secret: the tenant's.
        budget: the most it may spend, a probe of the server included; searches do not count.
        parallel: questions at one time, 1 to 32.
        cancel: once set no question is begun; those in flight are waited for and kept.
        journal: the file of its spending (`build_ledger`); None: a kill forgets it.

    Raises:
        JournalError: the file is damaged, or a build in another process has it open.
        ModelError: the server cannot be used.
        SettingsError: `parallel` out of range.
    """
    check_parallel(parallel)
    cancelled = cancel or asyncio.Event()
    with build_ledger(journal, budget) as ledger:
        async with connection(model, secret) as endpoint:
            session = await ModelSession.open(endpoint, secret, ledger)
            build = begin(session)
            stop = await build.run(lambda work: BatchRunner(work).run(parallel, cancelled))
        return await build.report(session.report(stop))


def build_journal(root: Path, tenant: str, index: Literal["graph", "tree"]) -> Path:
    """The file of the spending of a build of a tenant's graph or tree."""
    return root / tenant / "builds" / f"{index}.jsonl"


@contextmanager
def build_ledger(journal: Path | None, budget: Budget) -> Iterator[Ledger]:
    """The ledger of a build.

    A build that ends without its report leaves its file behind, and the next one with the same
    limits goes on with what that had left. One with other limits begins anew.

    Raises:
        JournalError: the file is damaged, or a build in another process has it open.
    """
    try:
        ledger = Ledger.open(journal, budget)
    except SettingsError:
        ledger = Ledger.open(journal, budget, fresh=True)
    reported = False
    try:
        yield ledger
        reported = True
    finally:
        ledger.close()
        if journal is not None and (reported or not ledger.spent().calls):
            journal.unlink(missing_ok=True)


@asynccontextmanager
async def connection(model: AnyModel, secret: bytes) -> AsyncIterator[Endpoint]:
    """The endpoint of a model, closed at the end unless it was given open."""
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, secret)
        assert endpoint is not None
        yield endpoint


@dataclass(slots=True)
class Forecast:
    """Size of the questions that a build would ask, and a sample of their prompts."""

    size: TokenEstimate = _NO_TOKENS
    """By tiktoken's count."""
    sample: list[Rendered] = field(default_factory=list)

    async def estimate(self, endpoint: Endpoint, model: str) -> BuildEstimate:
        """The estimate in tokens, scaled by the server's count of the sample if it counts."""
        scale = await server_scale(endpoint, self.sample)
        size = self.size if scale is None else self.size.scaled(scale)
        return BuildEstimate(
            model=model,
            prompt_tokens=size.prompt,
            reply_tokens=size.usual,
            most_reply_tokens=size.most,
            counted_by="tiktoken" if scale is None else "server",
        )
