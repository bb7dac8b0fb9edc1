"""The router: cheap signals of a question and of its first search → how far to search.

No model is asked. What the question names and its shape (rules of `decomposition`) say whether it
takes several documents; the first search says whether one passage has it all. How many passages
name the subject takes the place of WiTQA's popularity (arXiv 2402.13492): of a rare subject the
best passage is the right one, of a popular one it may be another's. Scores are compared within
one ranking, since their unit is the embedder's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hoptrail.agents.roles.common import content_words
from hoptrail.agents.roles.searching.decomposition import decompose
from hoptrail.rag.entities.surface import casefolded, proper_names
from hoptrail.rag.types import Passage

Route = Literal["", "no_documents", "single", "undecided", "multi_hop"]
"""`no_documents`: nothing to search for; `single`: answered from the first search; `undecided`:
an assessor decides; `multi_hop`: searched until the evidence suffices; empty: not decided yet."""

COVERED = 0.75
"""Share of the question's content words, 0..1, from which a passage seems to have it all."""
RARE = 3
"""A subject that so many of the first passages name, or fewer, is rare."""
GAP = 0.15
"""How far the second score must be below the best, as a part of it, for a best one to stand out."""

_SUM = re.compile(
    r"\s*(?:(?:what(?:'s| is)|how much is|calculate|compute|solve)\s+)?"
    r"[-+(]*\d[\d.,]*(?:\s*[-+*/x×÷^%()]+\s*\d[\d.,]*)+[\s)=?.!]*",
    re.IGNORECASE,
)
_SMALLTALK = re.compile(
    r"\s*(?:hi|hello|hey|thanks|thank you(?: very much)?|good (?:morning|afternoon|evening|night)|"
    r"how are you(?: today)?|bye|goodbye)(?: there)?[\s!.?]*",
    re.IGNORECASE,
)


def asks_no_document(question: str) -> bool:
    """Whether a question is plainly a sum of numbers or small talk; in doubt it is not."""
    return bool(_SUM.fullmatch(question) or _SMALLTALK.fullmatch(question))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The signals of one question and of its first search."""

    steps: int
    """Steps that the rules take the question apart into."""
    unnamed: tuple[str, ...]
    """Names of the question that no passage found mentions."""
    covered: float
    """0..1: share of the question's content words that the best passage has."""
    whole: bool
    """Whether the best passage mentions every name of the question."""
    gap: float
    """0..1: how far the second score is below the best, as a part of it."""
    naming: int
    """Number of passages found that name the rarest name of the question."""

    @property
    def reasons(self) -> str:
        """The signals in words."""
        lacking = f"; nowhere named: {', '.join(self.unnamed)}" if self.unnamed else ""
        names = "all" if self.whole else "not all"
        return (
            f"{self.steps} steps by its shape; the best passage has {self.covered:.0%} of its words"
            f" and {names} of its names, {self.gap:.0%} ahead of the next; {self.naming} passages "
            f"name its subject{lacking}"
        )


def signals_of(question: str, passages: Sequence[Passage], scores: Sequence[float]) -> Signals:
    """The signals of a question and of the passages that its first search found.

    Args:
        question: as it is worked on.
        passages: best first.
        scores: theirs, in any one unit, highest first.
    """
    texts = [casefolded(f"{one.title} {one.text}") for one in passages]
    counts = {
        name: sum(casefolded(name) in text for text in texts) for name in proper_names(question)
    }
    asked, best = content_words(question), texts[0] if texts else ""
    second = scores[1] if len(scores) > 1 else 0.0
    top = scores[0] if scores else 0.0
    return Signals(
        steps=len(decompose(question)),
        unnamed=tuple(name for name, count in counts.items() if not count),
        covered=len(asked & content_words(best)) / max(1, len(asked)) if best else 0.0,
        whole=bool(best) and all(casefolded(name) in best for name in counts),
        gap=max(0.0, 1 - second / top) if top > 0 else 0.0,
        naming=min(counts.values(), default=0),
    )


def route_of(signals: Signals) -> Route:
    """How far to search: `undecided` where shape and search disagree."""
    one_document = signals.steps == 1
    stands_out = signals.gap >= GAP or 0 < signals.naming <= RARE
    found = signals.covered >= COVERED and signals.whole and stands_out
    if one_document and found:
        return "single"
    return "undecided" if one_document or found else "multi_hop"
