"""Entities shared by given passages and a question: the links drawn by `hoptrail graph page`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hoptrail.rag.entities.query import query_entities, surface_form
from hoptrail.rag.store.graph_index.reader import GraphReader, PassageLinks
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Passage

_MOST = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEntity:
    """A name that several of the passages share, or that the question has."""

    name: str
    asked: bool
    """Whether it is in the question."""
    about: tuple[str, ...]
    """Ids of the passages that are about it, in the order given."""
    mentioning: tuple[str, ...]
    """Ids of the other passages that have it."""


def shared_entities(
    store: Store, ids: Sequence[str], question: str, *, most: int = _MOST
) -> list[SharedEntity]:
    """The names that link passages to each other and to a question.

    Args:
        store: one with a passage graph.
        ids: ids of passages; unknown ones are skipped.
        question: its names are included if a passage has them.
        most: maximum number of names beyond those of the question; the rarest are kept.

    Returns:
        The question's names first, then the others by rarity. Of nested names that link the same
        passages only the longest is included.

    Raises:
        BackendRefused: the store has no passage graph.
    """
    with store.snapshot().graph() as links:
        rows = links.rows(ids).tolist()
        passages = {
            row: passage
            for row, passage in zip(rows, store.resolve(rows), strict=True)
            if row >= 0 and passage is not None
        }
        outgoing = dict(zip(passages, links.outgoing(list(passages)), strict=True))
        return _shared(links, passages, outgoing, question, most)


def _shared(
    links: GraphReader,
    passages: Mapping[int, Passage],
    outgoing: Mapping[int, PassageLinks],
    question: str,
    most: int,
) -> list[SharedEntity]:
    about: dict[int, list[int]] = defaultdict(list)
    having: dict[int, list[int]] = defaultdict(list)
    for row, out in outgoing.items():
        for key in out.abouts.tolist():
            about[key].append(row)
        for key in {*out.abouts.tolist(), *out.mentions.tolist(), *out.candidates.tolist()}:
            having[key].append(row)
    wanted = query_entities(question)
    own = wanted.longest(having.keys()).keys() | (wanted.mentions & having.keys())
    mentioned = {key for out in outgoing.values() for key in out.mentions.tolist()}
    shared = {
        key
        for key, rows in having.items()
        # A part of a name that is no name of its own links nothing, unless a passage is about it.
        if len(rows) > 1 and (key in about or key in mentioned)
    }
    found = []
    for key in _rarest(links, own) + _rarest(links, shared - own):
        name = _spelling(question, passages, having[key], key)
        if name:
            among = set(about[key])
            found.append(
                SharedEntity(
                    name=name,
                    asked=key in own,
                    about=tuple(passages[row].id for row in about[key]),
                    mentioning=tuple(passages[r].id for r in having[key] if r not in among),
                )
            )
    kept = list(_longest(found))
    return [one for one in kept if one.asked] + [one for one in kept if not one.asked][:most]


def _rarest(links: GraphReader, keys: set[int]) -> list[int]:
    ordered = sorted(keys)
    counts = dict(zip(ordered, links.counts(ordered).tolist(), strict=True))
    return sorted(ordered, key=lambda key: (counts[key], key))


def _spelling(question: str, passages: Mapping[int, Passage], rows: Sequence[int], key: int) -> str:
    """Spelling of a name in the question, else in the first passage that has it; empty if none."""
    texts = (text for row in rows for text in (passages[row].title, passages[row].text))
    found = surface_form(question, key) or next(
        filter(None, (surface_form(one, key) for one in texts)), ""
    )
    return " ".join(found.split())


def _longest(found: Sequence[SharedEntity]) -> Iterator[SharedEntity]:
    """Drops names that are part of a longer name with the same links."""
    for one in found:
        ends = {*one.about, *one.mentioning}
        if not any(
            len(other.name) > len(one.name)
            and one.name.casefold() in other.name.casefold()
            and {*other.about, *other.mentioning} == ends
            and other.asked >= one.asked
            for other in found
        ):
            yield one
