"""Builds a neighbourhood in the passage graph breadth first, from the best links of each node.

Nodes are passages and names. A link is that a passage is about a name or mentions it, or an
imported triple between two names. The order of rows and of commits does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities.extraction import entity_key, mentioned_entities
from hoptrail.rag.entities.query import surface_form
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.graph_index.reader import GraphReader, PassageLinks, StoredTriple
from hoptrail.rag.types import Passage, Rows, tie_break

ABOUT, MENTIONS = "is about", "mentions"

_MOST_ABOUT = 2048
_LONGEST = 200
"""Maximum characters of a label."""
_TITLE_STRENGTH = 0.9
"""Strength of an "is about" link (0..1) from which on the name is a form of the title."""
_CONSIDERED = 100
"""Passages of a name that are considered when names are ranked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourhoodLimits:
    """Limits of a neighbourhood: hops, links of a node, nodes; each at least 1."""

    hops: int = 2
    """Links from the centre: one leads from a name to passages, two to the names in them."""
    links: int = 5
    """Maximum number of passages, and of names, that one node leads to."""
    nodes: int = 30
    common: int = 200
    """A name that more passages mention leads only to those that are about it."""

    def __post_init__(self) -> None:
        """Raises SettingsError for a limit below 1."""
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"A neighbourhood needs {name} >= 1, not {getattr(self, name)!r}."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a neighbourhood: a name or a passage."""

    label: str
    """The name as spelled in a text; a passage's title, or its document's id."""
    level: int
    """Links from the centre."""
    parent: int | None
    """Number of the node that led to it; None for the centre or a part of it."""
    passage: Passage | None = None
    """None: it is a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link between two nodes, given by number: `source` `relation` `target`."""

    source: int
    relation: str
    """`ABOUT` or `MENTIONS` from a passage to a name, else a triple's, from name to name."""
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """A subgraph around a name or passages; without nodes if the centre is unknown."""

    nodes: tuple[Node, ...]
    """The centre first, then by level; of one level as they were reached."""
    links: tuple[Link, ...]
    """All between the nodes, ordered by their numbers."""
    left_out: int
    """Number of neighbours of its nodes that the limits cut off."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node before it has a number: a passage by its row, or a name by its key."""

    number: int
    is_row: bool


Rank = tuple[float, ...]
Offers = Mapping[Place, Sequence[Sequence[Place]]]
"""By node: its neighbours by kind, best first."""


