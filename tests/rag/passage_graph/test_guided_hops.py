"""Guided hops on graphs small enough to reckon by hand, and the names of questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.entities.query import QueryEntities, query_entities, surface_form
from hoptrail.rag.passage_graph.guided_hops import HopQuery, HopResult, guided_hops
from hoptrail.rag.passage_graph.hop_scoring import HopWeights
from hoptrail.rag.store.graph_index.reader import AboutLinks, MentionLinks, PassageLinks
from hoptrail.rag.types import Candidates

GUIDE = HopWeights()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A passage of a graph in memory."""

    vector: tuple[float, ...]
    about: Mapping[str, float]
    mentions: Sequence[str] = ()
    names: int | None = None
    """How many names it has; None: those it mentions."""


def keys(names: Sequence[str]) -> NDArray[np.int64]:
    return np.array(sorted({entity_key(name) for name in names}), dtype=np.int64)


class Pages:
    """A passage graph of a few pages, row by row."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages

    def outgoing(self, rows: Sequence[int]) -> tuple[PassageLinks, ...]:
        found = []
        for row in rows:
            page = self.pages[row]
            about = sorted((entity_key(name), sure) for name, sure in page.about.items())
            found.append(
                PassageLinks(
                    abouts=np.array([key for key, _ in about], dtype=np.int64),
                    strengths=np.array([sure for _, sure in about], dtype=np.float32),
                    mentions=keys(page.mentions),
                    candidates=keys(page.mentions),
                )
            )
        return tuple(found)

    def about(self, wanted: Sequence[int]) -> AboutLinks:
        found = sorted(
            (entity_key(name), row, sure)
            for row, page in enumerate(self.pages)
            for name, sure in page.about.items()
            if entity_key(name) in set(wanted)
        )
        return AboutLinks(
            keys=np.array([one[0] for one in found], dtype=np.int64),
            rows=np.array([one[1] for one in found], dtype=np.int64),
            strengths=np.array([one[2] for one in found], dtype=np.float32),
        )

    def _mentioned(self, key: int) -> list[int]:
        return [row for row, page in enumerate(self.pages) if key in keys(page.mentions)]

    def mentioning(self, wanted: Sequence[int], limit: int) -> MentionLinks:
        found = [
            (key, row)
            for key in sorted(set(wanted))
            for row in self._mentioned(key)
            if len(self._mentioned(key)) <= limit
        ]
        return MentionLinks(
            keys=np.array([key for key, _ in found], dtype=np.int64),
            rows=np.array([row for _, row in found], dtype=np.int64),
        )

    def counts(self, wanted: Sequence[int]) -> NDArray[np.int64]:
        return np.array([len(self._mentioned(key)) for key in wanted], dtype=np.int64)

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        counts = [
            len(page.mentions) if page.names is None else page.names
            for page in (self.pages[row] for row in rows)
        ]
        return np.array(counts, dtype=np.int64)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        every = np.array([page.vector for page in self.pages], dtype=np.float32)
        return every[np.asarray(rows, dtype=np.int64)]


def walk(
    pages: Sequence[Page], question: str, own: Mapping[int, float], **guide: float
) -> HopResult:
    graph = Pages(pages)
    rows = sorted(own, key=lambda row: -own[row])
    candidates = Candidates(
        rows=np.array(rows, dtype=np.int64),
        scores=np.array([own[row] for row in rows], dtype=np.float32),
    )
    query = HopQuery(entities=query_entities(question), vector=np.float32([1, 0, 0]), nearest=0.8)
    return guided_hops(query, candidates, graph, graph.vectors, replace(GUIDE, **guide))


def standing(found: HopResult, row: int) -> float:
    places = {one: at for at, one in enumerate(found.candidates.rows.tolist())}
    return float(found.candidates.scores[places[row]]) if row in places else 0.0


SHIP = Page(vector=(0.8, 0.6, 0), about={"Heron": 1.0}, mentions=("Ilsa Corrin", "Heron"))
ILSA = Page(vector=(0.4, 0, 0.9165151), about={"Ilsa Corrin": 1.0}, mentions=("Tarn Hollow",))
OTHER = Page(vector=(0.1, 0.1, 0.9899495), about={"Port Saben": 1.0})


def test_a_title_that_the_best_passage_names_is_lifted() -> None:
    found = walk([SHIP, ILSA, OTHER], "who led it", {0: 0.9, 2: 0.1})
    # One passage mentions the name: degree 1; the target is half as near as the nearest.
    expected = 0.97 * 1.0 / (1 + 0.15 * math.log(2)) * (1 - 0.5 + 0.5 * 0.5)
    assert standing(found, 0) == 1.0
    assert standing(found, 1) == pytest.approx(expected, abs=1e-6)
    assert standing(found, 2) == pytest.approx(0.1 / 0.9, abs=1e-6)
    assert found.hops[1].row == 0
    assert found.hops[1].key == entity_key("Ilsa Corrin")
    assert 2 not in found.hops


def test_a_name_that_the_question_has_is_no_news() -> None:
    found = walk([SHIP, ILSA, OTHER], "what did Ilsa Corrin command", {0: 0.9})
    # It counts as named by the question, two words, and by no hop.
    assert standing(found, 1) == pytest.approx(0.7 * 1.0, abs=1e-6)
    assert 1 not in found.hops


def test_a_title_named_by_the_question_counts_by_its_words() -> None:
    pages = [
        Page(vector=(0.5, 0.5, 0.7071), about={"Heron": 1.0}),
        Page(vector=(0.5, 0.5, 0.7071), about={"Veil Institute": 0.95}),
    ]
    found = walk(pages, "is the Heron at the Veil Institute", {0: 0.5, 1: 0.25})
    assert standing(found, 0) == pytest.approx(1 + 0.7 * 0.75, abs=1e-6)
    assert standing(found, 1) == pytest.approx(0.5 + 0.7 * 0.95, abs=1e-6)


def test_a_rare_name_of_the_question_counts_without_a_title() -> None:
    pages = [
        Page(vector=(0.5, 0.5, 0.7071), about={}, mentions=("Otto Renn",)),
        Page(vector=(0.5, 0.5, 0.7071), about={}),
    ]
    found = walk(pages, "who was Otto Renn", {0: 0.5, 1: 0.5})
    assert standing(found, 0) == pytest.approx(1 + 0.5, abs=1e-6)
    assert standing(found, 1) == 1.0


def test_of_many_passages_about_a_name_the_nearest_counts_most() -> None:
    parts = [
        Page(vector=(near, 0, math.sqrt(1 - near**2)), about={"Ilsa Corrin": 1.0})
        for near in (0.2, 0.4, 0.3)
    ]
    found = walk([SHIP, *parts], "who led it", {0: 0.9})
    assert standing(found, 2) > standing(found, 3) > standing(found, 1) > 0


def test_a_shared_name_leads_to_what_the_question_leaves_open() -> None:
    start = Page(vector=(0.8, 0.6, 0), about={}, mentions=("Veil",))
    open_to = Page(vector=(0.6, -0.8, 0), about={}, mentions=("Veil",))
    beside = Page(vector=(0.8, 0.6, 0), about={}, mentions=("Veil",))
    found = walk([start, open_to, beside], "who led it", {0: 1.0}, rare_name_weight=0.0)
    # What is left of (1, 0, 0) beside the first passage is (.6, -.8, 0): the second lies there.
    worth = min(1.0, 1.1 / (1 + 0.1 * math.log(3)))
    assert standing(found, 1) == pytest.approx(0.97 * worth * (0.5 + 0.5 * 0.75), abs=1e-6)
    assert standing(found, 2) == 0.0


def test_a_name_that_too_many_mention_is_not_followed() -> None:
    pages = [
        Page(vector=(0.6, -0.8, 0), about={}, mentions=("Veil",))
        for _ in range(GUIDE.common_name_limit + 1)
    ]
    found = walk([replace(SHIP, mentions=("Veil",)), *pages], "who led it", {0: 1.0})
    assert found.candidates.rows.tolist() == [0]


def test_a_list_of_all_names_is_told_less() -> None:
    start = Page(vector=(0.8, 0.6, 0), about={}, mentions=("Veil",))
    plain = Page(vector=(0.6, -0.8, 0), about={}, mentions=("Veil",), names=3)
    listing = replace(plain, names=240)
    found = walk([start, plain, listing], "who led it", {0: 1.0})
    assert standing(found, 2) == pytest.approx(standing(found, 1) * 24 / 240, abs=1e-6)


@given(st.permutations(range(6)))
def test_standings_do_not_depend_on_where_rows_lie(order: list[int]) -> None:
    pages = [
        SHIP,
        ILSA,
        OTHER,
        Page(vector=(0.3, 0.3, 0.9055), about={"Tarn Hollow": 1.0}, mentions=("Port Saben",)),
        Page(vector=(0.3, 0.3, 0.9055), about={"Tarn Hollow": 0.9}, mentions=("Ilsa Corrin",)),
        Page(vector=(0.2, -0.4, 0.8944), about={}, mentions=("Ilsa Corrin", "Port Saben")),
    ]
    own = {0: 0.9, 3: 0.4, 4: 0.4}
    plain = walk(pages, "who led the Heron", own)
    moved = walk(
        [pages[at] for at in order],
        "who led the Heron",
        {order.index(row): score for row, score in own.items()},
    )
    for row in range(len(pages)):
        assert standing(moved, order.index(row)) == standing(plain, row)


def test_nothing_found_leads_nowhere() -> None:
    found = walk([SHIP], "who led it", {})
    assert found.candidates.rows.tolist() == []
    assert found.hops == {}


def test_phrases_of_a_question_are_runs_of_its_words() -> None:
    found = query_entities("Who led the Veil Institute of Port Saben?")
    assert entity_key("the Veil Institute of Port Saben") in found.phrases
    assert entity_key("led the") in found.phrases
    assert entity_key("led") not in found.phrases
    assert entity_key("Veil") in found.phrases
    assert found.mentions == {entity_key("Veil Institute of Port Saben")}


def test_of_known_phrases_the_longest_count() -> None:
    found = query_entities("Who led the Veil Institute of Port Saben?")
    known = [entity_key(one) for one in ("Veil Institute", "Port Saben", "Saben", "Institute")]
    assert found.longest(known) == {entity_key("Veil Institute"): 2, entity_key("Port Saben"): 2}


def test_a_question_without_capitals_still_has_its_longer_phrases() -> None:
    assert entity_key("Port Saben") in query_entities("where is port saben").phrases


@pytest.mark.parametrize("question", ["", "???", " ", "'s"])
def test_a_question_without_words_names_nothing(question: str) -> None:
    assert query_entities(question) == QueryEntities(phrases={}, mentions=frozenset())


def test_a_pasted_page_is_read_at_its_head_only() -> None:
    assert len(query_entities("Heron " * 100_000).phrases) <= 200 * 10


def test_a_name_is_shown_as_it_stands() -> None:
    text = "He met Ilsa  Corrin, of Maddock Yard, twice."
    assert surface_form(text, entity_key("ilsa corrin")) == "Ilsa  Corrin"
    assert surface_form(text, entity_key("Corrin")) == "Corrin"
    assert surface_form(text, entity_key("Otto Renn")) is None
