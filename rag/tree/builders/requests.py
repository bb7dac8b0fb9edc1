"""Requests of a tree builder to a language model, and the replies it takes.

A builder is a generator. It yields all requests that can be answered in parallel and is sent their
replies in the same order. None stands for a missing reply; the builder then uses extractive text or
clustering instead. Equal inputs give equal requests in equal order, so an interrupted build
continues when it is run again with the replies that were kept.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from hoptrail.rag.tree.types import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRequest:
    """Request for a node's summary (prompts/tree/summarize_node.md): what its children share."""

    texts: tuple[str, ...]
    """The children's texts, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorsRequest:
    """Request for five descriptors of a document (prompts/tree/describe_document.md).

    The prompt is prompts/tree/describe_document.md.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic: a group of descriptors."""

    name: str
    description: str
    descriptors: tuple[str, ...]
    """Copied from the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsRequest:
    """Request to group descriptors into topics (prompts/tree/group_topics.md).

    The prompt is prompts/tree/group_topics.md, or assign_topics.md where the topics are known.
    """

    descriptors: tuple[tuple[str, int], ...]
    """Each descriptor with the number of leaves that have it."""
    most: int
    """Upper limit of the number of topics."""
    known: tuple[Topic, ...] = ()
    """Topics to assign the descriptors to; empty: the model makes the topics."""


Request = SummaryRequest | DescriptorsRequest | TopicsRequest
Reply = str | tuple[str, ...] | tuple[Topic, ...] | None
"""A text for a `SummaryRequest`, five for a `DescriptorsRequest`, topics for a `TopicsRequest`."""

Builder = Generator[tuple[Request, ...], tuple[Reply, ...], Tree]


def next_requests(
    builder: Builder, replies: tuple[Reply, ...] | None
) -> tuple[Request, ...] | Tree:
    """The next requests of a builder, or its tree; `replies` is None at the beginning.

    For threads and event loops, neither of which can pass on the `StopIteration` of a generator.

    Args:
        builder: the running build.
        replies: the replies to its last requests; None for a builder that has not begun.
    """
    try:
        return next(builder) if replies is None else builder.send(replies)
    except StopIteration as finished:
        tree = finished.value
        assert isinstance(tree, Tree)
        return tree
