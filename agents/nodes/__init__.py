"""The nodes of the agent graph: functions of a run's state and context to what they change."""

from hoptrail.agents.nodes.answering import answer, answer_briefly, receipt, verify
from hoptrail.agents.nodes.planning import assess, next_query, plan
from hoptrail.agents.nodes.refining import read, refine
from hoptrail.agents.nodes.regenerating import feed_back
from hoptrail.agents.nodes.retrieval import retrieve
from hoptrail.agents.nodes.rewriting import rewrite
from hoptrail.agents.nodes.tree_navigator import navigate

__all__ = [
    "answer",
    "answer_briefly",
    "assess",
    "feed_back",
    "navigate",
    "next_query",
    "plan",
    "read",
    "receipt",
    "refine",
    "retrieve",
    "rewrite",
    "verify",
]
