"""The tree navigator: searches the corpus tree (LATTICE, arXiv 2510.13217) and adds its leaves.

The search starts from the root and from the hits of cheap retrieval, so the node follows
`retrieve`: at once, or when a strategy finds those hits insufficient. The end of the budget, the
deadline, a cancellation or a lost server ends the search and not the run: what was found by then,
at least the hits of cheap retrieval, goes on to be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from hoptrail.agents.corpus.protocol import TreeStart
from hoptrail.agents.events import SlatesScored, StepStarted, TreeOpened
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.types import TREE_BUILT, ModelUse, SlateRecord, StepRecord, StopReason
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.tree.search.best_first import TreeSearch
from hoptrail.rag.tree.search.types import (
    Expansion,
    LeafResult,
    Opened,
    Ref,
    Slate,
    TreeSearchResult,
    TreeSearchSettings,
)
from hoptrail.rag.types import Passage

KEPT_SECONDS = 0.25
"""Part of the time budget, 0..1, that is kept for reading and answering."""
FUSED_LEAVES = 50
"""Most leaves of the tree that are fused with the hits of cheap retrieval."""
_BEST_CHARS = 160


async def navigate(state: RunState, run: RunContext) -> StateUpdate:
    """Candidates → candidates fused with the leaves of a tree search that starts from them."""
    run.emit(StepStarted(node="navigate", round=state.round))
    # The first query that a strategy has left, else the question.
    query = next((one.text for one in state.queries if one.text.strip()), state.question)
    try:
        start = await _started(state, run, query)
    except TimeoutError:
        return StateUpdate(stop="out_of_time")
    except Cancelled:
        return StateUpdate(stop="cancelled")
    except EmbedderError as error:
        step = StepRecord(node="navigate", action="embedder failed", detail=str(error))
        return StateUpdate(steps=(step,))
    run.emit(TreeOpened(nodes=start.nodes, leaves=start.leaves, built=start.built))
    search = _Search(state, run, query, start)
    stop = await search.run()
    found = search.found()
    leaves = await _read(found.leaves[:FUSED_LEAVES], run, query)
    candidates = pool.fuse_tree_results(
        state.candidates, leaves, query=query, round_number=state.round, cheap=_cheap(run)
    )
    steps = (_opening(start), *search.steps, _ending(found, [passage for passage, _ in leaves]))
    return StateUpdate(candidates=candidates, steps=steps, stop=stop)


async def _started(state: RunState, run: RunContext, query: str) -> TreeStart:
    """The size of the tree, and the seeds of the search."""
    return await run.corpus.tree_start(
        query,
        [candidate.passage_id for candidate in state.candidates],
        k=_settings(run).seeds,
        where=dict(state.where),
        timeout=_seconds(run),
    )


async def _read(
    leaves: Sequence[LeafResult], run: RunContext, query: str
) -> list[tuple[Passage, float]]:
    """The passages of leaves that the store still holds, with their relevance, 0..1."""
    rows = [leaf.row for leaf in leaves]
    try:
        passages = await run.corpus.tree_passages(query, rows, timeout=run.read_seconds())
    except (TimeoutError, EmbedderError):
        return []  # the hits of cheap retrieval are there to be read
    return [
        (passage, leaf.relevance)
        for leaf, passage in zip(leaves, passages, strict=True)
        if passage is not None
    ]


class _Search:
    """One search of the tree, with the corpus, scorer and budget of a run."""

    def __init__(self, state: RunState, run: RunContext, query: str, start: TreeStart) -> None:
        self.steps: list[StepRecord] = []
        self._run = run
        self._query = query
        self._stand = start.stand
        self._where = dict(state.where)
        self._search = TreeSearch(_settings(run), start.seeds)

    async def run(self) -> StopReason | None:
        """Searches to the end; returns a stop reason if something ended the search before."""
        stop: StopReason | None = None
        while stop is None and (nodes := self._search.beam()):
            try:
                opened = await self._open(nodes)
            except TimeoutError:
                stop = "out_of_time"
            except Cancelled:
                stop = "cancelled"
            except EmbedderError:
                break
            else:
                stop = await self._score(self._search.slates(opened))
            self._end(stop)
        return stop

    def found(self) -> TreeSearchResult:
        """The result of the search, once it is over."""
        return self._search.found()

    async def _open(self, nodes: Sequence[int]) -> tuple[Opened, ...]:
        seconds = _seconds(self._run)
        if seconds <= 0:
            raise TimeoutError
        return await self._run.corpus.tree_open(
            self._query, nodes, stand=self._stand, where=self._where, timeout=seconds
        )

    async def _score(self, slates: Sequence[Slate]) -> StopReason | None:
        """Scores the slates of one iteration, and those that lack scores once more."""
        if not slates:
            return None  # the filter admits no child of the opened nodes
        texts = {item.ref: item.text for slate in slates for item in slate.shown}
        uses: dict[int, tuple[ModelUse, ...]] = defaultdict(tuple)
        stop: StopReason | None = None
        while slates and stop is None:
            results = await self._run.roles.scorer.score(self._query, slates)
            for slate, one in zip(slates, results, strict=True):
                uses[slate.node] += (one.use,) if one.use is not None else ()
            stop = next((one.stop for one in results if one.stop is not None), None)
            slates = self._search.take([one.value for one in results])
        self._end(stop)
        self._note(uses, texts)
        return stop

    def _end(self, stop: StopReason | None) -> None:
        if stop is not None:
            self._search.stop("cancelled" if stop == "cancelled" else "budget")

    def _note(self, uses: Mapping[int, tuple[ModelUse, ...]], texts: Mapping[Ref, str]) -> None:
        """Records the last iteration as a step and emits its event."""
        steps = self._search.steps()
        slates = tuple(_record(one, uses[one.node]) for one in steps[-1])
        marks = [mark for one in steps[-1] for mark in one.items if mark.score is not None]
        best = max(marks, key=lambda mark: mark.score or 0.0, default=None)
        shown = " ".join(texts[best.ref].split())[:_BEST_CHARS] if best is not None else ""
        self._run.emit(SlatesScored(iteration=len(steps), slates=slates, best=shown))
        detail = f"iteration {len(steps)}: {_summary(slates)}"
        self.steps.append(
            StepRecord(node="navigate", action="scored", detail=detail, slates=slates)
        )


def _cheap(run: RunContext) -> float:
    """The fusion weight of cheap retrieval, 0..1."""
    if run.model:
        return pool.CHEAP_SERVED
    return pool.CHEAP_GRAPH if run.settings.mode == "graph" else pool.CHEAP_HYBRID


def _settings(run: RunContext) -> TreeSearchSettings:
    return run.settings.navigate or TreeSearchSettings()


def _seconds(run: RunContext) -> float:
    """Seconds that the search may still take of the run's time."""
    return max(0.0, run.ledger.seconds_left() - KEPT_SECONDS * run.ledger.budget.seconds)


