"""Groups of at most so many, near ones together: spherical k-means with a cap, part by part.

A large set is first cut into parts by the means of a sample, block by block, so that only a part is
in memory; a part is cut until it is small; a small one becomes groups by k-means in which a group
takes no more than its cap. The same seed gives the same groups. (Dhillon and Modha, "Concept
decompositions for large sparse text data using clustering", 2001, without the cap.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Vectors

Places = NDArray[np.int64]
Source = Callable[[Places], Vectors]
"""Vectors of places, (n, dimension) float32; their lengths do not matter."""

FULL = 0.75
"""How full groups are on the average: with less room near ones are parted."""
_BRIMFUL = 0.9
"""What they may be filled to where that saves a whole layer."""

_RESIDENT = 50_000
"""Vectors in memory at once."""
_SAMPLE = 16_384
_BLOCK = 8192
_PARTS = 64
_SMALL = 512
"""Leaves of a part that becomes groups at once."""
_ROUNDS = 8


def capped(
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


def packed(source: Source, count: int, cap: int, *, seed: int = 0) -> list[Places]:
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


def halves(vectors: Vectors, seed: int = 0) -> tuple[Places, Places]:
    """Two groups of vectors (at least 2), near ones together, neither smaller than a third."""
    count = len(vectors)
    assert count >= 2, "one cannot be halved"
    unit = _unit(vectors)
    means = _means(unit, 2, np.random.default_rng(seed))
    leaning = (unit @ (means[0] - means[-1])).astype(np.float64)
    order = np.argsort(-leaning, kind="stable")
    least = max(1, count // 3)
    cut = int(np.clip(np.count_nonzero(leaning > 0), least, count - least))
    return np.sort(order[:cut]), np.sort(order[cut:])


def groups_wanted(weight: int, cap: int) -> int:
    """How many groups of `cap` at most a layer of so many should become."""
    wanted = math.ceil(weight / max(FULL * cap, 2.0))
    return min(wanted, cap) if weight <= _BRIMFUL * cap * cap else wanted


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
                yield from self._resident(_unit(source(places)), places)
            return
        some = np.sort(self._random.choice(places, _SAMPLE, replace=False))
        means = _means(_unit(source(some)), _PARTS, self._random)
        nearest = np.concatenate(
            [np.argmax(_unit(source(one)) @ means.T, axis=1) for one in _blocks(places)]
        )
        for part in _parts(nearest):
            yield from self.streamed(source, places[part])

    def _resident(self, vectors: Vectors, places: Places) -> Iterator[Places]:
        weight = int(self._weights[places].sum())
        if weight <= self._cap:
            yield places
        elif weight <= max(_SMALL, 2 * self._cap):
            yield from (places[group] for group in self._grouped(vectors, places, weight))
        else:
            many = min(_PARTS, max(2, 2 * weight // _SMALL))
            nearest = np.argmax(vectors @ _means(vectors, many, self._random).T, axis=1)
            for part in _parts(nearest):
                yield from self._resident(vectors[part], places[part])

    def _grouped(self, vectors: Vectors, places: Places, weight: int) -> list[Places]:
        """Groups under the cap, by k-means."""
        weights = self._weights[places]
        many = groups_wanted(weight, self._cap)
        means = _means(vectors, min(many, len(places)), self._random)
        for _ in range(_ROUNDS):
            filled = _filled(vectors @ means.T, weights, self._cap)
            before, means = means, _centred(vectors, filled)
            if before.shape == means.shape and np.array_equal(before, means):
                break
        groups = [np.flatnonzero(filled == one) for one in range(int(filled.max()) + 1)]
        return _joined(vectors, weights, groups, self._cap)


def _filled(
    likeness: NDArray[np.float32], weights: NDArray[np.int64], cap: int
) -> NDArray[np.int64]:
    """Which mean each vector goes to if none takes more than `cap`; no number is left out.

    The heavy choose first, then those that would lose most by not getting what they like best. What
    finds no room begins a group of its own.
    """
    liked = np.argsort(-likeness, axis=1, kind="stable")
    if likeness.shape[1] > 1:
        best = np.take_along_axis(likeness, liked[:, :2], axis=1)
        loss = best[:, 0] - best[:, 1]
    else:
        loss = likeness[:, 0]
    room = [cap] * likeness.shape[1]
    taken = np.empty(len(likeness), dtype=np.int64)
    heavy, choices = weights.tolist(), liked.tolist()
    for place in np.lexsort((-loss, -weights)).tolist():
        weight = heavy[place]
        chosen = next((one for one in choices[place] if room[one] >= weight), None)
        if chosen is None:
            chosen = next(
                (one for one in range(likeness.shape[1], len(room)) if room[one] >= weight),
                len(room),
            )
            room += [cap] * (chosen == len(room))
        room[chosen] -= weight
        taken[place] = chosen
    numbers: NDArray[np.int64] = np.unique(taken, return_inverse=True)[1]
    return numbers


def _joined(
    vectors: Vectors, weights: NDArray[np.int64], groups: list[Places], cap: int
) -> list[Places]:
    """The groups, where none is of one leaf if another has room for it or can spare one."""
    means = np.array([vectors[group].sum(axis=0) for group in groups])
    weight = [int(weights[group].sum()) for group in groups]
    for lone in [at for at, one in enumerate(weight) if one == 1]:
        if weight[lone] != 1:
            continue
        near = np.argsort(-(means @ means[lone]), kind="stable").tolist()
        others = [at for at in near if at != lone and weight[at]]
        room = next((at for at in others if weight[at] < cap), None)
        if room is not None:
            groups[room] = np.append(groups[room], groups[lone])
            groups[lone] = groups[lone][:0]
            weight[room], weight[lone] = weight[room] + 1, 0
            continue
        giver = next((at for at in others if _spare(weights, groups[at], weight[at]).size), None)
        if giver is not None:
            spare = _spare(weights, groups[giver], weight[giver])
            moved = spare[int(np.argmax(vectors[spare] @ means[lone]))]
            groups[giver] = groups[giver][groups[giver] != moved]
            groups[lone] = np.append(groups[lone], moved)
            weight[giver], weight[lone] = weight[giver] - 1, 2
    return [group for group in groups if len(group)]


def _spare(weights: NDArray[np.int64], group: Places, weight: int) -> Places:
    """The single leaves of a group that it can lose without becoming one of one."""
    return group[weights[group] == 1] if weight > 2 else group[:0]


def _means(vectors: Vectors, many: int, random: np.random.Generator) -> Vectors:
    """The unit means of spherical k-means, `many` or fewer."""
    means = _spread(vectors, min(many, len(vectors)), random)
    before = np.empty(0)
    for _ in range(_ROUNDS):
        nearest = np.argmax(vectors @ means.T, axis=1)
        if np.array_equal(nearest, before):
            break
        before = nearest
        means = _centred(vectors, np.unique(nearest, return_inverse=True)[1])
    return means


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
    """The unit mean of the vectors of each number."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return _unit(np.add.reduceat(vectors[order], starts, axis=0))


def _parts(nearest: NDArray[np.int64]) -> Iterator[Places]:
    """The places of each number; runs of equal length where that would make no progress."""
    order = np.argsort(nearest, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(nearest[order])) + 1)
    if max(map(len, parts)) > _BRIMFUL * len(nearest):
        parts = np.array_split(order, 4)
    yield from (np.sort(part) for part in parts)


def _along(source: Source, places: Places, random: np.random.Generator) -> Iterator[Vectors]:
    """How far places lie along the direction that a sample of them most differs in."""
    some = places if len(places) <= _SAMPLE else np.sort(random.choice(places, _SAMPLE, False))
    sample = _unit(source(some))
    sample -= sample.mean(axis=0)
    along: NDArray[np.float32] = random.normal(size=sample.shape[1:]).astype(np.float32)
    for _ in range(_ROUNDS):  # power iteration: near enough for an order
        along = sample.T @ (sample @ along)
        along /= max(float(np.linalg.norm(along)), 1e-12)
    for block in _blocks(places):
        yield _unit(source(block)) @ along


def _blocks(places: Places) -> Iterator[Places]:
    return (places[at : at + _BLOCK] for at in range(0, len(places), _BLOCK))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit
