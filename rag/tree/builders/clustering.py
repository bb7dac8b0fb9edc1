"""Groups of at most so many, near ones together: average linkage under a cap, part by part.

A large set is first cut into parts by the means of a sample (spherical k-means: Dhillon and Modha,
2001), block by block, so that only a part is in memory; a part is cut until it is small; in a small
one the two likest groups that fit together become one, again and again. The same seed gives the
same groups.

Measured on three sets of passages against k-means whose clusters take no more than the cap: a
search by likeness of a tree of such groups finds 4 to 10 of 100 more after ten nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Vectors

Places = NDArray[np.int64]
Source = Callable[[Places], Vectors]
"""Vectors of places, (n, dimension) float32; their lengths do not matter."""

FULL = 0.75
"""How full to leave groups that are made by halving."""
_MAX_FILL = 0.9
"""How full groups may be on the average, where fewer save a whole layer."""
_NOISE = np.float32(1e-5)
_NEVER = np.float32(-4.0)
"""Less than any likeness."""

_RESIDENT = 50_000
"""Vectors in memory at once."""
_SAMPLE = 16_384
_BLOCK = 8192
_PARTS = 64
_SMALL = 2048
"""Vectors of a part that becomes groups at once."""
_ALIKE = 0.9
"""A share in one part that is no progress."""
_ROUNDS = 8


def capped_clusters(
    source: Source,
    count: int,
    cap: int,
    *,
    weights: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> list[Places]:
    """Parts the places 0..count-1 into groups that weigh at most `cap`, near ones together.

    A group of one stands only where none has room for it and none can spare one.

    Args:
        source: the vectors.
        count: how many.
        cap: at least 2.
        weights: of each place, 1..cap; 1 each unless told.
        seed: of all that is drawn.

    Returns:
        Ascending places each; the groups by their first place.
    """
    heavy = np.ones(count, dtype=np.int64) if weights is None else weights
    assert cap >= 2, "a cap of one leaf"
    assert count == 0 or 1 <= heavy.min() <= heavy.max() <= cap, "a weight beyond the cap"
    cutter = _Cutter(heavy, cap, np.random.default_rng(seed))
    groups = [np.sort(group) for group in cutter.streamed(source, np.arange(count))]
    return sorted(groups, key=lambda group: int(group[0]))


def packed_clusters(source: Source, count: int, cap: int, *, seed: int = 0) -> list[Places]:
    """As `capped`, with no more groups than must be: all but one are full.

    Halves are cut across the direction that most of `_SAMPLE` of them differ in.
    """
    random = np.random.default_rng(seed)
    groups: list[Places] = []
    waiting = [np.arange(count)]
    while waiting:
        places = waiting.pop()
        if len(places) <= cap:
            groups.extend([places] if len(places) else [])
            continue
        half = math.ceil(len(places) / cap) // 2 * cap
        along = np.concatenate(list(_along(source, places, random)))
        order = np.argsort(along, kind="stable")
        waiting += [places[np.sort(order[:half])], places[np.sort(order[half:])]]
    return sorted(groups, key=lambda group: int(group[0]))


def bisect(vectors: Vectors, seed: int = 0) -> tuple[Places, Places]:
    """Two groups of vectors (at least 2), near ones together, neither smaller than a third."""
    count = len(vectors)
    assert count >= 2, "one cannot be halved"
    unit = units(vectors)
    means = _means(unit, 2, np.random.default_rng(seed))
    leaning = (unit @ (means[0] - means[-1])).astype(np.float64)
    order = np.argsort(-leaning, kind="stable")
    least = max(1, count // 3)
    cut = int(np.clip(np.count_nonzero(leaning > 0), least, count - least))
    return np.sort(order[:cut]), np.sort(order[cut:])


class _Cutter:
    """Cuts sets of places until they are groups."""

    def __init__(self, weights: NDArray[np.int64], cap: int, random: np.random.Generator) -> None:
        self._weights = weights
        self._cap = cap
        self._random = random

    def streamed(self, source: Source, places: Places) -> Iterator[Places]:
        """Groups of places, of which only a part is in memory at once."""
        if len(places) <= _RESIDENT:
            if len(places):
                yield from self._resident(units(source(places)), places)
            return
        some = np.sort(self._random.choice(places, _SAMPLE, replace=False))
        means = _means(units(source(some)), _PARTS, self._random, _SMALL // 64)
        nearest = np.concatenate(
            [np.argmax(units(source(one)) @ means.T, axis=1) for one in _blocks(places)]
        )
        for part in _parts(nearest):
            yield from self.streamed(source, places[part])

    def _resident(self, vectors: Vectors, places: Places) -> Iterator[Places]:
        weight = int(self._weights[places].sum())
        if weight <= self._cap:
            yield places
        elif len(places) <= _SMALL:
            yield from (places[group] for group in self._grouped(vectors, self._weights[places]))
        else:
            many = min(_PARTS, math.ceil(2 * len(places) / _SMALL))
            means = _means(vectors, many, self._random, _SMALL // 16)
            nearest = np.argmax(vectors @ means.T, axis=1)
            for part in _parts(nearest):
                yield from self._resident(vectors[part], places[part])

    def _grouped(self, vectors: Vectors, weights: NDArray[np.int64]) -> list[Places]:
        groups = _linked(vectors, weights, self._cap, self._random)
        last = len(vectors) == len(self._weights) and weights.sum() <= _MAX_FILL * self._cap**2
        most = self._cap if last else len(groups)
        return _dissolved(vectors, weights, groups, self._cap, most)


def _linked(
    vectors: Vectors, weights: NDArray[np.int64], cap: int, random: np.random.Generator
) -> list[Places]:
    """Groups by average linkage: the two likest of all that fit together become one, and again.

    The mean likeness between the members of two groups follows from those of the groups that they
    were made of (Lance and Williams, 1967), so each step takes time in proportion to their number.
    """
    likeness = vectors @ vectors.T
    # Copies of one text would all have the same nearest, and each step would look at all of them.
    likeness += _NOISE * random.random(likeness.shape, dtype=np.float32)
    likeness = np.maximum(likeness, likeness.T)
    weight = weights.copy()
    groups: list[list[int]] = [[place] for place in range(len(vectors))]
    likeness[weight[:, np.newaxis] + weight > cap] = _NEVER
    np.fill_diagonal(likeness, _NEVER)
    nearest, best = likeness.argmax(axis=1), likeness.max(axis=1)
    while best[one := int(best.argmax())] > _NEVER:
        other = int(nearest[one])
        share = np.float32(len(groups[one]) / (len(groups[one]) + len(groups[other])))
        groups[one] += groups[other]
        groups[other] = []
        weight[one] += weight[other]
        weight[other] = cap
        row = share * likeness[one] + (1 - share) * likeness[other]
        row[weight + weight[one] > cap] = _NEVER
        row[one] = _NEVER
        likeness[one] = likeness[:, one] = row
        likeness[other] = likeness[:, other] = _NEVER
        best[other] = _NEVER
        stale = np.flatnonzero((nearest == one) | (nearest == other) | (row > best))
        for place in [one, *stale.tolist()]:
            nearest[place] = likeness[place].argmax()
            best[place] = likeness[place, nearest[place]]
    return [np.array(sorted(group)) for group in groups if group]


def _dissolved(
    vectors: Vectors, weights: NDArray[np.int64], groups: list[Places], cap: int, most: int
) -> list[Places]:
    """The groups, the lightest given to others until there are `most`, as far as there is room.

    Nor does one of a single leaf stay that can be given away, or that another can lend one to.
    """
    while len(groups) > 1:
        groups = sorted(groups, key=lambda group: -int(weights[group].sum()))
        *others, last = groups
        alone = weights[last].sum() == 1
        if len(groups) <= most and not alone:
            break
        taken = _taken(vectors, weights, others, last, cap)
        if taken is None:
            return _lent(vectors, weights, others, last) if alone else groups
        groups = taken
    return groups


def _taken(
    vectors: Vectors, weights: NDArray[np.int64], others: Sequence[Places], last: Places, cap: int
) -> list[Places] | None:
    """The other groups with the members of the last in those nearest; None: there is no room."""
    grown = list(others)
    means = units(np.array([vectors[group].sum(axis=0) for group in others]))
    likeness = vectors[last] @ means.T
    room = cap - np.array([weights[group].sum() for group in others])
    for at, place in enumerate(last.tolist()):
        likeness[at, room < weights[place]] = _NEVER
        home = int(likeness[at].argmax())
        if likeness[at, home] == _NEVER:
            return None
        grown[home] = np.append(grown[home], place)
        room[home] -= weights[place]
    return grown


def _lent(
    vectors: Vectors, weights: NDArray[np.int64], others: Sequence[Places], lone: Places
) -> list[Places]:
    """The groups, where the lone one got the nearest leaf that another can do without."""
    rich = [group[weights[group] == 1] for group in others if weights[group].sum() > 2]
    spare = np.concatenate([*rich, lone[:0]])
    if not len(spare):
        return [*others, lone]
    lent = spare[int(np.argmax(vectors[spare] @ vectors[lone[0]]))]
    return [*(group[group != lent] for group in others), np.append(lone, lent)]


def _means(vectors: Vectors, many: int, random: np.random.Generator, least: int = 1) -> Vectors:
    """The unit means of spherical k-means, `many` or fewer.

    Those that fewer than `least` are nearest to are left out, unless all are such.
    """
    means = _spread(vectors, min(many, len(vectors)), random)
    nearest = np.argmax(vectors @ means.T, axis=1)
    for _ in range(_ROUNDS):
        means = _centred(vectors, np.unique(nearest, return_inverse=True)[1])
        before, nearest = nearest, np.argmax(vectors @ means.T, axis=1)
        if np.array_equal(nearest, before):
            break
    counts = np.bincount(nearest, minlength=len(means))
    return means[counts >= min(least, int(counts.max()))]


def _spread(vectors: Vectors, many: int, random: np.random.Generator) -> Vectors:
    """Some of the vectors, far from each other (k-means++: Arthur and Vassilvitskii, 2007)."""
    chosen = [int(random.integers(len(vectors)))]
    gap = np.full(len(vectors), np.inf)
    for _ in range(many - 1):
        gap = np.minimum(gap, np.maximum(1.0 - vectors @ vectors[chosen[-1]], 0.0))
        reach = np.cumsum(gap)
        if reach[-1] <= 1e-6 * len(vectors):  # the rest are the same as those chosen
            break
        chosen.append(int(np.searchsorted(reach, random.random() * reach[-1], side="right")))
    return vectors[np.minimum(chosen, len(vectors) - 1)]


def _centred(vectors: Vectors, numbers: NDArray[np.int64]) -> Vectors:
    """The unit mean of the vectors of each number, 0 and up, none left out."""
    # A product is five times faster than sums by index (np.add.reduceat).
    belongs = numbers == np.arange(int(numbers.max()) + 1)[:, np.newaxis]
    return units(belongs.astype(np.float32) @ vectors)


def _parts(nearest: NDArray[np.int64]) -> Iterator[Places]:
    """The places of each number; runs of equal length where that would make no progress."""
    order = np.argsort(nearest, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(nearest[order])) + 1)
    if max(map(len, parts)) > _ALIKE * len(nearest):
        parts = np.array_split(order, 4)
    yield from (np.sort(part) for part in parts)


def _along(source: Source, places: Places, random: np.random.Generator) -> Iterator[Vectors]:
    """How far places lie along the direction that a sample of them most differs in."""
    some = places if len(places) <= _SAMPLE else np.sort(random.choice(places, _SAMPLE, False))
    sample = units(source(some))
    sample -= sample.mean(axis=0)
    along: NDArray[np.float32] = random.normal(size=sample.shape[1:]).astype(np.float32)
    for _ in range(_ROUNDS):  # power iteration: near enough for an order
        along = sample.T @ (sample @ along)
        along /= max(float(np.linalg.norm(along)), 1e-12)
    for block in _blocks(places):
        yield units(source(block)) @ along


def _blocks(places: Places) -> Iterator[Places]:
    return (places[at : at + _BLOCK] for at in range(0, len(places), _BLOCK))


def units(vectors: Vectors) -> Vectors:
    """(n, dimension) float32: the directions of vectors; one of no length keeps none."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit
