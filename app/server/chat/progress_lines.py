"""The progress of a run in short lines: one a search, and what is done with what was found."""

from __future__ import annotations

from hoptrail.agents import events
from hoptrail.app.server.chat.sanitise import sanitised
from hoptrail.app.text import one_line, shortened

_QUERY = 120
_NODES = {"answer": "Writing the answer", "verify": "Checking each claim against its quotes"}


class Progress:
    """Makes lines of the events of one run."""

    def __init__(self) -> None:
        self._round = 1

    def line(self, event: events.Event) -> str:
        """What an event means to a reader, sanitised; empty: nothing."""
        return sanitised(one_line(self._said(event)))

    def _said(self, event: events.Event) -> str:
        match event:
            case events.Waiting(ahead=ahead):
                said = f"Waiting for its turn ({ahead} before it)"
            case events.QuestionRewritten(question=question):
                said = f"Understood as: {shortened(question, _QUERY)}"
            case events.StepStarted(node=node, round=number):
                self._round = max(1, number)
                said = _NODES.get(node, "")
            case events.QueryMade(query=query):
                said = f"Hop {self._round}: searching “{shortened(query.text, _QUERY)}”"
            case events.TreeOpened(nodes=nodes):
                said = f"Searching the corpus tree of {nodes:,} nodes"
            case events.SlatesScored(iteration=iteration, best=best):
                said = f"Tree search, step {iteration}: {shortened(best, _QUERY)}"
            case _:
                said = ""
        return said
