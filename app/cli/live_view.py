"""Live view of a run: its events, drawn on stderr while it lasts.

The view is removed when the run is over; the receipt has everything it showed. Nothing is drawn if
stderr is no terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from hoptrail.agents.events import (
    Admitted,
    AnswerDelta,
    ClaimVerified,
    Done,
    EvidenceAdded,
    HitsFound,
    PlanMade,
    QueryMade,
    QuestionRewritten,
    SlatesScored,
    StepStarted,
    TreeOpened,
    Waiting,
)
from hoptrail.app.text import one_line, plural, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoptrail.agents.events import Event

    _ListedEvent = (
        PlanMade
        | QuestionRewritten
        | QueryMade
        | HitsFound
        | TreeOpened
        | SlatesScored
        | EvidenceAdded
        | ClaimVerified
    )

_DOING = {
    "rewrite": "reading the conversation",
    "plan": "listing what must be known",
    "route": "choosing how far to search",
    "plan_steps": "planning the searches",
    "read_steps": "reading what the steps found",
    "retrieve": "searching",
    "navigate": "searching the tree",
    "refine": "reading",
    "assess": "judging the evidence",
    "next_query": "looking for what is missing",
    "answer": "answering",
    "verify": "checking the claims against their quotes",
    "receipt": "writing the receipt",
}


class LiveView:
    """Event listener that draws a run; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        """`console`: where to draw; None: stderr."""
        self._console = console or Console(stderr=True)
        self._lines: list[Text] = []
        self._answer = ""
        self._spinner = Spinner("dots", Text("starting"))
        self._live = Live(console=self._console, transient=True, refresh_per_second=8)
        self._drawing = self._console.is_terminal

    def __enter__(self) -> Self:
        if self._drawing:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawing:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Adds an event to the view and draws it."""
        self._add(event)
        if self._drawing:
            self._live.update(self.render())

    def render(self) -> Group:
        """Content of the screen: the latest lines that fit, the answer so far, the current step."""
        room = max(4, self._console.size.height - 4)
        answer = [Text(shortened(one_line(self._answer), 400))] if self._answer else []
        return Group(*self._lines[-room:], *answer, self._spinner)

    def _add(self, event: Event) -> None:
        match event:
            case StepStarted(node=node, round=number):
                doing = _DOING.get(node, node)
                self._spinner.update(text=Text(f"round {number}: {doing}" if number else doing))
            case AnswerDelta():
                self._answer = event.onto(self._answer)
            case Waiting(ahead=ahead):
                self._spinner.update(text=Text(f"waiting: {plural(ahead, 'run')} first"))
            case Admitted():
                self._spinner.update(text=Text("begins"))
            case Done():
                self._spinner.update(text=Text("done"))
            case _:
                room = max(8, self._console.width - 7)
                self._lines += [
                    Text(f"{head:<7}{shortened(one_line(text), room)}", style=style)
                    for head, text, style in _lines(event)
                ]


def _lines(event: _ListedEvent) -> Iterator[tuple[str, str, str]]:  # noqa: C901 (a case an event)
    """Lines that an event adds to the view: heading, text, style."""
    match event:
        case PlanMade(plan=plan):
            yield from (("needs", need.text, "bold") for need in plan.needs)
            yield from ((step.id, step.question, "bold") for step in plan.steps)
        case QuestionRewritten(question=question):
            yield "asks", question, "bold"
        case QueryMade(query=query):
            yield "query", query.text, "cyan"
        case HitsFound(titles=titles, count=count):
            yield "", f"{count} passages: {', '.join(titles)}", "dim"
        case TreeOpened():
            yield "tree", _tree_size(event), "cyan"
        case SlatesScored():
            yield "", _scored_children(event), "dim"
        case EvidenceAdded(evidence=evidence):
            yield "quote", f"{evidence.title}: {evidence.quote}", "green"
        case ClaimVerified(claim=claim):
            holds = claim.verdict == "holds"
            yield "claim", f"{'✓' if holds else '✗'} {claim.text}", "green" if holds else "red"
        case _:
            assert_never(event)


def _tree_size(event: TreeOpened) -> str:
    size = f"{plural(event.leaves, 'leaf', 'leaves')} in {plural(event.nodes, 'node')}"
    return f"{size}, built just now without a model" if event.built else size


def _scored_children(event: SlatesScored) -> str:
    scored = sum(len(one.shown) - one.anchors for one in event.slates)
    best = f", best: {event.best}" if event.best else ""
    return f"{event.iteration}. {plural(scored, 'child', 'children')} scored{best}"
