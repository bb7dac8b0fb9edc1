"""The ranker: passages → the order in which they are worth reading.

The local player keeps the order of the search. The served ones are listwise: a model is shown
numbered passages and replies with numbers. Whatever it replies, the order is a permutation of the
passages given: a number that is unknown or comes again is dropped, a passage that is not named
comes after those that are, in the order given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Annotated

from pydantic import Field

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.budget.ledger import Share
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.types import ScoredToken
from hoptrail.agents.roles.base import Ranked, RoleResult
from hoptrail.agents.roles.common import Reply
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back, ask_with_tokens
from hoptrail.agents.roles.label_probabilities import MOST_LIKELY, number_probabilities
from hoptrail.agents.roles.reading.grounding import numbered, wrapped
from hoptrail.agents.roles.tree_scorer import kept_for_answer
from hoptrail.agents.runs.request import LONGEST_WINDOW
from hoptrail.agents.types import StopReason
from hoptrail.prompts.loader import load
from hoptrail.rag.types import Passage

_ENDING: frozenset[StopReason | None] = frozenset({"model_unavailable", "cancelled", "out_of_time"})
"""Stop reasons of a call that are the run's: of tokens and calls it has those that were kept."""


class LocalRanker:
    """The order of the search's scores."""

    async def rank(self, question: str, passages: Sequence[Passage]) -> Ranked:
        """The passages as they are given."""
        return Ranked(order=tuple(range(len(passages))))


class WindowRanker:
    """Reranking by a model in sliding windows (RankGPT, arXiv 2304.09542), by prompt `rank/order`.

    The windows go from the last passages to the first, so that a good one climbs from window to
    window. Unlike in its authors' code the last window always reaches the first passage.
    Calls of a model for n passages: 1 + ⌈max(0, n − window) / stride⌉, none for n < 2.

    Args:
        client: asks the model.
        delimiters: go around the passages.
        ranked: how many of the first passages are ranked.
        window: passages of one call.
        stride: passages that a window begins before the one below it, at most `window`.
    """

    def __init__(
        self, client: LLMClient, delimiters: Delimiters, ranked: int, window: int, stride: int
    ) -> None:
        self._client = client
        self._delimiters = delimiters
        self._ranked = ranked
        self._window = window
        self._stride = stride

    async def rank(self, question: str, passages: Sequence[Passage]) -> Ranked:
        """The passages in the order that the windows make; one without a reply stays as it is."""
        order = list(range(len(passages)))
        count = min(self._ranked, len(order))
        uses, stop = [], None
        for start, end in windows(count, self._window, self._stride):
            places = order[start:end]
            result = await self._ordered(question, [passages[place] for place in places])
            order[start:end] = [places[one] for one in result.value]
            uses += [result.use] if result.use else []
            stop = result.stop
            if stop is not None:
                break
        return Ranked(
            order=tuple(order),
            ranked=count if any(not use.failure for use in uses) else 0,
            uses=tuple(uses),
            stop=stop if stop in _ENDING else None,
        )

    async def _ordered(
        self, question: str, passages: Sequence[Passage]
    ) -> RoleResult[tuple[int, ...]]:
        """The positions of one window's passages, best first."""
        call = RoleCall(
            role="rank",
            prompt="rank/order",
            form=OrderForm,
            max_tokens=32 + 6 * LONGEST_WINDOW,
            render=lambda blocks: load("rank/order").render(
                passages=wrapped(self._delimiters, blocks), question=question
            ),
            blocks=numbered(passages),
            share=self._client.shares(1, kept_for_answer(self._client))[0],
        )

        def use(form: OrderForm, seen: Sequence[int]) -> tuple[int, ...]:
            return permutation(_named(form.order, seen), len(passages))

        async def as_given() -> RoleResult[tuple[int, ...]]:
            return RoleResult(value=tuple(range(len(passages))))

        return await ask_or_fall_back(self._client, call, use, as_given)


