"""Top-down tree builder: a model names the topics of the documents, layer by layer.

A model gives every document five descriptors. The descriptors of a node's leaves, at the most
general level that tells enough of them apart, are grouped into topics, which become its children; a
child with too many leaves is divided again. (LATTICE, arXiv 2510.13217, the divisive tree of
section 3.) Where a model has no topics to offer, and for a tree without a model, a node is divided
by its leaves' vectors (bisecting k-means: Steinbach, Karypis and Kumar, 2000).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hoptrail.rag.tree.builders.assembly import Branch, assemble_tree
from hoptrail.rag.tree.builders.bottom_up import check_room
from hoptrail.rag.tree.builders.clustering import (
    BLOCK,
    FULL,
    MAX_FILL,
    RESIDENT,
    SAMPLE,
    Source,
    bisect,
    packed_clusters,
)
from hoptrail.rag.tree.builders.extractive_text import with_extractive_texts
from hoptrail.rag.tree.builders.requests import (
    Builder,
    DescriptorsRequest,
    Reply,
    Request,
    SummaryRequest,
    Topic,
)
from hoptrail.rag.tree.builders.topics import (
    LEVELS,
    Descriptors,
    Grouping,
    Places,
    grouping,
    listing,
)
from hoptrail.rag.tree.types import MOST_DEPTH, Leaves, TreeSpec
from hoptrail.rag.types import Vectors

_DESCRIBED = 1024
"""Documents whose texts are in memory at once."""
_NO_PROGRESS = 0.9
"""The largest share of a node's leaves that one child may have."""

Requesting = Generator[tuple[Request, ...], tuple[Reply, ...], None]


@dataclass(slots=True, kw_only=True, eq=False)
class _GrowingNode:
    """A node of a tree under construction."""

    places: Places
    """Its leaves, as places among all leaves."""
    depth: int
    text: str = ""
    """Empty: not written yet."""
    children: list[_GrowingNode] = field(default_factory=list)
    """Empty: the leaves are its children."""

    def branch(self, rows: Places) -> Branch:
        """The finished node with all below it; `rows` are those of all leaves."""
        below = tuple(child.branch(rows) for child in self.children)
        own = () if below else tuple(rows[self.places].tolist())
        return Branch(text=self.text, branches=below, rows=own)


def top_down(leaves: Leaves, spec: TreeSpec) -> Builder:
    """Builds a tree top-down.

    Args:
        leaves: the leaves of the tree.
        spec: settings; without a `model` there are no requests and texts are extractive.

    Raises:
        SettingsError: the tree would be too deep with this fan-out.
    """
    rows = leaves.rows()
    check_room(len(rows), spec.fanout)
    root = _GrowingNode(places=np.arange(len(rows)), depth=0)
    divider = _Divider(leaves, spec)
    if spec.model and len(rows) > spec.fanout:
        yield from divider.describe()
    layer = [root]
    while layer := [one for one in layer if len(one.places) > spec.fanout]:
        yield from divider.divide(layer)
        layer = [child for one in layer for child in one.children]
    return with_extractive_texts(assemble_tree(root.branch(rows), leaves, spec), leaves)


