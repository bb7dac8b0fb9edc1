"""Label probabilities: how sure a model was of the labels and numbers that it replied with.

A server that gives log probabilities (`logprobs` of OpenAI's API) says at each token of a reply
which others were likely. The probability of a label is its share of what all labels have at the
token in which they begin to differ:

    p(label) = Σ exp(logprob of t) over tokens t that begin `label` / the same over all labels

Servers report what the model would have written without a grammar (vLLM: `raw_logprobs`), so
tokens that begin no label are left out before the shares are taken. Exact scores of given token
ids (vLLM's `logprob_token_ids`) need the server's tokenizer; this works on any server. Where
nothing can be said, callers go by the reply itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from hoptrail.agents.llm.types import ScoredToken

MOST_LIKELY = 5
"""Likely tokens that are asked for at each place: what every server that has them gives."""


def label_shares(
    tokens: Sequence[ScoredToken], key: str, labels: Sequence[str]
) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """Each value of a key of a JSON reply, in order, and the probability of each label there.

    Args:
        tokens: the reply.
        key: a name, whose values are among the labels.
        labels: they begin with different letters.

    Returns:
        Pairs of what was replied and the shares, 0..1, which sum to 1; no shares where none of the
        likely tokens begins a label.
    """
    text = "".join(token.text for token in tokens)
    found = re.finditer(rf'"{re.escape(key)}"\s*:\s*"([^"]*)"', text)
    return tuple((one[1], _shares(*_at(tokens, one.start(1)), labels)) for one in found)


def number_probabilities(tokens: Sequence[ScoredToken], key: str) -> dict[int, float]:
    """The numbers in the last list of a key of a JSON reply, each with its probability, 0..1."""
    text = "".join(token.text for token in tokens)
    lists = list(re.finditer(rf'"{re.escape(key)}"\s*:\s*\[([^\]]*)\]', text))
    if not lists:
        return {}
    begin, end = lists[-1].span(1)
    numbers = re.compile(r"\d+").finditer(text, begin, end)
    return {int(one[0]): _probability(tokens, one.start(), one.end()) for one in numbers}


def _shares(token: ScoredToken, prefix: str, labels: Sequence[str]) -> Mapping[str, float]:
    """The share of each label at the token in which it begins, after `prefix`."""
    masses = dict.fromkeys(labels, 0.0)
    for text, logprob in {**token.likely, token.text: token.logprob}.items():
        rest = text[len(prefix) :] if text.startswith(prefix) else ""
        begun = [one for one in labels if rest and (one.startswith(rest) or rest.startswith(one))]
        if len(begun) == 1:
            masses[begun[0]] += math.exp(min(0.0, logprob))
    total = sum(masses.values())
    return {one: mass / total for one, mass in masses.items()} if total > 0 else {}


def _probability(tokens: Sequence[ScoredToken], begin: int, end: int) -> float:
    """The probability of the tokens that have the characters from `begin` to `end`."""
    spans = _spans(tokens)
    touched = (token for token, start, stop in spans if start < end and begin < stop)
    return math.exp(min(0.0, sum(token.logprob for token in touched)))


def _at(tokens: Sequence[ScoredToken], place: int) -> tuple[ScoredToken, str]:
    """The token that has the character at a place, and what it has before that."""
    for token, start, stop in _spans(tokens):
        if start <= place < stop:
            return token, token.text[: place - start]
    return ScoredToken(text="", logprob=-math.inf), ""


def _spans(tokens: Sequence[ScoredToken]) -> Iterator[tuple[ScoredToken, int, int]]:
    """Each token with the places at which it begins and ends."""
    ends = accumulate(len(token.text) for token in tokens)
    return ((token, end - len(token.text), end) for token, end in zip(tokens, ends, strict=True))