class UtilityRanker:
    """Utility judgments by a model, listwise, in several samples (arXiv 2403.19216).

    Utility is more than relevance: a passage on the subject that does not help to answer has none.
    Each sample shows the passages in another order, as models prefer places of a list: the first
    in the order given, the others shuffled, always alike for one question. A passage has a vote of
    each sample that names it, and passages are ordered by votes, then as given:

        votes(p) = |{s : p ∈ useful(s)}|, or Σ of the probability that s gave to p, if `scored`

    By prompt `rank/useful`, which has the model answer before it judges. Calls of a model:
    `samples`, beside each other; none for fewer than two passages.

    Args:
        client: asks the model.
        delimiters: go around the passages.
        window: how many of the first passages are judged.
        samples: how often they are.
        scored: whether a vote counts as much as the model was sure of it, where the server says.
    """

    def __init__(
        self,
        client: LLMClient,
        delimiters: Delimiters,
        window: int,
        samples: int,
        *,
        scored: bool = False,
    ) -> None:
        self._scored = scored
        self._client = client
        self._delimiters = delimiters
        self._window = window
        self._samples = samples

    async def rank(self, question: str, passages: Sequence[Passage]) -> Ranked:
        """The passages, those with more votes first; without a usable reply as they are given."""
        count = min(self._window, len(passages))
        everything = tuple(range(len(passages)))
        if count < 2:
            return Ranked(order=everything)
        shares = self._client.shares(self._samples, kept_for_answer(self._client))
        orders = shuffled(count, self._samples, question)
        results = await gather_or_cancel(
            self._useful(question, passages, order, share)
            for order, share in zip(orders, shares, strict=True)
        )
        judged = any(one.use is not None and not one.use.failure for one in results)
        votes = [
            round(sum(one.value.get(place, 0.0) for one in results), 6) for place in everything
        ]
        first = sorted(range(count), key=lambda place: -votes[place])
        return Ranked(
            order=(*first, *everything[count:]),
            ranked=count if judged else 0,
            votes=tuple(votes) if judged else (),
            uses=tuple(one.use for one in results if one.use is not None),
            stop=next((one.stop for one in results if one.stop in _ENDING), None),
        )

    async def _useful(
        self, question: str, passages: Sequence[Passage], order: Sequence[int], share: Share
    ) -> RoleResult[Mapping[int, float]]:
        """The passages that one sample finds useful, by position in the order given: its votes."""
        call = RoleCall(
            role="judge_utility",
            prompt="rank/useful",
            form=UsefulForm,
            max_tokens=96 + 6 * LONGEST_WINDOW,
            render=lambda blocks: load("rank/useful").render(
                passages=wrapped(self._delimiters, blocks), question=question
            ),
            blocks=numbered([passages[place] for place in order]),
            share=share,
            logprobs=MOST_LIKELY if self._scored else 0,
        )

        def use(
            form: UsefulForm, seen: Sequence[int], tokens: Sequence[ScoredToken]
        ) -> Mapping[int, float]:
            sure = number_probabilities(tokens, "useful")
            return {order[place]: sure.get(place + 1, 1.0) for place in _named(form.useful, seen)}

        async def none() -> RoleResult[Mapping[int, float]]:
            return RoleResult(value={})

        return await ask_with_tokens(self._client, call, use, none)


class OrderForm(Reply):
    """The ranker's reply: numbers of passages, best first."""

    order: Annotated[list[Annotated[int, Field(ge=0, le=99)]], Field(max_length=LONGEST_WINDOW)]


class UsefulForm(Reply):
    """A utility judgment: an answer, then the numbers of the passages that help to give it."""

    answer: Annotated[str, Field(max_length=120)]
    useful: Annotated[list[Annotated[int, Field(ge=0, le=99)]], Field(max_length=LONGEST_WINDOW)]


def windows(count: int, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each window over `count` places, from the last to the first."""
    end = count
    while count > 1:
        start = max(0, end - size)
        yield start, end
        if start == 0:
            return
        end -= stride


def shuffled(count: int, samples: int, seed: str) -> list[list[int]]:
    """Orders of `count` places: as they are, then shuffled, always alike for one seed."""
    orders = [list(range(count)) for _ in range(samples)]
    for number, order in enumerate(orders[1:], 1):
        Random(f"{seed}\0{number}").shuffle(order)
    return orders


def permutation(first: Iterable[int], count: int) -> tuple[int, ...]:
    """All of `count` places, those given first, each once."""
    return tuple(dict.fromkeys((*first, *range(count))))


def _named(numbers: Iterable[int], seen: Sequence[int]) -> Iterator[int]:
    """The places that numbers from 1 stand for, of the passages that the model was shown."""
    return (number - 1 for number in numbers if number - 1 in seen)
