"""Every index behind the two protocols passes the same tests; what it lacks, it refuses."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.store import DIMENSION, ids, indexed, new_store, texts, vector

from hoptrail.rag.errors import BackendRefused, SettingsError
from hoptrail.rag.store.indexes import rank_bm25 as okapi
from hoptrail.rag.store.store import Store
from hoptrail.rag.text.analyzer import index_terms
from hoptrail.rag.types import tie_break

LEXICAL = ["tantivy", "rank-bm25"]
DENSE = ["exact", "chroma"]
Make = Callable[..., Store]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes stores and closes them."""
    opened: list[Store] = []

    def one(name: str = "store", **settings: str) -> Store:
        opened.append(new_store(tmp_path / name, **settings))
        return opened[-1]

    yield one
    for store in opened:
        store.close()


@pytest.fixture(params=LEXICAL)
def lexical(request: pytest.FixtureRequest, make: Make) -> Store:
    return make(lexical=request.param)


@pytest.fixture(params=DENSE)
def dense(request: pytest.FixtureRequest, make: Make) -> Store:
    return make(dense=request.param)


def test_a_rare_word_finds_its_passage(lexical: Store) -> None:
    lexical.commit(
        [indexed(f"d{n}", [f"A ship named {name}"]) for n, name in enumerate(["ab", "cd", "ef"])]
    )
    assert texts(lexical, lexical.lexical("which SHIP was named cd?", 1)) == ["A ship named cd"]


def test_a_class_letter_decides(lexical: Store) -> None:
    body = "The harbour board publishes its charges. Vessels of class {} pay {} crowns a night."
    lexical.commit([indexed(one, [body.format(one, n)]) for n, one in enumerate("ABCD")])
    for one in "ABCD":
        found = lexical.lexical(f"What do vessels of class {one} pay?", 1)
        assert texts(lexical, found) == [body.format(one, "ABCD".index(one))]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("ERR4012", 0), ("err 4021", 1), ("C++", 2), ("C#", 3), ("which C compiler", 4),
        ("max retry count", 5), ("1250000", 6), ("灯油", 7), ("油", 7), ("harbor\u00admaster", 8),
    ],
)  # fmt: skip
def test_codes_identifiers_and_scripts_are_found(lexical: Store, query: str, number: int) -> None:
    bodies = [
        "ERR-4012 means a dry pump", "ERR-4021 means an open lid", "the C++ compiler",
        "the C# compiler", "the C compiler", "Set maxRetryCount to 9", "cost 1,250,000 crowns",
        "北岸仓库存放四十桶灯油，由王敏负责看管。", "the harbormaster of Vesk",
    ]  # fmt: skip
    lexical.commit([indexed(f"d{n}", [body]) for n, body in enumerate(bodies)])
    assert texts(lexical, lexical.lexical(query, 1)) == [bodies[number]]


def test_the_code_at_the_end_of_a_long_query_counts(lexical: Store) -> None:
    logged = [f"{a}{b}ba" for a in "bcdfghklmnprstvw" for b in "aeiouaeiouaeiouaeiou"]
    words = [f"{one}{chr(97 + n % 26)}{chr(97 + n // 26)}" for n, one in enumerate(logged)]
    lexical.commit(
        [indexed("fix", ["Fault QX7719 is cured by bleeding"]), indexed("log", [*words])]
    )
    found = lexical.lexical(" ".join([*words, "QX7719"]), 400)
    assert "Fault QX7719 is cured by bleeding" in texts(lexical, found)


def test_titles_are_searched_too(lexical: Store) -> None:
    lexical.commit([indexed("a", ["It sank."], title="Meridian"), indexed("b", ["It sank."])])
    assert texts(lexical, lexical.lexical("meridian", 5)) == ["It sank."]


