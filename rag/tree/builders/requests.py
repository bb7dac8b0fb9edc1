"""What building a tree asks of a language model: requests out, replies in.

A builder is a generator. It yields all requests that can be answered side by side and is sent their
replies in the same order; None stands for a reply that could not be had, for which it has words of
its own. Equal inputs give equal requests in equal order, so a build that was cut short goes on by
being run again with the replies that were kept.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from hoptrail.rag.tree.types import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRequest:
    """Prompt S: what the children of a node share and what tells it from others."""

    texts: tuple[str, ...]
    """The children's texts, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorsRequest:
    """Prompt K: five descriptors of one document, from one or two words to a short description."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A group of descriptors."""

    name: str
    description: str
    descriptors: tuple[str, ...]
    """Copied from the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsRequest:
    """Prompt T: descriptors and how many leaves have each → groups."""

    descriptors: tuple[tuple[str, int], ...]
    most: int
    """Groups at most."""
    known: tuple[Topic, ...] = ()
    """Groups to put them into; empty: the model makes them."""


Request = SummaryRequest | DescriptorsRequest | TopicsRequest
Reply = str | tuple[str, ...] | tuple[Topic, ...] | None
"""To a `SummaryAsk` the text, to a `DescriptorsAsk` five texts, to a `TopicsAsk` the groups."""

Builder = Generator[tuple[Request, ...], tuple[Reply, ...], Tree]


def next_requests(
    builder: Builder, replies: tuple[Reply, ...] | None
) -> tuple[Request, ...] | Tree:
    """What a builder asks next, or its tree; `replies` is None for one that has not begun.

    For threads and loops: neither can hand on the `StopIteration` of a generator.
    """
    try:
        return next(builder) if replies is None else builder.send(replies)
    except StopIteration as whole:
        tree = whole.value
        assert isinstance(tree, Tree)
        return tree
