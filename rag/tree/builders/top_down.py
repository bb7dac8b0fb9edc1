"""A tree from the root down: a model says what the documents' topics are, layer by layer.

Every document gets five descriptors. Those of a branch's leaves, at the most general level that
tells enough of them apart, are grouped into topics, which are its children; whoever has too many
leaves is grouped again. (LATTICE, arXiv 2510.13217, the divisive tree of section 3.) Where a model
has no topics to offer, and for a tree without a model, a branch is halved by its leaves' vectors
until there are enough parts (bisecting k-means: Steinbach, Karypis and Kumar, 2000).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hoptrail.rag.tree.builders.assembly import Branch, assemble_tree
from hoptrail.rag.tree.builders.bottom_up import check_room
from hoptrail.rag.tree.builders.clustering import FULL, Source, bisect, packed_clusters
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
_RESIDENT = 50_000
"""Leaves whose vectors are."""
_SAMPLE = 16_384
_BLOCK = 8192
_MAX_FILL = 0.9
"""How full the upper nodes may be where that saves a layer."""
_NO_PROGRESS = 0.9
"""The share of a branch's leaves that no child may have."""

Asking = Generator[tuple[Request, ...], tuple[Reply, ...], None]


@dataclass(slots=True, kw_only=True, eq=False)
class _GrowingNode:
    """A branch while its tree grows."""

    places: Places
    """Its leaves, by place among all."""
    depth: int
    text: str = ""
    """Empty: nobody has written it yet."""
    children: list[_GrowingNode] = field(default_factory=list)
    """Empty: the leaves stand right below it."""

    def branch(self, rows: Places) -> Branch:
        """What has become of it; `rows` are those of all leaves."""
        below = tuple(child.branch(rows) for child in self.children)
        own = () if below else tuple(rows[self.places].tolist())
        return Branch(text=self.text, branches=below, rows=own)


def top_down(leaves: Leaves, spec: TreeSpec) -> Builder:
    """Builds a tree from the root down.

    Args:
        leaves: what it is built over.
        spec: how; without a `model` nothing is asked and texts are the documents' own words.

    Raises:
        SettingsError: a fan-out with which the tree would be too deep.
    """
    rows = leaves.rows()
    check_room(len(rows), spec.fanout)
    root = _GrowingNode(places=np.arange(len(rows)), depth=0)
    grower = _Grower(leaves, spec)
    if spec.model and len(rows) > spec.fanout:
        yield from grower.describe()
    layer = [root]
    while layer := [one for one in layer if len(one.places) > spec.fanout]:
        yield from grower.divide(layer)
        layer = [child for one in layer for child in one.children]
    return with_extractive_texts(assemble_tree(root.branch(rows), leaves, spec), leaves)