@pytest.mark.parametrize("query", ["", "   ", "the and of", "?!", "x y z"])
def test_a_query_without_words_finds_nothing(lexical: Store, query: str) -> None:
    lexical.commit([indexed("a", ["the and of it"])])
    found = lexical.lexical(query, 5)
    assert len(found.rows) == len(found.scores) == 0
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize(
    "query", ['ship"', "ship AND", "title:ship", "+ship -ship", "ship~2^9", "(ship", "*", "[ TO ]"]
)
def test_query_syntax_is_harmless(lexical: Store, query: str) -> None:
    lexical.commit([indexed("a", ["one ship"]), indexed("b", ["one boat"])])
    assert texts(lexical, lexical.lexical(query, 5)) == (["one ship"] if "ship" in query else [])


def test_a_very_long_query_is_answered(lexical: Store) -> None:
    lexical.commit([indexed("a", ["one ship"])])
    query = "ship " + " ".join(f"word{n}" for n in range(12_000))
    assert texts(lexical, lexical.lexical(query, 5)) == ["one ship"]


def test_equal_texts_score_equally_and_are_ordered_by_a_hash(lexical: Store) -> None:
    body = "Four white ships sailed over a cold northern sea"
    lexical.commit([indexed(f"d{n}", [body], vectors=[vector(n)]) for n in range(90)])
    lexical.commit([indexed("other", [f"Something else {n}" for n in range(300)])])
    found = lexical.lexical("cold white northern ships sailed", 20)
    assert len(set(found.scores.tolist())) == 1
    every = [
        passage.id
        for name in lexical.documents()
        for passage in lexical.passages_of(name)
        if passage.text == body
    ]
    assert ids(lexical, found) == sorted(every, key=tie_break)[:20]


def test_words_filter_before_ranking(lexical: Store) -> None:
    lexical.commit(
        [indexed(f"best{n}", ["ship ship ship"], meta={"kept": False}) for n in range(150)]
        + [
            indexed(f"kept{n}", [f"a ship among many other words {n}"], meta={"kept": True})
            for n in range(7)
        ]
    )
    found = lexical.lexical("ship", 7, {"kept": True})
    assert len(found.rows) == 7
    assert all("many other" in text for text in texts(lexical, found))
    unfiltered = dict(
        zip(ids(lexical, all_ := lexical.lexical("ship", 500)), all_.scores, strict=True)
    )
    assert [unfiltered[one] for one in ids(lexical, found)] == pytest.approx(found.scores.tolist())


def test_replaced_words_are_hidden_at_once(lexical: Store) -> None:
    lexical.commit([indexed("a", [f"old ship {n}" for n in range(60)]), indexed("b", ["a ship"])])
    lexical.commit([indexed("a", ["new boat"])])
    assert texts(lexical, lexical.lexical("ship", 1)) == ["a ship"]
    assert texts(lexical, lexical.lexical("boat old", 5)) == ["new boat"]
    lexical.commit([], ["b"])
    assert texts(lexical, lexical.lexical("ship", 5)) == []


def test_more_results_extend_fewer(lexical: Store) -> None:
    random = np.random.default_rng(3)
    sea = ["ship", "sea", "ice", "wind", "harbour", "rope", "sail", "storm", "north"]
    lexical.commit([indexed(f"d{n}", [" ".join(random.choice(sea, size=8))]) for n in range(120)])
    full = ids(lexical, lexical.lexical("ice wind rope storm", 120))
    for k in (1, 3, 10, 50):
        assert ids(lexical, lexical.lexical("ice wind rope storm", k)) == full[:k]


@pytest.mark.parametrize(
    ("backend", "k1", "slack"), [("tantivy", 1.2, 2.0**-10), ("rank-bm25", 1.5, 1e-6)]
)
def test_scores_are_bm25_computed_by_hand(
    make: Make, backend: str, k1: float, slack: float
) -> None:
    store = make(lexical=backend)
    bodies = [
        "ship sea ship",
        "sea ice",
        "ice ice ship wind rope",
        "wind",
        "harbour sea wind north",
    ]
    store.commit([indexed(f"d{n}", [body]) for n, body in enumerate(bodies)])
    corpus = [index_terms("english", body) for body in bodies]
    mean = sum(map(len, corpus)) / len(corpus)
    expected = {}
    for body, tokens in zip(bodies, corpus, strict=True):
        counts, score = Counter(tokens), 0.0
        for term in index_terms("english", "ship ice wind ship"):
            holding = sum(term in other for other in corpus)
            idf = math.log(1 + (len(corpus) - holding + 0.5) / (holding + 0.5))
            part = counts[term]
            score += idf * part * (k1 + 1) / (part + k1 * (0.25 + 0.75 * len(tokens) / mean))
        if score:
            expected[body] = score
    found = store.lexical("ship ice wind ship", 10)
    assert dict(zip(texts(store, found), found.scores.tolist(), strict=True)) == pytest.approx(
        expected, rel=slack
    )


