"""Profile of an entity in a store: passages about it, passages that mention it, its triples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from hoptrail.rag.entities.extraction import entity_key, mentioned_entities
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.graph_index.reader import GraphReader
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import EVERYTHING, Passage, Where, tie_break

MANY = 1000
"""Passages that mention a name are counted up to this number, and listed below it."""

_MOST_ABOUT = 1000
_READ = 30
"""Passages whose names are compared with an unknown name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTriple:
    """An imported triple and the passage it was extracted from."""

    subject: str
    relation: str
    object: str
    passage: Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityProfile:
    """Passages and triples of an entity; in both lists passages with few names come first."""

    about: tuple[Passage, ...]
    mentioning: tuple[Passage, ...]
    """Passages that mention it and are not about it; empty if `MANY` or more mention it."""
    mentioned: int
    """Number of passages that mention it, up to `MANY`; a filter is ignored here."""
    triples: tuple[ProfileTriple, ...]

    @property
    def empty(self) -> bool:
        """Whether the store does not know the entity."""
        return not self.about and not self.mentioning and self.mentioned < MANY


def entity_profile(store: Store, name: str, where: Where = EVERYTHING) -> EntityProfile:
    """Looks up the profile of a name.

    Raises:
        SettingsError: the name has no word in it, or a filter value that is no scalar.
        BackendRefused: the store has no passage graph.
    """
    key = entity_key(name)
    if not key:
        raise SettingsError(f"The name {name!r} is empty: give a word or more.")
    with store.snapshot().graph(where) as links:
        about = dict.fromkeys(links.about([key], _MOST_ABOUT).rows.tolist(), 0)
        mentioning = links.mentioning([key], MANY - 1).rows.tolist()
        passages = _passages(
            store, links, [*about, *(row for row in mentioning if row not in about)]
        )
        triples = tuple(_triples(links, key, passages))
        return EntityProfile(
            about=tuple(one for row, one in passages.items() if row in about),
            mentioning=tuple(one for row, one in passages.items() if row not in about),
            mentioned=int(links.counts([key], MANY)[0]),
            triples=triples,
        )


def similar_names(store: Store, name: str, where: Where = EVERYTHING) -> list[str]:
    """Up to three names spelled nearly the same, from passages that have one of its words."""
    found = store.lexical(name, _READ, where)
    passages = [one for one in store.resolve(found.rows) if one is not None]
    spellings: dict[str, str] = {}
    for passage in passages:
        for known in (passage.title, *mentioned_entities(passage.text).values()):
            spellings.setdefault(known.casefold(), " ".join(known.split()))
    close = get_close_matches(name.casefold(), sorted(spellings), n=3, cutoff=0.6)
    return [spellings[one] for one in close]


def _passages(store: Store, links: GraphReader, rows: list[int]) -> dict[int, Passage]:
    """By row: its passage, those with the fewest names first."""
    counts = dict(zip(rows, links.names(np.array(rows, dtype=np.int64)).tolist(), strict=True))
    found = {
        row: passage
        for row, passage in zip(rows, store.resolve(rows), strict=True)
        if passage is not None
    }
    order = sorted(found, key=lambda row: (counts[row], tie_break(found[row].id)))
    return {row: found[row] for row in order}


def _triples(links: GraphReader, key: int, passages: dict[int, Passage]) -> Iterator[ProfileTriple]:
    """The triples that have the name, ordered by their texts."""
    triples = sorted(
        (one.subject, one.relation, one.object, passages[one.row].id, one.row)
        for one in links.triples(list(passages))
        if key in (entity_key(one.subject), entity_key(one.object))
    )
    for subject, relation, thing, _, row in triples:
        yield ProfileTriple(subject=subject, relation=relation, object=thing, passage=passages[row])
