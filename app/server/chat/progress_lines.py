"""The progress of a run: a short line for each search, and the answer while it is written."""

from __future__ import annotations

from hoptrail.agents import events
from hoptrail.app.server.chat.sanitise import Sanitiser, sanitised
from hoptrail.app.text import one_line, shortened

_QUERY = 120
_NODES = {"answer": "Writing the answer", "verify": "Checking each claim against its quotes"}


class Progress:
    """Makes texts for a reader of the events of one run; all are sanitised."""

    def __init__(self) -> None:
        self._round = 1
        self._said = ""
        self._draft = Sanitiser()

    def line(self, event: events.Event) -> str:
        """What an event means; empty: nothing, or what was said last."""
        line = sanitised(one_line(self._meaning(event)))
        if line == self._said:
            return ""
        self._said = line or self._said
        return line

    def draft(self, event: events.Event) -> str:
        """The next piece of the answer that is being written; empty: there is none."""
        match event:
            case events.AnswerDelta(text=text, restart=restart):
                before = f"{self._draft.end()}\n" if restart else ""
                return before + self._draft.feed(text)
            case events.ClaimVerified():
                return self._draft.end()
            case _:
                return ""

    def _meaning(self, event: events.Event) -> str:
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
