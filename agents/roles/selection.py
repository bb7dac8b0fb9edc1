"""Which player each role has: the local ones, or those of a served model."""

from __future__ import annotations

from collections.abc import Callable

from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.answerer import LocalAnswerer, ServedAnswerer
from hoptrail.agents.roles.assessor import LocalAssessor, ServedAssessor
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.planner import LocalPlanner, ServedPlanner
from hoptrail.agents.roles.query_writer import GraphQueryWriter, LocalQueryWriter, ServedQueryWriter
from hoptrail.agents.roles.refiner import LocalRefiner, ServedRefiner
from hoptrail.agents.roles.tree_scorer import LocalScorer, ServedScorer
from hoptrail.rag.types import Mode


def local_roles(
    corpus: Corpus, seconds_left: Callable[[], float], mode: Mode | None = None
) -> Roles:
    """All six roles, played without a model over a corpus, until the time is up.

    `mode`: how the question is searched; a search of the passage graph follows names by itself.
    """
    return Roles(
        planner=LocalPlanner(),
        refiner=LocalRefiner(corpus, seconds_left),
        assessor=LocalAssessor(),
        query_writer=GraphQueryWriter() if mode == "graph" else LocalQueryWriter(),
        answerer=LocalAnswerer(),
        scorer=LocalScorer(corpus),
    )


def served_roles(asker: LLMClient, fence: Delimiters, fallback: Roles) -> Roles:
    """All six roles, played by the asker's model; `fallback` plays where its reply fails."""
    return Roles(
        planner=ServedPlanner(asker, fallback),
        refiner=ServedRefiner(asker, fence, fallback),
        assessor=ServedAssessor(asker, fence, fallback),
        query_writer=ServedQueryWriter(asker, fence, fallback),
        answerer=ServedAnswerer(asker, fence, fallback),
        scorer=ServedScorer(asker, fence),
    )
