"""The strategies: which nodes run in which order, one file a strategy."""

from hoptrail.agents.strategies.graph import RunGraph, Strategy, add_nodes, unless_stopped
from hoptrail.agents.strategies.registry import STRATEGIES, strategy

__all__ = ["STRATEGIES", "RunGraph", "Strategy", "add_nodes", "strategy", "unless_stopped"]
