"""The nodes of the agent graph: functions of a run's state and context to what they change."""

from hoptrail.agents.nodes.answering import answer, answer_briefly, receipt, verify
from hoptrail.agents.nodes.plan_steps import next_steps, plan_steps, read_steps, search_step
from hoptrail.agents.nodes.planning import assess, next_query, plan
from hoptrail.agents.nodes.reasoning import answer_follow_up, ask_next, follow_up, think, track
from hoptrail.agents.nodes.refining import read, refine
from hoptrail.agents.nodes.regenerating import feed_back
from hoptrail.agents.nodes.retrieval import retrieve
from hoptrail.agents.nodes.rewriting import rewrite
from hoptrail.agents.nodes.routing import route
from hoptrail.agents.nodes.tree_navigator import navigate

__all__ = [
    "answer",
    "answer_briefly",
    "answer_follow_up",
    "ask_next",
    "assess",
    "feed_back",
    "follow_up",
    "navigate",
    "next_query",
    "next_steps",
    "plan",
    "plan_steps",
    "read",
    "read_steps",
    "receipt",
    "refine",
    "retrieve",
    "rewrite",
    "route",
    "search_step",
    "think",
    "track",
    "verify",
]
