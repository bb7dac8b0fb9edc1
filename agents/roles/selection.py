"""Selection of the players: the local ones, or those of a served model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.roles.answerer import LocalAnswerer, ServedAnswerer
from hoptrail.agents.roles.assessor import LocalAssessor, ServedAssessor
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.planner import LocalPlanner, ServedPlanner
from hoptrail.agents.roles.query_writer import GraphQueryWriter, LocalQueryWriter, ServedQueryWriter
from hoptrail.agents.roles.refiner import LocalRefiner, ServedRefiner
from hoptrail.agents.roles.tree_scorer import LocalScorer, ServedScorer
from hoptrail.rag.errors import ModelError
from hoptrail.rag.types import Mode


def local_roles(
    corpus: Corpus, seconds_left: Callable[[], float], mode: Mode | None = None
) -> Roles:
    """The local players of all six roles: rules, words and the embedder, no language model.

    Args:
        corpus: its embedder measures the similarity of sentences.
        seconds_left: seconds that the run has left; at 0 nothing more is embedded.
        mode: how the question is searched; a search of the passage graph follows names by itself.
    """
    return Roles(
        planner=LocalPlanner(),
        refiner=LocalRefiner(corpus, seconds_left),
        assessor=LocalAssessor(),
        query_writer=GraphQueryWriter() if mode == "graph" else LocalQueryWriter(),
        answerer=LocalAnswerer(),
        scorer=LocalScorer(corpus, seconds_left),
    )


def served_roles(client: LLMClient, delimiters: Delimiters, fallback: Roles) -> Roles:
    """The served players of all six roles; `fallback` is used where a reply cannot be."""
    return Roles(
        planner=ServedPlanner(client, fallback),
        refiner=ServedRefiner(client, delimiters, fallback),
        assessor=ServedAssessor(client, delimiters, fallback),
        query_writer=ServedQueryWriter(client, delimiters, fallback),
        answerer=ServedAnswerer(client, delimiters, fallback),
        scorer=ServedScorer(client, delimiters),
    )


async def prepared_roles(
    endpoint: RetryingEndpoint, ledger: Ledger, delimiters: Delimiters, *, fallback: Roles
) -> tuple[Roles, str]:
    """The served roles and the model's name, once the server has said what it is.

    Raises:
        ModelError: it has no such model, or does not answer before the budget's seconds pass.
    """
    client = LLMClient(endpoint)
    try:
        info = await asyncio.wait_for(client.prepare(), ledger.seconds_left())
    except TimeoutError as error:
        raise ModelError(
            f"The model server did not answer GET /v1/models within {ledger.budget.seconds:g} s: "
            "look at its log, give the run more seconds, or ask without a model."
        ) from error
    return served_roles(client, delimiters, fallback), info.model
