"""Texts that are made to mislead the graph search, or just bad: nothing rises that should not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.passage_graph.hop_scoring import HopWeights
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.graph_index.reader import GraphReader
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import (
    Document,
    Hit,
    IndexedDocument,
    Mode,
    Passage,
    Scalar,
    Where,
    embedding_text,
    passage_id,
)

EMBEDDER = HashEmbedder(64)
SPEC = StoreSpec(embedder=EMBEDDER.id, dimension=EMBEDDER.dimension)
_FIRST = ("Arvid", "Berta", "Carl", "Dora", "Emil", "Frida", "Gunnar", "Hedda", "Ivar", "Jorun")
_LAST = ("Holm", "Lind", "Wiik", "Falk", "Rask", "Moe", "Dahl", "Berg", "Sand", "Vik")
PEOPLE = (
    *(f"{first} {last}" for first, last in zip(_FIRST, _LAST, strict=True)),
    *(f"{first} {last}" for first, last in zip(_FIRST, reversed(_LAST), strict=True)),
)
TOWNS = tuple(
    f"{first}{last}"
    for last in ("vik", "ness", "und", "by")
    for first in ("Kal", "Lom", "Mor", "Nes", "Or")
)
FIRMS = tuple(
    f"{first} {last}"
    for last in ("Works", "Mills", "Lines", "Rails")
    for first in ("Anchor", "Beacon", "Cedar", "Delta", "Ember")
)
QUESTIONS = (
    *(f"In which town was the founder of {firm} born?" for firm in FIRMS[::3]),
    *(f"What is made in the town where {person} was born?" for person in PEOPLE[::3]),
    "Who is the founder of a firm that repairs engines?",
    "Which river runs past a harbour?",
)


@dataclass(frozen=True)
class Doc:
    """A document of one passage, unless its text has several lines."""

    title: str
    text: str
    meta: Mapping[str, Scalar] | None = None


def put(name: str, doc: Doc) -> IndexedDocument:
    passages, start = [], 0
    for line in doc.text.split("\n"):
        end = start + len(line)
        passages.append(
            Passage(
                id=passage_id(name, start, end),
                document_id=name,
                start=start,
                end=end,
                title=doc.title,
                text=line,
            )
        )
        start = end + 1
    return IndexedDocument(
        document=Document(id=name, title=doc.title, text=doc.text, metadata=dict(doc.meta or {})),
        passages=passages,
        vectors=EMBEDDER.embed([embedding_text(one) for one in passages]),
        fingerprint=f"{doc}",
    )


def filled(root: Path, docs: Mapping[str, Doc], tenant: str = "default") -> Store:
    store = Store.create(root, SPEC, tenant=tenant)
    store.commit([put(name, doc) for name, doc in docs.items()])
    return store


def hits(
    store: Store, question: str, mode: Mode = "graph", where: Where | None = None
) -> list[Hit]:
    found = Retriever(store, EMBEDDER).search(question, k=60, mode=mode, where=where or {})
    return list(found.hits)


def place(store: Store, question: str, name: str, mode: Mode) -> int:
    """Where a document stands, from 0; behind all hits if it is none of them."""
    ids = [hit.passage.document_id for hit in hits(store, question, mode)]
    return ids.index(name) if name in ids else len(ids)


def world() -> dict[str, Doc]:
    """Firms, their founders, and the towns where those were born."""
    docs: dict[str, Doc] = {}
    for at, (person, town, firm) in enumerate(zip(PEOPLE, TOWNS, FIRMS, strict=True)):
        docs[f"firm{at}"] = Doc(
            firm, f"The company repairs engines and pumps. It was founded by {person}."
        )
        docs[f"person{at}"] = Doc(
            person, f"An engineer and painter, the youngest of nine, born in {town}."
        )
        docs[f"town{at}"] = Doc(
            town, "A harbour on the coast, past which a river runs; boats and nets are made there."
        )
    return docs


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with filled(tmp_path_factory.mktemp("plain"), world()) as store:
        yield store


def test_the_world_has_hops_to_find(plain: Store) -> None:
    """Else nothing below would show anything."""
    for at, firm in enumerate(FIRMS):
        question = f"In which town was the founder of {firm} born?"
        found = hits(plain, question)
        ids = [hit.passage.document_id for hit in found]
        assert ids[0] == f"firm{at}"
        assert f"person{at}" in ids[1:3]
        via = found[ids.index(f"person{at}")].via
        assert via is not None
        assert via.name == PEOPLE[at]


LISTS = {
    "in a list": ("All of them", ", ".join((*PEOPLE, *TOWNS, *FIRMS))),
    "in sentences": (
        "Yearbook",
        " ".join(f"{one} is in it too." for one in (*PEOPLE, *TOWNS, *FIRMS)),
    ),
    "without a title": ("", "; ".join((*PEOPLE, *TOWNS, *FIRMS))),
    "in its title": (", ".join((*PEOPLE, *TOWNS, *FIRMS)), "Nothing but a heading."),
    "many times": ("Index", " ".join((*PEOPLE, *TOWNS, *FIRMS) * 8)),
}


@pytest.mark.parametrize("how", LISTS)
def test_a_passage_that_names_everything_does_not_rise(tmp_path: Path, how: str) -> None:
    title, text = LISTS[how]
    with filled(tmp_path, {**world(), "list": Doc(title, text)}) as store:
        for question in QUESTIONS:
            by_itself = place(store, question, "list", "hybrid")
            assert place(store, question, "list", "graph") >= by_itself, question


@pytest.mark.parametrize(
    "title",
    [
        "The",
        "Who",
        "What is",
        "In which",
        "Is the",
        "of the",
        "born",
        "Was the",
        "What is the",
        "?",
    ],
)
def test_a_title_of_common_words_does_not_rise(tmp_path: Path, title: str) -> None:
    docs = {**world(), "trap": Doc(title, "Gravel, sand and chalk were carted away in autumn.")}
    with filled(tmp_path, docs) as store:
        for question in QUESTIONS:
            by_itself = place(store, question, "trap", "hybrid")
            assert place(store, question, "trap", "graph") >= min(by_itself, 4), question


def test_a_title_that_echoes_the_question_hides_no_name_in_it(tmp_path: Path) -> None:
    question = QUESTIONS[0]
    docs = {**world(), "echo": Doc(question, "Advertisement: buy gravel.")}
    with filled(tmp_path, docs) as store:
        ids = [hit.passage.document_id for hit in hits(store, question)]
        assert {"firm0", "person0"} <= set(ids[:4])


def test_texts_without_names_are_ranked_as_by_hybrid_search(tmp_path: Path) -> None:
    words = ("gravel", "sand", "chalk", "river", "boat", "net", "pump", "rope", "sail", "oar")
    docs = {
        f"d{at}": Doc("", " ".join(some))
        for at, some in enumerate(itertools.combinations(words, 3))
        if at % 5 == 0
    }
    with filled(tmp_path, docs) as store:
        for question in ("who carts gravel and sand?", "rope for a sail", "chalk"):
            graph, hybrid = (hits(store, question, mode) for mode in ("graph", "hybrid"))
            assert [one.passage.id for one in graph] == [one.passage.id for one in hybrid]
            assert all(one.via is None for one in graph)


def test_a_name_in_every_passage_leads_nowhere(tmp_path: Path) -> None:
    """Where all passages share a name, it must not change the order of what has no other."""
    docs = {f"d{at}": Doc("", f"Norway: item {word}.") for at, word in enumerate(_words(150))}
    with filled(tmp_path, docs) as store:
        for question in ("item babo", "Norway item cedi", "Which item is of Norway?"):
            graph, hybrid = (hits(store, question, mode) for mode in ("graph", "hybrid"))
            assert [one.passage.id for one in graph] == [one.passage.id for one in hybrid]


def test_fifty_thousand_mentions_in_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search looks up is bounded, however many names a document has."""
    names = [f"{one.capitalize()} {other.capitalize()}" for one, other in _pairs(50_000)]
    (tmp_path / "all.txt").write_text(". ".join(names) + ".", encoding="utf-8")
    looked_up = _counting(monkeypatch)
    with filled(tmp_path / "store", world()) as store:
        ingest([tmp_path / "all.txt"], store, EMBEDDER)
        assert store.stats().passages > 1000
        for question in (f"Where was {names[777]} born?", f"Who met {names[5]} in Kalvik?"):
            looked_up.clear()
            assert hits(store, question)
            guide = HopWeights()
            # A passage of 180 tokens has at most so many names and sequences of them.
            assert sum(looked_up) <= 600 * (guide.reads + 5) + guide.common_name_limit * guide.reads
    found = {one: looked_up.count(one) for one in looked_up}
    assert found


