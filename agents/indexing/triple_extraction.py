"""Triple extraction (open information extraction): a served model reads passages for the graph.

One question a passage. A reply is checked before it is kept: a triple whose names do not stand in
its passage or title is the model's invention (or an intruder's, who wrote it into a document) and
is left out.

What triples add to a search depends on the text. On 100 questions of MuSiQue with triples by
gpt-3.5, recall@5 of mode `graph` gained nothing where names have capitals, and 1 to 2 points where
the text was in lower case throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from hoptrail.agents.indexing.model_build import ModelSession
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.token_estimate import TokenEstimate, prompt_tokens
from hoptrail.prompts.loader import Rendered, load
from hoptrail.rag.entities.words import CAPITAL, DIGIT, split_words
from hoptrail.rag.text.tokens import count_tokens
from hoptrail.rag.types import Passage

Parts = tuple[str, str, str]
"""Subject, relation, object."""

_REPLY_LEAST, _REPLY_MOST = 128, 4096
_REPLY_RATIO = 4
"""Reply tokens per token of the passage, at most. Of 1,890 passages read by gpt-3.5 one in 500 had
more; the usual passage had 1.6."""

_USUAL_RATIO = 1.7
"""Reply tokens per token of the passage, usually."""

_Part = Annotated[str, Field(max_length=100)]


class TriplesForm(BaseModel):
    """The reader's reply."""

    # Lists of three cost a third less than objects with named fields.
    triples: Annotated[
        list[Annotated[list[_Part], Field(min_length=3, max_length=3)]], Field(max_length=40)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionResult:
    """Triples of one passage, or why there are none."""

    triples: tuple[Parts, ...] = ()
    invented: int = 0
    """Triples left out because the passage does not name what they name."""
    failure: str = ""
    """Why there is no reply to use; empty: there was one."""
    detail: str = ""
    """What went wrong, for people."""


def rendered(passage: Passage, delimiters: Delimiters) -> Rendered:
    """The prompt for a passage."""
    title = " ".join(passage.title.split())
    body = f"Title: {title}\n{passage.text}" if title else passage.text
    return load("graph/extract_triples").render(passage=delimiters.wrap("passage", body))


def size(passage: Passage, delimiters: Delimiters) -> TokenEstimate:
    """Tokens that extraction from a passage takes, by tiktoken's count."""
    own = count_tokens(passage.text)
    return TokenEstimate(
        prompt=prompt_tokens(rendered(passage, delimiters)),
        usual=round(_USUAL_RATIO * own),
        most=reply_tokens(own),
    )


def reply_tokens(passage_tokens: int) -> int:
    """The most tokens that the reply about a passage of so many tokens may have."""
    return min(_REPLY_MOST, _REPLY_LEAST + _REPLY_RATIO * passage_tokens)


async def extract_triples(session: ModelSession, passage: Passage) -> ExtractionResult:
    """Triples of one passage, extracted by the session's model.

    Raises:
        OutOfBudget: nothing is left for the passage; it counts as not tried.
    """
    asked = await session.ask(
        "openie",
        rendered(passage, session.delimiters),
        json_reply(TriplesForm),
        reply_tokens(count_tokens(passage.text)),
    )
    if asked.value is None:
        failure, detail = session.failure(asked)
        return ExtractionResult(failure=failure, detail=detail)
    found = dict.fromkeys(
        (_one_line(subject), _one_line(relation), _one_line(thing))
        for subject, relation, thing in asked.value.triples
    )
    kept = supported(list(found), passage)
    return ExtractionResult(triples=kept, invented=len(found) - len(kept))


def supported(triples: Sequence[Parts], passage: Passage) -> tuple[Parts, ...]:
    """Triples whose subject and object are named by the passage or its title.

    Every capitalised word and every number of subject and object must stand there, and at least
    one word of each.
    """
    known = set(split_words(f"{passage.title}\n{passage.text}").keys)
    return tuple(
        one for one in triples if all(one) and _is_named(one[0], known) and _is_named(one[2], known)
    )


def _one_line(part: str) -> str:
    """The part on one line."""
    return " ".join(part.split())


def _is_named(name: str, known: set[int]) -> bool:
    found = split_words(name)
    if not known.intersection(found.keys):
        return False
    return all(
        key in known
        for key, kind in zip(found.keys, found.kinds, strict=True)
        if kind & (CAPITAL | DIGIT)
    )
