from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store import DIMENSION, ids, indexed, new_store, texts, vector

from hoptrail.rag.errors import (
    SettingsError,
    StoreBusy,
    StoreMismatch,
    StoreMissing,
)
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import FORMAT, Store, StoreSpec
from hoptrail.rag.types import Document, IndexedDocument


class FakeEmbedder:
    window = 256

    def __init__(self, name: str, dimension: int) -> None:
        self.id = name
        self.dimension = dimension

    def embed(self, texts: list[str], kind: str = "passage") -> np.ndarray:
        raise NotImplementedError


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"hoptrail ingest PATH... --store .*nowhere"):
        Store.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_store_answers_with_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        assert store.generation == 0
        assert len(store.lexical("ship", 5).rows) == len(store.dense(vector(0), 5).rows) == 0
        assert list(store.documents()) == []
        assert store.fingerprints() == {}
        assert store.document("a") is None
        assert store.slice("a", 0, 5) is None
        assert store.passages(["x"]) == (None,)
        assert store.passages_of("a") == ()
        assert store.resolve([]) == ()
        assert store.resolve(np.array([0, 7])) == (None, None)
        assert (store.stats().documents, store.stats().passages) == (0, 0)


def test_a_store_is_not_made_twice(tmp_path: Path) -> None:
    new_store(tmp_path).close()
    with pytest.raises(SettingsError, match="already"):
        new_store(tmp_path)


def test_documents_come_back_as_they_went_in(tmp_path: Path) -> None:
    item = indexed(
        "a/ü",
        ["One ship.", "Two\0ships 🚢"],
        title="T",
        meta={"n": 1, "f": 1.5, "b": True, "s": "x"},
    )
    with new_store(tmp_path) as store:
        assert store.commit([item]) == store.generation == 1
        assert store.document("a/ü") == item.document
        assert [*map(type, store.document("a/ü").metadata.values())] == [int, float, bool, str]  # type: ignore[union-attr]
        assert store.passages_of("a/ü") == tuple(item.passages)
        assert store.passages([item.passages[1].id, "x", item.passages[0].id]) == (
            item.passages[1], None, item.passages[0]
        )  # fmt: skip
        assert store.fingerprints() == {"a/ü": "a/ü"}
        rows = store.lexical("two", 3).rows
        assert store.resolve(rows) == (item.passages[1],)
        stats = store.stats()
        assert (stats.documents, stats.passages, stats.generation) == (1, 2, 1)
        assert stats.bytes > 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with new_store(tmp_path_factory.mktemp("slices")) as store:
        yield store


@settings(max_examples=25, deadline=None)
@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60),
    times=st.sampled_from([1, 100, 700]),
    cuts=st.lists(st.integers(0, 50_000), min_size=2, max_size=2),
)
def test_a_slice_is_pythons_slice(shared: Store, text: str, times: int, cuts: list[int]) -> None:
    whole = text * times
    start, end = cuts
    document = Document(id="a", title="", text=whole)
    nothing = np.empty((0, DIMENSION), dtype=np.float32)
    shared.commit(
        [IndexedDocument(document=document, passages=[], vectors=nothing, fingerprint="")]
    )
    assert shared.slice("a", start, end) == whole[start:end]
    assert shared.slice("a", 0, len(whole)) == whole
    assert shared.document("a") == document