@pytest.mark.parametrize(
    "text",
    [
        "Иван Петров родился в городе Псков. Москва лежит далеко.",
        "东京是日本的首都。鲁迅出生于绍兴。",
        "ولد نجيب محفوظ في القاهرة.",
        "Ο Νίκος Καζαντζάκης γεννήθηκε στο Ηράκλειο.",
        "นายสมชาย เกิดที่กรุงเทพ",
        "Zoë Müller-Ångström traf İbrahim Çelik in São Tomé.",
        "\u200b\u202eArvid\u2066 Holm 🚢 \ud83d".encode("utf-16", "surrogatepass").decode(
            "utf-16", "replace"
        ),
        "A" * 5000,
        ". . . ! ? ; ; — « » “”",
        "Ⅻ ﬁ ǅ ß ŉ ͅ",
    ],
)
def test_scripts_of_all_kinds(tmp_path: Path, text: str) -> None:
    docs = {**world(), "other": Doc(text[:20], text), "again": Doc("", f"{text} {PEOPLE[0]}")}
    with filled(tmp_path, docs) as store:
        for question in (text, text[:8] or text, QUESTIONS[0], f"{PEOPLE[0]} {text}"):
            found = hits(store, question)
            assert all(np.isfinite(one.score) for one in found)
            if question == text and any(letter.isalnum() for letter in text):
                assert {"other", "again"} <= {one.passage.document_id for one in found[:6]}
        best = [hit.passage.document_id for hit in hits(store, QUESTIONS[0])]
        assert best[0] == "firm0"