def test_every_vector_finds_itself_with_the_score_of_its_product(dense: Store) -> None:
    items = [indexed(f"d{n}", [f"text {n} {m}" for m in range(5)]) for n in range(60)]
    dense.commit(items)
    for item in items[::7]:
        for passage, own in zip(item.passages, item.vectors, strict=True):
            found = dense.dense(own, 1)
            assert ids(dense, found) == [passage.id]
            assert found.scores[0] == np.float32((own.astype(np.float64) ** 2).sum())


def test_the_best_by_vector_are_those_of_a_full_sort(dense: Store) -> None:
    items = [indexed(f"d{n}", [f"text {n} {m}" for m in range(7)]) for n in range(70)]
    dense.commit(items)
    every = {p.id: v for item in items for p, v in zip(item.passages, item.vectors, strict=True)}
    query = vector("query")
    found = dense.dense(query, 25)
    expected = sorted(every, key=lambda one: -float(every[one].astype(np.float64) @ query))[:25]
    assert ids(dense, found) == expected
    assert (np.diff(found.scores) <= 0).all()


def test_equal_vectors_are_ordered_by_a_hash(dense: Store) -> None:
    same = vector("same")
    dense.commit([indexed(f"d{n}", [f"text {n}"], vectors=[same]) for n in range(400)])
    found = dense.dense(same, 10)
    every = [dense.passages_of(name)[0].id for name in dense.documents()]
    assert ids(dense, found) == sorted(every, key=tie_break)[:10]


def test_vectors_filter_before_ranking(dense: Store) -> None:
    query = vector("query")
    near = [
        indexed(f"near{n}", [f"near {n}"], vectors=[query], meta={"kept": 0}) for n in range(300)
    ]
    far = [
        indexed(f"far{n}", [f"far {n}"], vectors=[-query], meta={"kept": 1, "n": n})
        for n in range(9)
    ]
    dense.commit(near + far)
    assert all(text.startswith("far") for text in texts(dense, dense.dense(query, 9, {"kept": 1})))
    assert len(dense.dense(query, 9, {"kept": 1}).rows) == 9
    assert texts(dense, dense.dense(query, 9, {"kept": 1, "n": 4})) == ["far 4"]
    assert len(dense.dense(query, 9, {"kept": 2}).rows) == 0


def test_replaced_vectors_are_hidden_at_once(dense: Store) -> None:
    query = vector("query")
    dense.commit(
        [indexed("a", [f"old {n}" for n in range(80)], vectors=[query] * 80), indexed("b", ["b"])]
    )
    dense.commit([indexed("a", ["new"])])
    assert sorted(texts(dense, dense.dense(query, 5))) == ["b", "new"]


@pytest.mark.parametrize("bad", [np.zeros(3), np.full(DIMENSION, np.nan), np.zeros((1, DIMENSION))])
def test_a_vector_of_another_shape_is_refused(dense: Store, bad: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="8 finite numbers"):
        dense.dense(bad.astype(np.float32), 1)


@pytest.mark.parametrize("k", [0, -1])
def test_no_result_wanted_is_a_mistake(make: Make, k: int) -> None:
    store = make()
    with pytest.raises(SettingsError, match="k >= 1"):
        store.lexical("ship", k)
    with pytest.raises(SettingsError, match="k >= 1"):
        store.dense(vector(1), k)