class NeighbourhoodBuilder:
    """Builds one neighbourhood, level by level."""

    def __init__(
        self,
        links: GraphReader,
        resolve: Callable[[Sequence[int]], tuple[Passage | None, ...]],
        near: Callable[[Rows], NDArray[np.float64]] | None,
        bounds: NeighbourhoodLimits,
    ) -> None:
        """`near` returns the cosines of rows to the query; None: ranks by links and rarity."""
        self.links = links
        self.surfaces: dict[int, str] = {}
        """By key: the spelling of the name where it was first read."""
        self._resolve = resolve
        self._near = near
        self._bounds = bounds
        self._passages: dict[int, Passage] = {}
        self._parents: dict[Place, Place | None] = {}
        """By node, in the order of the nodes: the node that led to it."""
        self._levels: dict[Place, int] = {}
        self._offered: set[Place] = set()
        self._statements: set[StoredTriple] = set()

    def known(self, key: int) -> bool:
        """Whether a passage in scope is about the name or mentions it."""
        common = self._bounds.common
        found = self.links.about([key]).rows, self.links.mentioning([key], common).rows
        return any(map(len, found)) or bool(self.links.counts([key])[0] > common)

    def build(self, centre: Sequence[Place]) -> Neighbourhood:
        """The neighbourhood of the centre."""
        self._read(place.number for place in centre if place.is_row)
        frontier = [one for one in centre if not one.is_row or one.number in self._passages]
        for place in frontier[: self._bounds.nodes]:
            self._place(place, None, 0)
        for level in range(1, self._bounds.hops + 1):
            keys = [one.number for one in frontier if not one.is_row]
            rows = [one.number for one in frontier if one.is_row]
            frontier = self._add_level(
                frontier, {**self._of_names(keys), **self._of_rows(rows)}, level
            )
        for place in centre:
            if not place.is_row:
                self._spell(place.number)
        numbers = {place: at for at, place in enumerate(self._parents)}
        return Neighbourhood(
            nodes=tuple(self._node(place, numbers) for place in numbers),
            links=tuple(
                sorted(self._between(numbers), key=lambda e: (e.source, e.target, e.relation))
            ),
            left_out=len(self._offered - numbers.keys()),
        )

    def _place(self, place: Place, parent: Place | None, level: int) -> None:
        self._parents[place] = parent
        self._levels[place] = level

    def _spell(self, key: int) -> None:
        """Replaces the typed spelling of a name by that in a passage."""
        rows = (place.number for place in self._parents if place.is_row)
        spellings = (_spelling(self._passages[row], key) for row in rows)
        self.surfaces[key] = next(filter(None, spellings), self.surfaces[key])

    def _add_level(self, frontier: Iterable[Place], offers: Offers, level: int) -> list[Place]:
        """Adds the best neighbours of a level as nodes; returns them."""
        taken: list[Place] = []
        for parent in frontier:
            for offered in offers[parent]:
                self._offered.update(offered)
                for place in [one for one in offered if one not in self._parents][
                    : self._bounds.links
                ]:
                    if len(self._parents) < self._bounds.nodes:
                        self._place(place, parent, level)
                        taken.append(place)
        return taken

    def _of_names(self, keys: Sequence[int]) -> Offers:
        """By name: the passages about it or mentioning it, and names joined to it by triples."""
        strengths: dict[int, dict[int, float]] = {key: {} for key in keys}
        mentioning = self.links.mentioning(keys, self._bounds.common)
        for key, row in zip(mentioning.keys.tolist(), mentioning.rows.tolist(), strict=True):
            strengths[key][row] = 0.0
        about = self.links.about(keys, _MOST_ABOUT)
        for key, row, strength in zip(
            about.keys.tolist(), about.rows.tolist(), about.strengths.tolist(), strict=True
        ):
            strengths[key][row] = strength
        return {
            Place(key, is_row=False): (self._best_rows(found), self._joined_by_triples(key, found))
            for key, found in strengths.items()
        }

    def _best_rows(self, strengths: Mapping[int, float]) -> list[Place]:
        """Rows, best first: as many as can be used, with all ties with the last of them."""
        rows = np.array(sorted(strengths), dtype=np.int64)
        if self._near is not None:
            ranks: list[Rank] = [(-near,) for near in self._near(rows).tolist()]
        else:
            names = self.links.names(rows).tolist()
            ranks = [
                (-strengths[row], many) for row, many in zip(rows.tolist(), names, strict=True)
            ]
        order: list[tuple[Rank, int]] = sorted(zip(ranks, rows.tolist(), strict=True))
        most = self._bounds.nodes + self._bounds.links
        last = order[min(most, len(order)) - 1][0] if order else ()
        able = [(rank, row) for rank, row in order if rank <= last]
        self._offered.update(Place(row, is_row=True) for _, row in order[len(able) :])
        self._read(row for _, row in able)
        able = [one for one in able if one[1] in self._passages]
        able.sort(key=lambda one: (one[0], tie_break(self._passages[one[1]].id)))
        return [Place(row, is_row=True) for _, row in able]

    def _joined_by_triples(self, key: int, rows: Mapping[int, float]) -> list[Place]:
        """Names joined to a name by triples of the rows."""
        others: dict[int, set[int]] = defaultdict(set)
        for one in self.links.triples(sorted(rows)):
            subject, thing = entity_key(one.subject), entity_key(one.object)
            if key in (subject, thing) and subject != thing:
                other, name = (thing, one.object) if key == subject else (subject, one.subject)
                if other:
                    self._statements.add(one)
                    self.surfaces.setdefault(other, name)
                    others[other].add(one.row)
        return self._best_names(others)

    def _of_rows(self, rows: Sequence[int]) -> Offers:
        """By passage: its names."""
        outgoing = dict(zip(rows, self.links.outgoing(rows), strict=True))
        names = {row: self._named(row, out) for row, out in outgoing.items()}
        leads = self._leads({key for found in names.values() for key in found})
        return {
            Place(row, is_row=True): (self._best_names({key: leads[key] - {row} for key in found}),)
            for row, found in names.items()
        }

    def _named(self, row: int, out: PassageLinks) -> list[int]:
        """Names in a passage, and the most widely mentioned form of its title."""
        passage = self._passages[row]
        for key, name in mentioned_entities(passage.text).items():
            self.surfaces.setdefault(key, name)
        sure = out.strengths >= _TITLE_STRENGTH - 1e-6
        itself = out.abouts[sure].tolist()
        titles = np.unique(self.links.about(out.candidates.tolist(), 1).keys).tolist()
        for key in (*itself, *titles):
            found = _spelling(passage, key)
            if found is not None:
                self.surfaces.setdefault(key, found)
        # One word of a longer name seldom means the same entity.
        longer = (key for key in titles if " " in self.surfaces.get(key, ""))
        keys = {*out.mentions.tolist(), *longer} - set(itself)
        counts = self.links.counts(itself).tolist()
        by_count = sorted(
            zip(counts, out.strengths[sure].tolist(), itself, strict=True), reverse=True
        )
        subjects = [key for _, _, key in by_count if key in self.surfaces][:1]
        return [*subjects, *(key for key in keys if key in self.surfaces)]

    def _leads(self, keys: Iterable[int]) -> dict[int, set[int]]:
        """By name: the rows that it leads to and that are not nodes yet."""
        leads: dict[int, set[int]] = {key: set() for key in keys}
        ordered = sorted(leads)
        mentioning = self.links.mentioning(ordered, _CONSIDERED)
        about = self.links.about(ordered)
        for found in (mentioning, about):
            for key, row in zip(found.keys.tolist(), found.rows.tolist(), strict=True):
                if Place(row, is_row=True) not in self._parents:
                    leads[key].add(row)
        return leads

    def _best_names(self, leads: Mapping[int, set[int]]) -> list[Place]:
        """Names, best first: by the most similar row they lead to.

        Without a query: names before phrases in small letters, then by rarity.
        """
        keys = sorted(leads)
        ranks: dict[int, Rank]
        if self._near is not None:
            rows = np.array(sorted(set().union(*leads.values())), dtype=np.int64)
            near = dict(zip(rows.tolist(), self._near(rows).tolist(), strict=True))
            ranks = {key: (-max((near[row] for row in leads[key]), default=-2.0),) for key in keys}
        else:
            counts = dict(zip(keys, self.links.counts(keys).tolist(), strict=True))
            ranks = {
                key: (_is_phrase(self.surfaces[key]), not leads[key], counts[key]) for key in keys
            }
        return [Place(key, is_row=False) for key in sorted(keys, key=lambda key: (ranks[key], key))]

    def _read(self, rows: Iterable[int]) -> None:
        """Loads the passages of rows; rows deleted in the meantime are skipped."""
        missing = sorted({row for row in rows if row not in self._passages})
        for row, passage in zip(missing, self._resolve(missing), strict=True):
            if passage is not None:
                self._passages[row] = passage

    def _node(self, place: Place, numbers: Mapping[Place, int]) -> Node:
        parent = self._parents[place]
        passage = self._passages[place.number] if place.is_row else None
        label = self.surfaces[place.number] if passage is None else passage.title
        return Node(
            label=_short(label) or _short(passage.document_id if passage else ""),
            level=self._levels[place],
            parent=None if parent is None else numbers[parent],
            passage=passage,
        )

    def _between(self, numbers: Mapping[Place, int]) -> Iterator[Link]:
        """All links between nodes, each once."""
        rows = [place.number for place in numbers if place.is_row]
        for row, out in zip(rows, self.links.outgoing(rows), strict=True):
            source = numbers[Place(row, is_row=True)]
            relations = dict.fromkeys((*out.mentions.tolist(), *out.candidates.tolist()), MENTIONS)
            relations |= dict.fromkeys(out.abouts.tolist(), ABOUT)
            for key, relation in relations.items():
                if (place := Place(key, is_row=False)) in numbers:
                    yield Link(source=source, relation=relation, target=numbers[place])
        stated = {
            (
                Place(entity_key(one.subject), is_row=False),
                _short(one.relation),
                Place(entity_key(one.object), is_row=False),
            )
            for one in self._statements.union(self.links.triples(rows))
        }
        for subject, relation, thing in stated:
            if subject in numbers and thing in numbers and subject != thing:
                yield Link(source=numbers[subject], relation=relation, target=numbers[thing])


def _is_phrase(name: str) -> bool:
    return name.islower() and not any(map(str.isdigit, name))


def _spelling(passage: Passage, key: int) -> str | None:
    """Spelling of a name in a passage's title or text; None if it is not there."""
    return surface_form(passage.title, key) or surface_form(passage.text, key)


def _short(text: str) -> str:
    """The text on one line, cut to the length of a label."""
    whole = line(text)
    return whole if len(whole) <= _LONGEST else whole[: _LONGEST - 1] + "…"


def line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