@pytest.mark.parametrize("question", ["", " ", "\n\t ", "\u00a0", "\u2003"])
def test_an_empty_question_is_refused(plain: Store, question: str) -> None:
    with pytest.raises(SettingsError, match="empty"):
        hits(plain, question)


@pytest.mark.parametrize("question", ["?", "...", "the of and", "\u200b", "🚢"])
def test_a_question_without_words_is_no_failure(plain: Store, question: str) -> None:
    assert [one.score for one in hits(plain, question)] == sorted(
        (one.score for one in hits(plain, question)), reverse=True
    )


NAMES = st.sampled_from([*PEOPLE, *TOWNS[:3], "gravel", "boats", "the river", "1905"])
TEXTS = st.lists(NAMES, min_size=1, max_size=6).map(" met ".join)
DOCS = st.builds(
    Doc,
    title=st.sampled_from(["", *PEOPLE, *TOWNS[:2]]),
    text=st.lists(TEXTS, min_size=1, max_size=3).map("\n".join),
    meta=st.fixed_dictionaries({"kind": st.sampled_from(["a", "b"]), "n": st.integers(0, 2)}),
)
CORPORA = st.dictionaries(st.sampled_from([f"doc{at}" for at in range(12)]), DOCS, min_size=1)
ASKED = st.sampled_from(
    [f"Who met {PEOPLE[0]}?", f"When was {TOWNS[0]} met by {PEOPLE[1]} in 1905?", "boats, gravel"]
)


def said(store: Store, question: str, where: Where | None = None) -> list[tuple[object, ...]]:
    return [(one.passage.id, one.score, one.via) for one in hits(store, question, where=where)]


@settings(max_examples=12, deadline=None)
@given(docs=CORPORA, question=ASKED, where=st.sampled_from([{"kind": "a"}, {"kind": "b", "n": 1}]))
def test_a_filter_keeps_foreign_passages_out_of_hops_too(
    docs: dict[str, Doc], question: str, where: Where
) -> None:
    with TemporaryDirectory() as folder, filled(Path(folder), docs) as store:
        kept = {name for name, doc in docs.items() if where.items() <= dict(doc.meta or {}).items()}
        of = {one.id: name for name in docs for one in store.passages_of(name)}
        found = hits(store, question, where=where)
        assert {one.passage.document_id for one in found} <= kept
        assert {of[one.via.passage_id] for one in found if one.via} <= kept
        everything = hits(store, question)
        assert len(everything) >= len(found)


@settings(max_examples=8, deadline=None)
@given(mine=CORPORA, theirs=CORPORA, question=ASKED)
def test_a_tenant_ranks_as_in_a_store_of_its_own(
    mine: dict[str, Doc], theirs: dict[str, Doc], question: str
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        with (
            filled(root / "shared", mine, "mine") as one,
            filled(root / "shared", theirs, "theirs") as other,
            filled(root / "alone", mine) as alone,
        ):
            assert hits(other, question) is not None
            assert said(one, question) == said(alone, question)


@settings(max_examples=12, deadline=None)
@given(
    first=CORPORA,
    second=CORPORA,
    gone=st.sets(st.sampled_from([f"doc{at}" for at in range(12)])),
    question=ASKED,
)
def test_after_changes_the_ranking_is_that_of_a_fresh_store(
    first: dict[str, Doc], second: dict[str, Doc], gone: set[str], question: str
) -> None:
    now = {name: doc for name, doc in {**first, **second}.items() if name not in gone}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        with filled(root / "changed", first) as store, filled(root / "fresh", now) as fresh:
            store.commit([put(name, doc) for name, doc in second.items()])
            store.commit([], deletes=sorted(gone))
            # Until then the words of the dead count in BM25's statistics.
            store.compact()
            for where in ({}, {"kind": "a"}):
                changed, right = said(store, question, where), said(fresh, question, where)
                assert [one[0] for one in changed] == [one[0] for one in right]
                assert [one[1] for one in changed] == pytest.approx([one[1] for one in right])
                assert [one[2] for one in changed] == [one[2] for one in right]


def _words(count: int) -> list[str]:
    syllables = ("ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re", "bo")
    return [
        "".join(some) for some in itertools.islice(itertools.product(syllables, repeat=2), count)
    ]


def _pairs(count: int) -> Iterator[tuple[str, str]]:
    syllables = ("ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re", "bo")
    some = ["".join(one) for one in itertools.product(syllables, repeat=3)]
    return itertools.islice(itertools.product(some, some), count)


def _counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each look-up in a graph has asked for or answered."""
    spent: list[int] = []

    def counted(name: str) -> None:
        real = getattr(GraphReader, name)

        def call(self: GraphReader, keys: Sequence[int], *more: int) -> object:
            found = real(self, keys, *more)
            spent.append(len(keys))
            spent.append(len(found.rows) if hasattr(found, "rows") else 0)
            return found

        monkeypatch.setattr(GraphReader, name, call)

    for name in ("about", "mentioning", "counts", "names", "outgoing"):
        counted(name)
    return spent