@pytest.mark.parametrize(("by_words", "by_vector"), list(zip(LEXICAL, DENSE, strict=True)))
def test_metadata_types_do_not_mix(make: Make, by_words: str, by_vector: str) -> None:
    store = make(lexical=by_words, dense=by_vector)
    values = [True, 1, "1", "True", 2.5, "", "über\0x"]
    store.commit(
        [indexed(f"d{n}", ["ship"], meta={"key": value}) for n, value in enumerate(values)]
    )
    for n, value in enumerate(values):
        for found in (
            store.lexical("ship", 9, {"key": value}),
            store.dense(vector(0), 9, {"key": value}),
        ):
            assert [p.document_id for p in store.resolve(found.rows) if p] == [f"d{n}"]
    assert len(store.lexical("ship", 9, {"key": 1.0}).rows) == 1
    with pytest.raises(SettingsError, match="finite number"):
        store.lexical("ship", 9, {"key": math.nan})


@pytest.mark.parametrize(("by_words", "by_vector"), list(zip(LEXICAL, DENSE, strict=True)))
def test_what_was_committed_is_there_after_reopening(
    make: Make, tmp_path: Path, by_words: str, by_vector: str
) -> None:
    store = make(lexical=by_words, dense=by_vector)
    store.commit([indexed(f"d{n}", [f"ship {n}"]) for n in range(30)])
    store.commit([indexed("d3", ["ship anew"])], ["d4"])
    before = store.lexical("ship anew", 40), store.dense(vector(0), 40)
    store.close()
    with Store.open(tmp_path / "store") as again:
        after = again.lexical("ship anew", 40), again.dense(vector(0), 40)
        for old, new in zip(before, after, strict=True):
            assert old.rows.tolist() == new.rows.tolist()
            assert old.scores.tolist() == new.scores.tolist()


SECOND = """
import sys
from pathlib import Path
from hoptrail.rag.errors import BackendRefused
from hoptrail.rag.store.store import Store
try:
    with Store.open(Path(sys.argv[1])) as store:
        print(len(store.lexical("ship", 5).rows))
except BackendRefused as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("by_words", "by_vector"), [("tantivy", "exact"), ("rank-bm25", "exact"), ("tantivy", "chroma")]
)
def test_a_second_process_is_served_or_refused_as_declared(
    make: Make, tmp_path: Path, by_words: str, by_vector: str
) -> None:
    store = make(lexical=by_words, dense=by_vector)
    store.commit([indexed("a", ["a ship"])])
    command = [sys.executable, "-P", "-c", SECOND, str(tmp_path / "store")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    traits = [keeper.traits for keeper in (store._parts.lexical, store._parts.dense)]
    if all(one.multi_process for one in traits):
        assert said == "1\n"
    else:
        assert said.startswith("refused: An embedded Chroma allows one process")
        assert f"process {os.getpid()} " in said


def test_every_index_declares_filters_before_ranking(lexical: Store, make: Make) -> None:
    store = make("other", dense="chroma")
    for one in (lexical._parts.lexical, lexical._parts.dense, store._parts.dense):
        assert one.traits.filters_before_ranking


def test_rank_bm25_warns_and_then_refuses_before_anything_is_written(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(okapi, "WARNED_ABOVE", 4)
    monkeypatch.setattr(okapi, "REFUSED_ABOVE", 6)
    store = make(lexical="rank-bm25")
    with caplog.at_level(logging.WARNING):
        store.commit([indexed("a", ["1", "2", "3", "4"])])
        assert not caplog.records
        store.commit([indexed("b", ["5", "6"])])
    assert "tantivy is made for this size" in caplog.text
    with pytest.raises(BackendRefused, match=r"at most 6 passages.*make it 7"):
        store.commit([indexed("c", ["7"])])
    assert store.generation == 2
    store.commit([indexed("a", ["1"]), indexed("c", ["7"])])
    assert store.stats().passages == 4


def test_rank_bm25_never_ranks_a_match_below_none(make: Make) -> None:
    store = make(lexical="rank-bm25")
    store.commit([indexed(f"d{n}", ["ship sea"]) for n in range(3)] + [indexed("e", ["other"])])
    found = store.lexical("ship", 9)
    assert len(found.rows) == 3
    assert (found.scores > 0).all()
