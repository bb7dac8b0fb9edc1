"""The text of an answer with numbered marks, its sources, and where each mark stands.

Marks are written by code, from the claims' evidence: a model's own `[2]` becomes `(2)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.types import Evidence
from hoptrail.app.receipts import ABSTAINED, OWN_WORDS, STOPPED, cited_evidence
from hoptrail.app.server.chat.sanitise import AllowedLinks, sanitised
from hoptrail.app.server.links import Links
from hoptrail.app.text import one_line, shortened, without_citations

SOURCES_HEADING = "\n\n**Sources**\n"
_TITLE = 200
_FENCES = (("```", "'''"), ("~~~", "~ ~ ~"))
_BRACKETS = str.maketrans("[]", "()", "\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedSource:
    """A quote that the answer cites, by the number of its marks."""

    number: int
    title: str
    url: str
    """Where a browser shows the document with the quote marked."""
    evidence: Evidence
    quote: str
    """Sanitised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark such as `[2]`: `text[start:end]`."""

    start: int
    end: int
    source: NumberedSource

    def annotation(self) -> dict[str, Any]:
        """The mark as a `url_citation` of OpenAI's chat completions."""
        return {
            "type": "url_citation",
            "url_citation": {
                "start_index": self.start,
                "end_index": self.end,
                "url": self.source.url,
                "title": self.source.title,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedAnswer:
    """The text of an answer, its marks in order, and the sources in the order of citation."""

    text: str
    marks: tuple[Mark, ...]
    sources: tuple[NumberedSource, ...]

    def cut(self, end: int) -> CitedAnswer:
        """The first `end` characters, with the marks that are whole in them."""
        marks = tuple(mark for mark in self.marks if mark.end <= end)
        return CitedAnswer(text=self.text[:end], marks=marks, sources=self.sources)


def cited_answer(
    receipt: Receipt, links: Links, beginnings: tuple[str, ...] = (), *, listed: bool
) -> CitedAnswer:
    """The answer of a receipt as it is shown.

    Args:
        receipt: of the run.
        links: makes the sources' addresses.
        beginnings: of addresses that the answer may link to, besides those in its quotes.
        listed: whether a list of the sources ends it.
    """
    cited = cited_evidence(receipt)
    allowed = AllowedLinks.of((item.quote for item in cited), beginnings)
    sources = tuple(
        NumberedSource(
            number=number,
            title=source_title(item),
            url=links.to(item.document_id, item.start, item.end),
            evidence=item,
            quote=sanitised(item.quote, allowed),
        )
        for number, item in enumerate(cited, 1)
    )
    text, marks = _marked(receipt, {one.evidence.id: one for one in sources}, allowed)
    if listed and sources:
        text += SOURCES_HEADING + "\n".join(_listed(sources))
    return CitedAnswer(text=text, marks=marks, sources=sources)


def source_title(item: Evidence) -> str:
    """The title of a quote's document, as the text of a link."""
    title = shortened(one_line(item.title or item.document_id), _TITLE)
    return sanitised(title.translate(_BRACKETS))


def _marked(
    receipt: Receipt, sources: dict[str, NumberedSource], allowed: AllowedLinks
) -> tuple[str, tuple[Mark, ...]]:
    """The paragraphs of an answer, each followed by its marks."""
    text, marks = "", []
    for paragraph, evidence in _paragraphs(receipt):
        text += ("\n\n" if text else "") + _plain(paragraph, allowed)
        for at, source in enumerate(sources[one] for one in evidence if one in sources):
            text += "" if at else " "
            start = len(text)
            text += f"[{source.number}]"
            marks.append(Mark(start=start, end=len(text), source=source))
    return text, tuple(marks)


def _paragraphs(receipt: Receipt) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What an answer says, each part with the ids of its evidence."""
    if receipt.outcome.kind == "abstained":
        reason = receipt.outcome.reason
        yield f"No answer: {ABSTAINED[reason] if reason else STOPPED[receipt.stop]}.", ()
        return
    claims = [(claim.text, claim.evidence) for claim in receipt.claims]
    if receipt.extractive:
        yield OWN_WORDS[receipt.outcome.reason == "nothing_verified"], ()
    elif receipt.answer and all(text != receipt.answer for text, _ in claims):
        yield receipt.answer, ()
    yield from claims


def _plain(text: str, allowed: AllowedLinks) -> str:
    """A paragraph on one line, without markup that would swallow what follows it."""
    text = without_citations(" ".join(one_line(text).split()))
    for fence, instead in _FENCES:
        text = text.replace(fence, instead)
    return sanitised(text, allowed)


def _listed(sources: tuple[NumberedSource, ...]) -> Iterator[str]:
    for source in sources:
        yield f"{source.number}. [{source.title}]({source.url})"