def test_a_negative_offset_is_refused(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, pytest.raises(SettingsError, match="offsets >= 0"):
        store.slice("a", -1, 3)


def test_a_document_is_replaced_as_a_whole(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit(
            [indexed("a", ["one ship", "two ships", "three"]), indexed("b", ["four ships"])]
        )
        old = store.passages_of("a")
        assert (
            store.commit([indexed("a", ["five ships"], fingerprint="new")], ["b", "unknown"]) == 2
        )
        assert [passage.text for passage in store.passages_of("a")] == ["five ships"]
        assert store.passages([one.id for one in old[1:]]) == (None, None)
        assert store.fingerprints() == {"a": "new"}
        assert texts(store, store.lexical("ship", 9)) == ["five ships"]


def test_nothing_to_do_makes_no_generation(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit([indexed("a", ["x y ship"])])
        assert store.commit([]) == store.commit([], ["unknown"]) == 1
        assert store.generation == 1


def test_a_document_without_passages_is_kept(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit([indexed("a", []), indexed("b", ["ship"]), indexed("c", [])])
        assert list(store.documents()) == ["a", "b", "c"]
        assert texts(store, store.dense(vector(0), 9)) == ["ship"]
        store.commit([indexed("a", ["boat"])], ["c"])
        assert sorted(texts(store, store.dense(vector(0), 9))) == ["boat", "ship"]


def test_a_row_that_died_resolves_to_none(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit([indexed("a", ["ship"])])
        rows = store.lexical("ship", 1).rows
        store.commit([indexed("a", ["ship"])])
        assert store.resolve(rows) == (None,)
        assert store.resolve(store.lexical("ship", 1).rows)[0] is not None


GOOD = indexed("a", ["one ship", "two ships"])
FIRST, SECOND = GOOD.passages
BROKEN = {
    "text": (replace(GOOD, passages=[replace(FIRST, text="two"), SECOND]), "not characters 0 to 8"),
    "owner": (
        replace(GOOD, passages=[replace(FIRST, document_id="b"), SECOND]),
        "not one of document 'a'",
    ),
    "id": (replace(GOOD, passages=[replace(FIRST, id="0" * 20), SECOND]), "does not follow"),
    "twice": (replace(GOOD, passages=[FIRST, FIRST]), "one passage twice"),
    "rows": (replace(GOOD, vectors=GOOD.vectors[:1]), r"shape \(2, 8\)"),
    "type": (replace(GOOD, vectors=GOOD.vectors.astype(np.float64)), "float32"),  # type: ignore[arg-type]
    "norm": (replace(GOOD, vectors=GOOD.vectors * 2), "L2-normalised"),
    "nan": (replace(GOOD, vectors=GOOD.vectors * np.float32(np.nan)), "L2-normalised"),
    "metadata": (
        replace(GOOD, document=replace(GOOD.document, metadata={"x": [1]})),  # type: ignore[dict-item]
        "'x' is",
    ),
    "surrogate": (
        replace(GOOD, document=replace(GOOD.document, text="one ship\ud800")),
        "lone surrogate",
    ),
    "empty": (replace(GOOD, document=replace(GOOD.document, id="")), "id that is not empty"),
    "title": (
        replace(GOOD, document=replace(GOOD.document, title="t" * 1001)),
        "The title of document 'a' is 1,001, above 1,000",
    ),
    "value": (
        replace(GOOD, document=replace(GOOD.document, metadata={"x": "v" * 10_001})),
        "metadata 'x' of document 'a' is 10,001",
    ),
    "keys": (
        replace(GOOD, document=replace(GOOD.document, metadata={str(n): n for n in range(201)})),
        "number of metadata keys of document 'a' is 201",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_parts_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, kind: str
) -> None:
    broken, says = BROKEN[kind]
    with new_store(tmp_path) as store:
        with pytest.raises(SettingsError, match=says):
            store.commit([indexed("good", ["ship"]), broken])
        assert store.generation == 0
        assert list(store.documents()) == []


def test_one_commit_cannot_say_two_things_about_a_document(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        with pytest.raises(SettingsError, match="twice"):
            store.commit([indexed("a", ["x"]), indexed("a", ["y"])])
        with pytest.raises(SettingsError, match="put and deleted"):
            store.commit([indexed("a", ["x"])], ["a"])
        with pytest.raises(SettingsError, match="not the string"):
            store.commit([], "abc")


@pytest.mark.parametrize(("name", "dimension"), [("other", DIMENSION), ("test", 3)])
def test_a_store_of_another_embedder_is_refused(tmp_path: Path, name: str, dimension: int) -> None:
    new_store(tmp_path).close()
    with pytest.raises(StoreMismatch, match=r"made with the embedder 'test' \(8 dimensions\)"):
        Store.open(tmp_path, embedder=FakeEmbedder(name, dimension))
    Store.open(tmp_path, embedder=FakeEmbedder("test", DIMENSION)).close()


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store._parts.catalogue.connect().execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    with pytest.raises(StoreMismatch, match=f"format 99; this version reads {FORMAT}"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"language": "klingon"},
        {"lexical": "lucene"},
        {"dense": "faiss"},
        {"graph": "tree"},
        {"dimension": 0},
        {"format": 2},
    ],
)
def test_a_setting_that_cannot_be_leaves_nothing_behind(tmp_path: Path, wrong: dict) -> None:
    spec = StoreSpec(**{"embedder": "test", "dimension": 8, **wrong})
    with pytest.raises(SettingsError):
        Store.create(tmp_path / "store", spec)
    assert not (tmp_path / "store").exists()


def test_settings_are_recorded(tmp_path: Path) -> None:
    with new_store(tmp_path, language="german", lexical="rank-bm25", graph="none") as store:
        spec = store.spec
        store.commit([indexed("a", ["Die Häuser"])])
    with Store.open(tmp_path) as store:
        assert store.spec == spec
        assert texts(store, store.lexical("das Haus", 1)) == ["Die Häuser"]


def test_a_reader_sees_each_commit_on_its_next_call(tmp_path: Path) -> None:
    with new_store(tmp_path) as writer, Store.open(tmp_path) as reader:
        for number in range(1, 16):
            writer.commit([indexed("a", [f"ship{number} sails", "and more"][: 1 + number % 2])])
            assert reader.generation == number
            assert texts(reader, reader.lexical(f"ship{number}", 5)) == [f"ship{number} sails"]
            assert len(reader.dense(vector(0), 5).rows) == 1 + number % 2


def test_a_reader_far_behind_catches_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoptrail.rag.store.catalogue.writes.KEPT_GENERATIONS", 3)
    monkeypatch.setattr("hoptrail.rag.store.snapshot.KEPT_GENERATIONS", 3)
    with new_store(tmp_path) as writer, Store.open(tmp_path) as reader:
        writer.commit([indexed("a", ["ship"])])
        assert reader.generation == 1
        for number in range(9):
            writer.commit([indexed(f"d{number}", [f"boat {number}"])], ["a"])
        assert len(reader.dense(vector(0), 99).rows) == len(reader.lexical("boat", 99).rows) == 9


def test_a_busy_store_names_its_owner(tmp_path: Path) -> None:
    with new_store(tmp_path) as one, Store.open(tmp_path, wait=0.05) as other:
        with (
            one._parts.lock.held(1),
            pytest.raises(StoreBusy, match=r"process \d+ on .* since .*waited 0.05 s"),
        ):
            other.commit([indexed("a", ["ship"])])
        assert other.commit([indexed("a", ["ship"])]) == 1


def test_compaction_keeps_every_answer_and_drops_the_dead(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, Store.open(tmp_path) as reader:
        for number in range(15):
            store.commit(
                [indexed(f"d{number % 5}", [f"ship {number} {part}" for part in range(4)])]
            )
        query = vector(3)
        before = reader.dense(query, 20)
        store.compact()
        for one in (store, reader):
            after = one.dense(query, 20)
            assert ids(one, after) == ids(one, before)
            assert after.scores.tolist() == before.scores.tolist()
            assert len(one.lexical("ship", 50).rows) == 20
            assert one.generation == 15
        names = sorted(path.name for path in (tmp_path / "default").glob("vectors-*"))
        assert names == ["vectors-1.f32", "vectors-1.rows.npy"]
        assert [path.name for path in (tmp_path / "default" / "tantivy").iterdir()] == ["1"]
        store.commit([indexed("d1", ["a late ship"])])
        assert texts(reader, reader.lexical("late", 1)) == ["a late ship"]
        assert texts(reader, reader.dense(vector(("", "a late ship")), 1)) == ["a late ship"]
    with Store.open(tmp_path) as again:
        assert len(again.dense(query, 50).rows) == 17


def test_eight_threads_read_while_one_writes(tmp_path: Path) -> None:
    """Every answer belongs to one generation: all passages of a version, or none."""
    with new_store(tmp_path) as store:
        store.commit([indexed("a", ["ship version0"], vectors=[vector("a")])])
        stop = threading.Event()

        def read(number: int) -> int:
            rounds = 0
            while not stop.is_set() or rounds < 5:
                found = store.lexical("ship", 50) if number % 2 else store.dense(vector("a"), 50)
                passages = [one for one in store.resolve(found.rows) if one is not None]
                assert len({one.text for one in passages}) <= 1
                whole = store.document("a")
                assert whole is not None
                assert store.slice("a", 0, 4) == "ship"
                rounds += 1
            return rounds

        def write() -> None:
            for number in range(1, 16):
                bodies = [f"ship version{number}"] * (1 + number % 4)
                store.commit([indexed("a", bodies, vectors=[vector("a")] * len(bodies))])
            stop.set()

        with ThreadPoolExecutor(9) as pool:
            readers = [pool.submit(read, number) for number in range(8)]
            pool.submit(write).result()
            assert all(reader.result() >= 5 for reader in readers)
        assert store.generation == 16


def test_two_threads_that_write_take_turns(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(store.commit, [indexed(f"d{number}", [f"ship {number}"])])
            for number in range(20)
        ]
        assert sorted(job.result() for job in jobs) == list(range(1, 21))
        assert len(store.lexical("ship", 50).rows) == 20


def test_dead_rows_leave_the_lexical_index_with_a_later_write(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit([indexed(f"d{number}", ["ship"]) for number in range(700)])
        store.commit([indexed(f"d{number}", ["boat", "boot"]) for number in range(600)])
        store.commit([indexed("d650", ["boat"])])
        store.commit([indexed("last", ["boat"])])
        searcher = store._views.newest().lexical._searcher  # type: ignore[attr-defined]
        assert searcher.num_docs == store.stats().passages == 600 * 2 + 100 + 1


def test_a_vector_file_that_is_mostly_dead_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hoptrail.rag.store.indexes.exact._SMALL", 20)
    with new_store(tmp_path) as store, Store.open(tmp_path) as reader:
        for number in range(30):
            store.commit([indexed("a", [f"ship {number}", "sea"]), indexed("b", [])])
            assert len(reader.dense(vector(0), 9).rows) == 2
        (path,) = (tmp_path / "default").glob("vectors-*.f32")
        assert path.name != "vectors-0.f32"
        own = vector(("", "ship 29"))
        assert texts(reader, reader.dense(own, 1)) == ["ship 29"]
    assert fsck(tmp_path).clean
