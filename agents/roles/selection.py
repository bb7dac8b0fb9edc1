"""Selection of the players: the local ones, or those of a served model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import ModelUnavailable
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.reading.answerer import LocalAnswerer, ServedAnswerer
from hoptrail.agents.roles.reading.passage_reader import LocalReader, ServedReader
from hoptrail.agents.roles.reading.ranker import LocalRanker, UtilityRanker, WindowRanker
from hoptrail.agents.roles.reading.refiner import LocalRefiner, ServedRefiner
from hoptrail.agents.roles.searching.assessor import LocalAssessor, ServedAssessor
from hoptrail.agents.roles.searching.planner import LocalPlanner, ServedPlanner
from hoptrail.agents.roles.searching.query_expansion import EXPANSIONS, ExpandingQueryWriter
from hoptrail.agents.roles.searching.query_writer import (
    GraphQueryWriter,
    LocalQueryWriter,
    ServedQueryWriter,
)
from hoptrail.agents.roles.searching.reasoner import LocalReasoner, ServedReasoner
from hoptrail.agents.roles.searching.rewriter import LocalRewriter, ServedRewriter
from hoptrail.agents.roles.searching.step_planner import LocalStepPlanner, ServedStepPlanner
from hoptrail.agents.roles.tree_scorer import LocalScorer, ServedScorer
from hoptrail.agents.roles.verifier import EntailmentVerifier, LocalVerifier, ServedEntailment
from hoptrail.agents.runs.models import OpenModels
from hoptrail.agents.runs.request import RunSettings
from hoptrail.rag.types import Mode


def local_roles(
    corpus: Corpus, seconds_left: Callable[[], float], mode: Mode | None = None
) -> Roles:
    """The local players of all roles: rules, words and the embedder, no language model.

    Args:
        corpus: its embedder measures the similarity of sentences.
        seconds_left: seconds that the run has left; at 0 nothing more is embedded.
        mode: how the question is searched; a search of the passage graph follows names by itself.
    """
    query_writer = GraphQueryWriter() if mode == "graph" else LocalQueryWriter()
    return Roles(
        rewriter=LocalRewriter(),
        planner=LocalPlanner(),
        step_planner=LocalStepPlanner(),
        ranker=LocalRanker(),
        refiner=LocalRefiner(corpus, seconds_left),
        assessor=LocalAssessor(),
        query_writer=query_writer,
        answerer=LocalAnswerer(),
        reader=LocalReader(),
        reasoner=LocalReasoner(query_writer),
        verifier=LocalVerifier(),
        scorer=LocalScorer(corpus, seconds_left),
    )


def served_roles(
    clients: Mapping[str, LLMClient],
    delimiters: Delimiters,
    fallback: Roles,
    settings: RunSettings,
) -> Roles:
    """The served players of the roles that have a client; `fallback` where a reply cannot be used.

    A role without a client is the fallback's, and so is the refiner where models read whole
    passages: its choice of sentences would be a call for nothing. Claims are verified by code
    alone, unless `verification` says otherwise: then by the model as well. A model that reads
    poorly drops true claims (`evals.benchmarks.verification` measures it).
    """
    players: dict[str, Callable[[LLMClient], Any]] = {
        "rewriter": lambda client: ServedRewriter(client, delimiters, fallback),
        "planner": lambda client: ServedPlanner(client, fallback),
        "step_planner": lambda client: ServedStepPlanner(client, delimiters, fallback),
        "refiner": lambda client: ServedRefiner(client, delimiters, fallback),
        "assessor": lambda client: ServedAssessor(client, delimiters, fallback),
        "query_writer": lambda client: ServedQueryWriter(client, delimiters, fallback),
        "answerer": lambda client: ServedAnswerer(client, delimiters, fallback),
        "reader": lambda client: ServedReader(client, delimiters, fallback),
        "reasoner": lambda client: ServedReasoner(client, delimiters, fallback),
        "scorer": lambda client: ServedScorer(client, delimiters),
    }
    if settings.context == "passages":
        del players["refiner"]
    if settings.rank_by == "windows":
        players["ranker"] = lambda client: WindowRanker(
            client, delimiters, settings.ranked, settings.rank_window, settings.rank_stride
        )
    elif settings.rank_by == "utility":
        players["ranker"] = lambda client: UtilityRanker(
            client,
            delimiters,
            settings.rank_window,
            settings.rank_samples,
            scored=settings.label_probabilities,
        )
    if settings.query_writer in EXPANSIONS:
        players["query_writer"] = lambda client: ExpandingQueryWriter(
            client, delimiters, fallback, EXPANSIONS[settings.query_writer]
        )
    if settings.verification != "code":
        players["verifier"] = lambda client: EntailmentVerifier(
            ServedEntailment(
                client,
                delimiters,
                proofs=settings.verification == "natural_logic",
                scored=settings.label_probabilities,
            )
        )
    served = {role: play(clients[role]) for role, play in players.items() if role in clients}
    return replace(fallback, **served)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRoles:
    """The roles of a run once its servers have said what they are."""

    roles: Roles
    model: str = ""
    """Name of the model that answers, or else of the first that plays a role; empty: none does."""
    flags: tuple[str, ...] = ()
    """Servers that did not answer in time, so that the local players stand in."""


async def prepared_roles(
    servers: Mapping[str, RetryingEndpoint],
    models: OpenModels,
    delimiters: Delimiters,
    *,
    seconds: float,
    fallback: Roles,
    settings: RunSettings,
) -> PreparedRoles:
    """The roles of a run, played by its models.

    Args:
        servers: the endpoints of the models, by name.
        models: which of them plays which role.
        delimiters: go around retrieved text.
        seconds: the longest that the probe of one server may take.
        fallback: the local players.
        settings: what the models read, and which of the roles' options are on.

    Raises:
        ModelError: a server cannot be used: a wrong key, no such model, nothing at the address.
    """
    ready, flags = dict[str, str](), list[str]()
    for name, endpoint in servers.items():
        try:
            ready[name] = (await LLMClient(endpoint).prepare(seconds=seconds)).model
        except (ModelUnavailable, TimeoutError) as error:
            reason = str(error) or f"The model server does not say what it is in {seconds:.3g} s."
            flags.append(f"start: {reason} The local players stand in.")
    clients = {
        role: LLMClient(servers[one.server], thinking=one.thinking)
        for role, one in models.roles.items()
        if one.server in ready
    }
    names = {role: ready[models.roles[role].server] for role in clients}
    return PreparedRoles(
        roles=served_roles(clients, delimiters, fallback, settings),
        model=names.get("answerer", next(iter(names.values()), "")),
        flags=tuple(flags),
    )
