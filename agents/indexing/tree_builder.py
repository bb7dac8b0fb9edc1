"""Tree build by a served model: a builder's requests are asked step by step, replies are kept.

`tree_estimate` tells the cost beforehand. A build that is stopped, killed or out of budget is run
again and goes on where it was. Where the model fails the builder uses the documents' own words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.indexing.batch_runner import NO_LIMIT, CommitBuffer, IndexingStop
from hoptrail.agents.indexing.build_records import BuildReport, shared_fields
from hoptrail.agents.indexing.model_build import ModelSession, RunBatch, run_build
from hoptrail.agents.indexing.tree_questions import (
    Drafts,
    QuestionBatch,
    QuestionResult,
    TreeModel,
)
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.prompts.loader import load
from hoptrail.rag.tree.builders.requests import Builder, Reply, Request, next_requests
from hoptrail.rag.tree.types import Leaves, Tree, TreeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildInputs:
    """Inputs of a tree build: leaves, settings, drafts of earlier builds, and the builder."""

    leaves: Leaves
    spec: TreeSpec
    """Its `model` is filled in with the name that the server gives."""
    drafts: Drafts
    secret: bytes = field(repr=False)
    """The tenant's: the model sees texts between delimiters made from it."""
    builder: Callable[[Leaves, TreeSpec], Builder]
    """Begins a build."""
    journal: Path | None = None
    """The file of the build's spending, `model_build.build_journal`; None: a kill forgets it."""

    def begin(self, model: str) -> Builder:
        """The builder of a tree whose texts a model of that name writes."""
        return self.builder(self.leaves, replace(self.spec, model=model))


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildProgress:
    """Progress of a tree build, in questions."""

    step: int
    """Questions that do not wait for each other are one step."""
    done: int
    """Of this step."""
    asked: int
    """In this step."""
    answered: int
    """In all steps."""
    tokens: int
    """Spent by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFailed:
    """A question whose reply could not be used."""

    prompt: str
    """The prompt's name."""
    failure: str
    detail: str


TreeBuildEvent = TreeBuildProgress | QuestionFailed
TreeBuildListener = Callable[[TreeBuildEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildReport(BuildReport):
    """Outcome of a tree build. For failed questions the tree has the documents' own words."""

    tree: Tree | None = field(repr=False)
    """Not saved yet. None: the build stopped before the tree was whole; replies are drafts."""
    answered: int
    """Questions that the model answered in this build."""
    kept: int
    """Questions that drafts of an earlier build answered."""


async def build_tree(
    inputs: TreeBuildInputs,
    model: AnyModel,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: TreeBuildListener | None = None,
    cancel: asyncio.Event | None = None,
) -> TreeBuildReport:
    """Builds a tree whose texts and groups a served model writes.

    Args:
        inputs: leaves, settings, drafts and builder.
        model: the model that is asked.
        budget: the most it may spend, a probe of the server included; searches do not count. What
            a killed build with the same limits has spent counts (`model_build.build_ledger`).
        parallel: questions at one time, 1 to 32.
        on_event: called with progress and with questions that failed.
        cancel: once set no question is begun; those in flight are waited for and kept.

    Raises:
        JournalError: another process builds the tree, or what it left is damaged.
        ModelError: the server cannot be used.
        SettingsError: `parallel` out of range, or what the builder raises.
        StoreBusy, StoreFull: replies cannot be kept; all batches before them are.
    """
    return await run_build(
        partial(_TreeBuild, inputs, on_event or (lambda event: None)),
        model,
        inputs.secret,
        budget=budget,
        parallel=parallel,
        cancel=cancel,
        journal=inputs.journal,
    )


class _TreeBuild:
    """A `Build` of as many batches as the builder takes steps; the builder runs in a thread."""

    def __init__(
        self, inputs: TreeBuildInputs, notify: TreeBuildListener, session: ModelSession
    ) -> None:
        self.inputs = inputs
        self.notify = notify
        self.session = session
        self.model = TreeModel(session)
        self.answered = self.kept = 0
        self._tree: Tree | None = None

    async def run(self, run_batch: RunBatch) -> IndexingStop:
        """Asks the builder's questions, step by step, until its tree is whole."""
        builder = self.inputs.begin(self.session.model)
        found = await asyncio.to_thread(next_requests, builder, None)
        number = 0
        while not isinstance(found, Tree):
            number += 1
            step = await asyncio.to_thread(_Step, self, number, found)
            stop = await run_batch(step)
            if stop != "done":
                return stop
            found = await asyncio.to_thread(next_requests, builder, step.replies())
        self._tree = found
        return "done"

    async def report(self, shared: BuildReport) -> TreeBuildReport:
        """The whole report, with the tree."""
        return TreeBuildReport(
            **shared_fields(shared), tree=self._tree, answered=self.answered, kept=self.kept
        )


class _Step:
    """`BatchWork` of one step of a build: its jobs are the keys of questions without a draft."""

    def __init__(self, build: _TreeBuild, number: int, requests: tuple[Request, ...]) -> None:
        self._build = build
        self._number = number
        session, drafts = build.session, build.inputs.drafts
        self._batch = QuestionBatch.of(requests, session.delimiters, session.model)
        self._replies = self._batch.recalled(drafts)
        build.kept += len(self._replies)
        self._open = deque(key for key in self._batch.questions if key not in self._replies)
        self._done = len(requests) - len(self._open)
        self._uncommitted: CommitBuffer[tuple[str, str], None] = CommitBuffer(
            lambda batch: drafts.keep_drafts(dict(batch))
        )

    def replies(self) -> tuple[Reply, ...]:
        """The reply to each request, in order."""
        return self._batch.replies(self._replies)

    async def next(self) -> str | None:
        """The key of the next question that no draft answers."""
        return self._open.popleft() if self._open else None

    async def do(self, job: str) -> QuestionResult:
        """The model's reply to the question."""
        return await self._build.model.ask(self._batch.questions[job])

    def take(self, job: str, found: QuestionResult) -> None:
        """Counts the result of a question and sets its reply aside to be kept as a draft."""
        self._done += 1
        if not found.failure:
            self._build.answered += 1
            self._replies[job] = found.reply
            self._uncommitted.add((job, found.draft))
            return
        self._build.session.failures[found.failure] += 1
        prompt = load(self._batch.questions[job].prompt).name
        self._build.notify(
            QuestionFailed(prompt=prompt, failure=found.failure, detail=found.detail)
        )

    async def settle(self, *, last: bool) -> None:
        """Keeps drafts that are due, and reports progress."""
        await self._uncommitted.commit_due(last=last)
        if last:
            return
        self._build.notify(
            TreeBuildProgress(
                step=self._number,
                done=self._done,
                asked=len(self._batch.keys),
                answered=self._build.answered,
                tokens=self._build.session.ledger.spent().tokens,
            )
        )