class _Divider:
    """The leaves of one build, their descriptors, and the division of nodes."""

    def __init__(self, leaves: Leaves, spec: TreeSpec) -> None:
        self._leaves = leaves
        self._rows = leaves.rows()
        self._spec = spec
        self._described: list[Descriptors] = [()] * len(self._rows)

    def describe(self) -> Requesting:
        """Requests descriptors of every document."""
        for at in range(0, len(self._rows), _DESCRIBED):
            texts = self._leaves.texts(self._rows[at : at + _DESCRIBED])
            replies = yield tuple(DescriptorsRequest(text=text) for text in texts)
            for place, reply in enumerate(replies, start=at):
                if isinstance(reply, tuple) and len(reply) == LEVELS:
                    self._described[place] = tuple(map(str, reply))

    def divide(self, layer: Sequence[_GrowingNode]) -> Requesting:
        """Divides every node of a layer into children with fewer leaves."""
        if self._spec.model:
            yield from self._by_topics(layer)
        parts: list[_GrowingNode] = []
        for branch in layer:
            if not branch.children:
                self._by_similarity(branch)
                parts += branch.children
        if self._spec.model:
            yield from self._summarize(parts)

    def _by_topics(self, layer: Sequence[_GrowingNode]) -> Requesting:
        """Divides nodes into topics that a model makes, where that gives useful children."""
        fanout = self._spec.fanout
        found = [(branch, listing(self._of(branch), fanout)) for branch in layer]
        listed = [(branch, one) for branch, one in found if one is not None]
        replies = yield from _request(
            [one.ask(next(one.pages(one.places)), fanout) for _, one in listed]
        )
        groupings = [
            (branch, grouping(one, _topics(reply), fanout))
            for (branch, one), reply in zip(listed, replies, strict=True)
        ]
        yield from _sort_the_rest([one for _, one in groupings])
        for branch, one in groupings:
            parts = one.parts(self._vectors(branch)(np.arange(len(branch.places))))
            if self._is_progress(branch, [places for _, places in parts]):
                branch.children = [
                    self._child(branch, places, f"{topic.name}: {topic.description}".strip(" :"))
                    for topic, places in parts
                ]

    def _by_similarity(self, branch: _GrowingNode) -> None:
        """Divides a node into clusters of similar leaves."""
        count, fanout = len(branch.places), self._spec.fanout
        source = self._vectors(branch)
        parts = _divided(source, count, fanout, self._spec.seed)
        if not self._is_progress(branch, parts):
            parts = packed_clusters(source, count, math.ceil(count / fanout), seed=self._spec.seed)
        branch.children = [self._child(branch, places) for places in parts]

    def _summarize(self, parts: Sequence[_GrowingNode]) -> Requesting:
        """Requests texts of nodes that no topic names."""
        replies = yield from _request(
            [SummaryRequest(texts=self._sample_texts(one)) for one in parts]
        )
        for branch, reply in zip(parts, replies, strict=True):
            if isinstance(reply, str):
                branch.text = reply.strip()

    def _sample_texts(self, branch: _GrowingNode) -> tuple[str, ...]:
        """Texts of a fan-out of leaves at most, evenly from the centre of a node to its edge."""
        sampled = _spread(np.arange(len(branch.places)), BLOCK)
        vectors = self._vectors(branch)(sampled)
        order = np.argsort(-(vectors @ vectors.sum(axis=0)), kind="stable")
        chosen = sampled[_spread(order, self._spec.fanout)]
        return self._leaves.texts(self._rows[branch.places[chosen]])

    def _is_progress(self, branch: _GrowingNode, parts: Sequence[Places]) -> bool:
        """Whether parts are useful children: two or more, and none too large."""
        room = self._spec.fanout ** (MOST_DEPTH - branch.depth - 1)
        most = max(map(len, parts), default=0)
        return len(parts) > 1 and most <= min(room, _NO_PROGRESS * len(branch.places))

    def _child(self, branch: _GrowingNode, places: Places, text: str = "") -> _GrowingNode:
        return _GrowingNode(places=branch.places[places], depth=branch.depth + 1, text=text)

    def _of(self, branch: _GrowingNode) -> list[Descriptors]:
        return [self._described[place] for place in branch.places.tolist()]

    def _vectors(self, branch: _GrowingNode) -> Source:
        return lambda places: self._leaves.vectors(self._rows[branch.places[places]])


def _request(
    requests: Sequence[Request],
) -> Generator[tuple[Request, ...], tuple[Reply, ...], tuple[Reply, ...]]:
    """Yields the requests and returns the replies; yields nothing when there are none."""
    if not requests:
        return ()
    return (yield tuple(requests))


def _sort_the_rest(groupings: Sequence[Grouping]) -> Requesting:
    """Requests topics for the descriptors that a model left out."""
    requests = [(one, request) for one in groupings for request in one.asks()]
    replies = yield from _request([request for _, request in requests])
    for (one, _), reply in zip(requests, replies, strict=True):
        one.add(_topics(reply))


def _topics(reply: Reply) -> tuple[Topic, ...]:
    """The topics of a reply; empty if the reply is missing or has none."""
    if not isinstance(reply, tuple):
        return ()
    return tuple(one for one in reply if isinstance(one, Topic))


def _divided(source: Source, count: int, fanout: int, seed: int) -> list[Places]:
    """Divides places 0..count-1 into clusters; a large set by the means of a sample."""
    if count <= RESIDENT:
        return _bisected(source(np.arange(count)), fanout, seed)
    some = np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False))
    vectors = source(some)
    means = np.array([vectors[one].sum(axis=0) for one in _bisected(vectors, fanout, seed)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    blocks = np.split(np.arange(count), range(BLOCK, count, BLOCK))
    nearest = np.concatenate([np.argmax(source(one) @ means.T, axis=1) for one in blocks])
    return [np.flatnonzero(nearest == at) for at in range(len(means)) if (nearest == at).any()]


def _bisected(vectors: Vectors, fanout: int, seed: int) -> list[Places]:
    """Bisects the largest part until there are as many as in a tree of even layers.

    Parts that will be last nodes are bisected until each fits into one.
    """
    parts = [np.arange(len(vectors))]
    wanted, last = _width(len(vectors), fanout)
    while len(parts) < fanout:
        largest = max(range(len(parts)), key=lambda at: len(parts[at]))
        places = parts[largest]
        if len(places) == 1 or (len(parts) >= wanted and (len(places) <= fanout or not last)):
            break
        parts[largest : largest + 1] = [places[one] for one in bisect(vectors[places], seed)]
    return parts


def _width(count: int, fanout: int) -> tuple[int, bool]:
    """Number of children for a node of `count` leaves, and whether they will be last nodes."""
    nodes = max(count / (FULL * fanout), 1.0)
    layers = max(1, math.ceil(math.log(nodes) / math.log(max(MAX_FILL * fanout, 1.5))))
    return min(fanout, max(2, math.ceil(nodes ** (1 / layers)))), layers == 1


def _spread(values: Places, many: int) -> Places:
    """At most `many` of the values, evenly spaced from the first to the last."""
    places = np.linspace(0, len(values) - 1, num=min(many, len(values))).astype(np.int64)
    return values[places]