def _record(expansion: Expansion, uses: tuple[ModelUse, ...]) -> SlateRecord:
    marks = (*expansion.items, *expansion.anchors)
    return SlateRecord(
        node=expansion.node,
        standing=round(expansion.standing, 6),
        reserve=expansion.reserve,
        leaves=expansion.items[0].ref.leaf,
        shown=tuple(mark.ref.number for mark in marks),
        anchors=len(expansion.anchors),
        scores=tuple(None if mark.score is None else round(mark.score, 6) for mark in marks),
        failed=expansion.failed,
        uses=uses,
    )


def _summary(slates: Sequence[SlateRecord]) -> str:
    scores = [score for slate in slates for score in slate.scores]
    scored = f"{sum(score is not None for score in scores)} of {len(scores)} scored"
    uses = [use for slate in slates for use in slate.uses]
    tokens = sum(use.prompt_tokens + use.completion_tokens for use in uses)
    return f"{scored}, {tokens:,} tokens" if uses else scored


def _opening(start: TreeStart) -> StepRecord:
    found = f"{start.nodes:,} nodes, {start.leaves:,} leaves, {len(start.seeds)} seeds"
    action = TREE_BUILT if start.built else "opened the tree"
    return StepRecord(node="navigate", action=action, detail=found)


def _ending(found: TreeSearchResult, passages: Sequence[Passage]) -> StepRecord:
    detail = (
        f"{found.ended}: {found.looked} leaves looked at, {found.calls} slates, "
        f"{found.re_asks} asked again"
    )
    ids = tuple(passage.id for passage in passages)
    return StepRecord(node="navigate", action="found", detail=detail, found=ids)