class _Grower:
    """What one build knows of its leaves."""

    def __init__(self, leaves: Leaves, spec: TreeSpec) -> None:
        self._leaves = leaves
        self._rows = leaves.rows()
        self._spec = spec
        self._described: list[Descriptors] = [()] * len(self._rows)

    def describe(self) -> Asking:
        """Has every document described."""
        for at in range(0, len(self._rows), _DESCRIBED):
            texts = self._leaves.texts(self._rows[at : at + _DESCRIBED])
            replies = yield tuple(DescriptorsRequest(text=text) for text in texts)
            for place, reply in enumerate(replies, start=at):
                if isinstance(reply, tuple) and len(reply) == LEVELS:
                    self._described[place] = tuple(map(str, reply))

    def divide(self, layer: Sequence[_GrowingNode]) -> Asking:
        """Gives every branch of a layer children, each of fewer leaves."""
        if self._spec.model:
            yield from self._by_topics(layer)
        parts: list[_GrowingNode] = []
        for branch in layer:
            if not branch.children:
                self._by_likeness(branch)
                parts += branch.children
        if self._spec.model:
            yield from self._summarise(parts)

    def _by_topics(self, layer: Sequence[_GrowingNode]) -> Asking:
        """Children as a model groups them, for those branches where that gets on."""
        fanout = self._spec.fanout
        found = [(branch, listing(self._of(branch), fanout)) for branch in layer]
        listed = [(branch, one) for branch, one in found if one is not None]
        replies = yield from _asked(
            [one.ask(next(one.pages(one.places)), fanout) for _, one in listed]
        )
        groupings = [
            (branch, grouping(one, _topics(reply), fanout))
            for (branch, one), reply in zip(listed, replies, strict=True)
        ]
        yield from _sort_the_rest([one for _, one in groupings])
        for branch, one in groupings:
            parts = one.parts(self._vectors(branch)(np.arange(len(branch.places))))
            if self._gets_on(branch, [places for _, places in parts]):
                branch.children = [
                    self._child(branch, places, f"{topic.name}: {topic.description}".strip(" :"))
                    for topic, places in parts
                ]

    def _by_likeness(self, branch: _GrowingNode) -> None:
        """Children of leaves that are near each other."""
        count, fanout = len(branch.places), self._spec.fanout
        source = self._vectors(branch)
        parts = _divided(source, count, fanout, self._spec.seed)
        if not self._gets_on(branch, parts):
            parts = packed_clusters(source, count, math.ceil(count / fanout), seed=self._spec.seed)
        branch.children = [self._child(branch, places) for places in parts]

    def _summarise(self, parts: Sequence[_GrowingNode]) -> Asking:
        """Texts for branches that no topic names."""
        replies = yield from _asked([SummaryRequest(texts=self._some(one)) for one in parts])
        for branch, reply in zip(parts, replies, strict=True):
            if isinstance(reply, str):
                branch.text = reply.strip()

    def _some(self, branch: _GrowingNode) -> tuple[str, ...]:
        """Texts of as many leaves as a node has, from the middle of the branch to its edge."""
        looked_at = _spread(np.arange(len(branch.places)), _BLOCK)
        vectors = self._vectors(branch)(looked_at)
        order = np.argsort(-(vectors @ vectors.sum(axis=0)), kind="stable")
        chosen = looked_at[_spread(order, self._spec.fanout)]
        return self._leaves.texts(self._rows[branch.places[chosen]])

    def _gets_on(self, branch: _GrowingNode, parts: Sequence[Places]) -> bool:
        """Whether children may have these leaves: none too many, nor more than fit below it."""
        room = self._spec.fanout ** (MOST_DEPTH - branch.depth - 1)
        most = max(map(len, parts), default=0)
        return len(parts) > 1 and most <= min(room, _NO_PROGRESS * len(branch.places))

    def _child(self, branch: _GrowingNode, places: Places, text: str = "") -> _GrowingNode:
        return _GrowingNode(places=branch.places[places], depth=branch.depth + 1, text=text)

    def _of(self, branch: _GrowingNode) -> list[Descriptors]:
        return [self._described[place] for place in branch.places.tolist()]

    def _vectors(self, branch: _GrowingNode) -> Source:
        return lambda places: self._leaves.vectors(self._rows[branch.places[places]])


def _asked(
    asks: Sequence[Request],
) -> Generator[tuple[Request, ...], tuple[Reply, ...], tuple[Reply, ...]]:
    """The replies to some asks; nobody is bothered for none."""
    if not asks:
        return ()
    return (yield tuple(asks))


def _sort_the_rest(groupings: Sequence[Grouping]) -> Asking:
    """Asks once more about what was left out of topics."""
    asks = [(one, ask) for one in groupings for ask in one.asks()]
    replies = yield from _asked([ask for _, ask in asks])
    for (one, _), reply in zip(asks, replies, strict=True):
        one.add(_topics(reply))


def _topics(reply: Reply) -> tuple[Topic, ...]:
    """The topics of a reply; none where it has none."""
    if not isinstance(reply, tuple):
        return ()
    return tuple(one for one in reply if isinstance(one, Topic))


def _divided(source: Source, count: int, fanout: int, seed: int) -> list[Places]:
    """Places 0..count-1 in some parts, near ones together; of many by the means of a sample."""
    if count <= _RESIDENT:
        return _halved(source(np.arange(count)), fanout, seed)
    some = np.sort(np.random.default_rng(seed).choice(count, _SAMPLE, replace=False))
    vectors = source(some)
    means = np.array([vectors[one].sum(axis=0) for one in _halved(vectors, fanout, seed)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    blocks = np.split(np.arange(count), range(_BLOCK, count, _BLOCK))
    nearest = np.concatenate([np.argmax(source(one) @ means.T, axis=1) for one in blocks])
    return [np.flatnonzero(nearest == at) for at in range(len(means)) if (nearest == at).any()]


def _halved(vectors: Vectors, fanout: int, seed: int) -> list[Places]:
    """The largest part halved until there are as many as a tree of even layers has.

    The parts that are to be last nodes are halved until each is small enough to be one.
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
    """Into how many parts to divide a branch of so many leaves, and whether they are the last."""
    nodes = max(count / (FULL * fanout), 1.0)
    layers = max(1, math.ceil(math.log(nodes) / math.log(max(_MAX_FILL * fanout, 1.5))))
    return min(fanout, max(2, math.ceil(nodes ** (1 / layers)))), layers == 1


def _spread(values: Places, many: int) -> Places:
    """At most `many` of some values, evenly from the first to the last."""
    places = np.linspace(0, len(values) - 1, num=min(many, len(values))).astype(np.int64)
    return values[places]
