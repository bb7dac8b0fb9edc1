"""The passage graph searched: guided hops, neighbourhoods, entity profiles."""

from hoptrail.rag.passage_graph.entity_profile import EntityProfile, entity_profile
from hoptrail.rag.passage_graph.guided_hops import HopResult
from hoptrail.rag.passage_graph.neighbourhood import (
    neighbourhood,
    neighbourhood_of_passages,
    neighbourhood_text,
)
from hoptrail.rag.passage_graph.neighbourhood_builder import Neighbourhood, NeighbourhoodLimits
from hoptrail.rag.passage_graph.shared_entities import SharedEntity, shared_entities

__all__ = [
    "EntityProfile",
    "HopResult",
    "Neighbourhood",
    "NeighbourhoodLimits",
    "SharedEntity",
    "entity_profile",
    "neighbourhood",
    "neighbourhood_of_passages",
    "neighbourhood_text",
    "shared_entities",
]
