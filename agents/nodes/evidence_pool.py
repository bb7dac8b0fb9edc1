"""The evidence pool, and the score of every passage found, over all rounds of a run.

After RFM-RAG (arXiv 2508.17862). Only its abstract is public; the rules here are ours: evidence is
never dropped, no passage is read twice, no query is repeated (`roles.common.too_alike`: word
overlap above 0.8 counts as a repeat).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np

from hoptrail.agents.types import Candidate, Evidence, Query, Rescored
from hoptrail.rag.entities.surface import casefolded, surface_words
from hoptrail.rag.retrieval.fusion import MinMaxFusion
from hoptrail.rag.types import Candidates, Hit, Passage, Ranking, tie_break

KEPT = 100
"""Most candidates that a run keeps: recall is read off at 20, and a checkpoint must stay small."""

# Tuned on training sets of multi-hop questions (recall@5); results change little around them.
SUBJECT = 0.5
"""Bonus to the score of a passage whose title is a name of the question."""
OWN_SHARE = 0.3
"""Part, 0..1, of a hop's score that is scaled by the passage's own score for the question."""
MENTION = 0.8
"""Relevance of a passage that mentions a name, relative to one titled by it; 0..1."""
MENTIONING = 3
"""Most hits that count for mentioning a name."""

# Fusion weights of the hits of cheap retrieval; the leaves of a tree search have the rest, 0..1.
# Chosen on the training sets of MuSiQue and 2Wiki (recall@10 of 106 questions) with scores from
# words and the embedder only: beside hybrid search the tree adds 2 and 8 points; beside the passage
# graph (88 and 100) it can only lose, so its leaves come after. How much better a model scores
# could not be measured, so with a model both weigh the same.
CHEAP_HYBRID = 0.6
CHEAP_GRAPH = 0.95
CHEAP_SERVED = 0.5

_BRACKETS = re.compile(r"\s*\([^)]*\)\s*$")


def merge_candidates(
    old: Sequence[Candidate], new: Sequence[Candidate] | Rescored
) -> tuple[Candidate, ...]:
    """Reducer: the candidates of before and the new ones, best first; of two, the higher score.

    Whatever the order in which parallel branches are put together, the result is the same.
    """
    best = {one.passage_id: one for one in old}
    if isinstance(new, Rescored):
        best.update((one.passage_id, one) for one in new.candidates)
        return tuple(sorted(best.values(), key=_order)[:KEPT])
    for one in new:
        known = best.get(one.passage_id)
        best[one.passage_id] = one if known is None else _joined(known, one)
    return tuple(sorted(best.values(), key=_order)[:KEPT])


def _joined(one: Candidate, other: Candidate) -> Candidate:
    """One passage as two branches found it: the higher score with its query, the earlier round."""
    higher = min((one, other), key=lambda c: (-c.score, c.query))
    return replace(higher, own=max(one.own, other.own), round=min(one.round, other.round))


def raised_by(
    candidates: Sequence[Candidate], found: Iterable[tuple[Query, Ranking]], round_number: int
) -> tuple[Candidate, ...]:
    """The candidates that new rankings add, or raise above the score that they had.

    A question's ranking gives each passage its own score, 0..1. A name's ranking counts for the
    passages with that name as title, or else for those that mention it: a name from the question
    adds to their own score; a name from the evidence raises them to just below the passage that
    it was read in (`Query.weight`), and the further the higher their own score is.
    """
    best = {c.passage_id: c for c in candidates}
    raised: dict[str, Candidate] = {}
    for query, ranking in found:
        for hit, relevance in _relevances(query, ranking):
            passage = hit.passage
            old = best.get(passage.id)
            own = old.own if old is not None else 0.0
            match query.purpose:
                case "question":
                    own = score = relevance
                case "subject":
                    score = own + query.weight * relevance * min(
                        1.0, 0.5 + 0.25 * len(surface_words(query.text))
                    )
                case "bridge":
                    score = query.weight * relevance * (1 - OWN_SHARE + OWN_SHARE * own)
                case "gap":
                    score = query.weight * relevance
                case _:
                    assert_never(query.purpose)
            if old is None or score > old.score:
                best[passage.id] = raised[passage.id] = Candidate(
                    passage_id=passage.id,
                    document_id=passage.document_id,
                    score=round(score, 6),
                    own=own,
                    round=old.round if old is not None else round_number,
                    query=query.text,
                    via=hit.via,
                )
    return tuple(raised.values())


def fuse_tree_results(
    candidates: Sequence[Candidate],
    leaves: Sequence[tuple[Passage, float]],
    *,
    query: str,
    round_number: int,
    cheap: float,
) -> Rescored:
    """The candidates fused with the leaves of a tree search, best first, scores 0..1.

    Args:
        candidates: of cheap retrieval, best first.
        leaves: passages and their relevance, 0..1, best first, each passage once.
        query: the query of the tree search.
        round_number: the round of candidates that are new.
        cheap: 0..1, the weight of cheap retrieval; the tree has the rest.
    """
    if not leaves:
        return Rescored(candidates=tuple(candidates))
    old = [c.passage_id for c in candidates]
    passages = {passage.id: passage for passage, _ in leaves}
    places = {one: place for place, one in enumerate(dict.fromkeys((*old, *passages)))}
    ranking = MinMaxFusion(lexical_weight=cheap, floor=None).fuse(
        _listed([places[one] for one in old], [c.score for c in candidates]),
        _listed([places[one] for one in passages], [score for _, score in leaves]),
    )
    fused = dict(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))
    top = max(fused.values(), default=0.0) or 1.0
    new = (
        Candidate(
            passage_id=passage.id,
            document_id=passage.document_id,
            score=0.0,
            own=0.0,
            round=round_number,
            query=query,
        )
        for passage in passages.values()
        if places[passage.id] >= len(old)
    )
    found = [
        replace(c, score=round(fused[places[c.passage_id]] / top, 6)) for c in (*candidates, *new)
    ]
    return Rescored(candidates=tuple(sorted(found, key=_order)[:KEPT]))


def _listed(rows: Sequence[int], scores: Sequence[float]) -> Candidates:
    return Candidates(
        rows=np.array(rows, dtype=np.int64), scores=np.array(scores, dtype=np.float32)
    )


def _order(candidate: Candidate) -> tuple[float, str]:
    return -candidate.score, tie_break(candidate.passage_id)


def _relevances(query: Query, ranking: Ranking) -> Iterator[tuple[Hit, float]]:
    """The hits of a query that count, each with its relevance, 0..1."""
    if query.purpose in ("question", "gap"):
        top = max((hit.score for hit in ranking.hits), default=0.0)
        yield from ((hit, hit.score / top if top > 0 else 0.0) for hit in ranking.hits)
        return
    titled = [(hit, title_match(query.text, hit.passage.title)) for hit in ranking.hits]
    if any(match for _, match in titled):
        yield from ((hit, match) for hit, match in titled if match)
        return
    name = casefolded(query.text)
    for place, hit in enumerate(ranking.hits[:MENTIONING]):
        if name in casefolded(f"{hit.passage.title} {hit.passage.text}"):
            yield hit, MENTION / (1 + place)


def title_match(name: str, title: str) -> float:
    """1.0 where the title is the name, 0.95 where it has a bracketed addition, else 0.0."""
    if casefolded(name) == casefolded(title):
        return 1.0
    return 0.95 if casefolded(name) == casefolded(_BRACKETS.sub("", title)) else 0.0


def merge_evidence(pool: Sequence[Evidence], new: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Reducer: the evidence pool with new evidence, best first; a quote within another counts once.

    Evidence that is there already takes the new one's score.
    """
    kept = {item.id: item for item in pool}
    for item in new:
        if item.id in kept or not any(_same(item, old) for old in kept.values()):
            kept[item.id] = item
    return _ordered(kept.values())


def rescore(evidence: Sequence[Evidence], candidates: Sequence[Candidate]) -> tuple[Evidence, ...]:
    """The evidence pool with the present scores of its passages, which later rounds may raise."""
    scores = {c.passage_id: c.score for c in candidates}
    return _ordered(
        replace(e, score=round(e.confidence * scores.get(e.passage_id, e.score), 6))
        for e in evidence
    )


def _ordered(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    return tuple(
        sorted(evidence, key=lambda e: (-e.score, e.round, tie_break(e.passage_id), e.start))
    )


def covering(item: Evidence, pool: Sequence[Evidence]) -> str:
    """The id of the evidence in a pool that has a quote's words: itself, or one around it."""
    return next((old.id for old in pool if old.id == item.id or _same(item, old)), item.id)


def _same(one: Evidence, other: Evidence) -> bool:
    """Whether the first says nothing beyond the second: it lies within it, or has its text."""
    if one.document_id == other.document_id:
        return other.start <= one.start and one.end <= other.end
    return casefolded(one.quote) == casefolded(other.quote)
