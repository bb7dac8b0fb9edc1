"""The passage graph of a store: what it says, and that it always says what the documents do."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.store import indexed, new_store, sql

from hoptrail.rag.entities import extraction as entities
from hoptrail.rag.entities.extraction import entity_key, extract_entities
from hoptrail.rag.errors import BackendRefused, SettingsError, StoreDamaged
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.catalogue.database import GRAPH
from hoptrail.rag.store.graph_index.reader import GraphReader
from hoptrail.rag.store.graph_index.triples import Triple
from hoptrail.rag.store.indexes.tantivy import TantivyBackend
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import IndexedDocument, Where

AMUNDSEN, FRAM, NANSEN, OSLO = (
    entity_key(one) for one in ("Roald Amundsen", "Fram", "Nansen", "Oslo")
)


@pytest.fixture
def documents() -> list[IndexedDocument]:
    """Four documents whose names link them."""
    return [
        indexed(
            "amundsen",
            ["He went to the pole on the Fram.", "His house near Oslo is kept."],
            title="Roald Amundsen",
            meta={"kind": "person"},
        ),
        indexed("fram", ["This ship was built by Nansen."], title="Fram", meta={"n": 1}),
        indexed("oslo", ["This town keeps the Fram."], title="Oslo", meta={"n": 2}),
        indexed("empty", [], title="Fram"),
    ]


def rows_of(store: Store, name: str) -> list[int]:
    """The rows of a document's passages."""
    ids = [one.id for one in store.passages_of(name)]
    every = np.arange(store._views.newest().state.live.size)
    found = {one.id: row for row, one in enumerate(store.resolve(every)) if one is not None}
    return [found[one] for one in ids]


def names(store: Store, links: GraphReader, name: str, where: str) -> set[str]:
    """The documents that are about a name, or mention it."""
    if where == "about":
        rows = links.about([entity_key(name)]).rows
    else:
        rows = links.mentioning([entity_key(name)], 99).rows
    passages = store.resolve(rows)
    return {one.document_id for one in passages if one is not None}


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """The four tables, rows replaced by passage ids, sorted."""
    with store._reading() as connection:
        ids = dict(connection.execute("SELECT row, id FROM passages").fetchall())
        found = {}
        for table in ("traces", "abouts", "mentions", "triples"):
            cursor = connection.execute(f"SELECT * FROM {table}")
            at = [column[0] for column in cursor.description].index("row")
            found[table] = sorted((*one[:at], ids[one[at]], *one[at + 1 :]) for one in cursor)
    return found


def test_who_is_about_a_name_and_who_mentions_it(store: Store) -> None:
    with store.snapshot().graph() as links:
        assert names(store, links, "fram", "about") == {"fram"}
        assert names(store, links, "Fram", "mentioning") == {"amundsen", "oslo"}
        assert names(store, links, "NANSEN", "mentioning") == {"fram"}
        assert names(store, links, "Scott", "about") == set()
        assert links.generation == 1
        found = links.about([OSLO, AMUNDSEN, FRAM, AMUNDSEN, 7])
        assert sorted(found.rows.tolist()) == sorted(
            row for name in ("amundsen", "fram", "oslo") for row in rows_of(store, name)
        )
        assert found.strengths.tolist() == [1.0] * 4
        assert (found.keys.tolist(), found.rows.dtype) == (sorted(found.keys.tolist()), np.int64)
        assert links.counts([FRAM, 7, OSLO, FRAM]).tolist() == [2, 0, 1, 2]
        assert links.counts([FRAM], 1).tolist() == [1]


def test_what_a_row_points_to_is_what_the_extraction_says(store: Store) -> None:
    (row,) = rows_of(store, "fram")
    (right,) = extract_entities("Fram", ["This ship was built by Nansen."])
    with store.snapshot().graph() as links:
        gone, found, again = links.outgoing([99, row, row])
        assert found.abouts.tolist() == sorted(key for key, _ in right.abouts)
        strengths = dict(zip(found.abouts.tolist(), found.strengths.tolist(), strict=True))
        assert strengths == pytest.approx(dict(right.abouts))
        assert set(found.mentions.tolist()) == set(right.mentions) >= {NANSEN}
        assert found.candidates.tolist() == list(right.candidates)
        assert again.candidates.tolist() == found.candidates.tolist()
        assert [len(one) for one in (gone.abouts, gone.mentions, gone.candidates)] == [0, 0, 0]
        assert links.names([row, 99, row]).tolist() == [len(right.mentions), 0, len(right.mentions)]


def test_every_64_bit_key_can_be_looked_up(store: Store) -> None:
    (row,) = rows_of(store, "fram")
    edges = [-(2**63), 1 - 2**63, -(2**53) - 1, -1, 0, 1, 2**53 + 1, 2**63 - 2, 2**63 - 1]
    drawn = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, size=200).tolist()
    keys = [*edges, *drawn, *edges]
    held = sorted(set(keys))
    with store._reading() as connection:
        connection.executemany("INSERT INTO mentions VALUES (?, ?)", ((k, row) for k in held))
        connection.executemany("INSERT INTO abouts VALUES (?, ?, 1)", ((k, row) for k in held))
    with store.snapshot().graph() as links:
        assert links.mentioning(keys, 1).keys.tolist() == held
        assert links.about(np.array(keys, dtype=np.int64), 1).keys.tolist() == held
        assert links.counts(keys).tolist() == [1] * len(keys)


@pytest.mark.parametrize("where", [{}, {"n": 1}, {"n": 3}])
def test_empty_requests_of_the_graph_find_nothing(store: Store, where: Where) -> None:
    with store.snapshot().graph(where) as links:
        assert links.outgoing([]) == links.triples([]) == ()
        assert len(links.about([]).rows) == len(links.mentioning([], 5).rows) == 0
        assert links.counts([]).tolist() == links.names([]).tolist() == []


def test_a_filter_holds_for_every_call(store: Store) -> None:
    oslo, (fram,) = rows_of(store, "oslo"), rows_of(store, "fram")
    store.import_triples([Triple(document_id="fram", subject="A", relation="b", object="C")])
    with store.snapshot().graph({"n": 2}) as links:
        assert links.about([FRAM, OSLO, AMUNDSEN]).rows.tolist() == oslo
        assert links.mentioning([FRAM, NANSEN], 9).rows.tolist() == oslo
        assert [len(one.abouts) > 0 for one in links.outgoing([fram, *oslo])] == [False, True]
        assert links.triples([fram, *oslo]) == ()
        assert links.counts([FRAM]).tolist() == [2]
    with store.snapshot().graph({"n": "2"}) as links:
        assert len(links.about([FRAM, OSLO]).rows) == 0
    with (
        pytest.raises(SettingsError, match="a value must be"),
        store.snapshot().graph({"n": [2]}),  # type: ignore[dict-item]
    ):
        pass


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Store]:
    """A store of which 3,000 passages of 100 documents have one title and mention one name."""
    with new_store(tmp_path) as store:
        store.commit(
            [
                indexed(f"d{n}", [f"Part {n} {at} met Fram." for at in range(30)], title="Oslo",
                        meta={"last": n == 99})
                for n in range(100)
            ]
        )  # fmt: skip
        yield store


def test_a_name_that_all_mention_is_left_out_and_costs_little(crowded: Store) -> None:
    with crowded.snapshot().graph() as links:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        links._connection.set_progress_handler(count, 1)
        assert links.mentioning([FRAM, NANSEN], 2999).rows.tolist() == []
        whole, steps = steps, 0
        assert links.mentioning([FRAM, NANSEN], 8).rows.tolist() == []
        assert links.about([OSLO], 5).rows.tolist() == [0, 1, 2, 3, 4]
        assert links.counts([FRAM, OSLO], 10).tolist() == [10, 0]
        links._connection.set_progress_handler(None, 1)
        assert steps < 900 < whole
        assert len(links.mentioning([FRAM], 3000).rows) == 3000
        assert len(links.about([OSLO, FRAM], 3000).rows) == 3000
        assert links.counts([FRAM]).tolist() == [1000]


def test_the_first_rows_about_a_name_are_those_that_the_filter_keeps(crowded: Store) -> None:
    with crowded.snapshot().graph({"last": False}) as links:
        assert links.about([OSLO], 3).rows.tolist() == [0, 1, 2]
    crowded.commit([], [f"d{n}" for n in range(50)])
    with crowded.snapshot().graph({"last": True}) as links:
        assert links.about([OSLO], 3).rows.tolist() == rows_of(crowded, "d99")[:3]


def test_one_block_sees_one_generation(store: Store, tmp_path: Path) -> None:
    (row,) = rows_of(store, "oslo")
    with Store.open(tmp_path) as writer, store.snapshot().graph() as links:
        before = links.about([OSLO, FRAM]).rows.tolist()
        writer.commit([indexed("more", ["Fram and Nansen"], title="Oslo")], ["oslo"])
        assert links.about([OSLO, FRAM]).rows.tolist() == before
        assert row in links.mentioning([FRAM], 9).rows
        assert links.counts([NANSEN]).tolist() == [1]
        assert len(links.outgoing([row])[0].mentions) > 0
    with store.snapshot().graph() as links:
        assert names(store, links, "Oslo", "about") == {"more"}


def test_a_snapshot_hides_what_was_committed_after_it(store: Store) -> None:
    held = store.snapshot()
    store.commit([indexed("more", ["Fram and Nansen"], title="Oslo")], ["oslo"])
    with held.graph() as links:
        assert (held.generation, links.generation) == (1, 2)
        assert names(store, links, "Oslo", "about") == set()
        assert names(store, links, "Nansen", "mentioning") == {"fram"}
        assert len(links.outgoing(rows_of(store, "more"))[0].mentions) == 0


def test_threads_that_read_see_each_version_whole(tmp_path: Path) -> None:
    def version(number: int) -> IndexedDocument:
        parts = [f"Part {number} {at} met the Fram." for at in range(1 + number % 4)]
        return indexed("a", parts, title="Oslo")

    with new_store(tmp_path) as store, ThreadPoolExecutor(4) as pool:
        store.commit([version(0)])
        done = threading.Event()

        def read() -> int:
            blocks = 0
            while not done.is_set():
                snapshot = store.snapshot()
                with snapshot.graph() as links:
                    rows = links.about([OSLO]).rows.tolist()
                    assert links.mentioning([FRAM], 9).rows.tolist() == rows
                    assert all(FRAM in one.mentions for one in links.outgoing(rows))
                    if links.generation == snapshot.generation:
                        assert len(rows) == 1 + (links.generation - 1) % 4
                        blocks += 1
            return blocks

        readers = [pool.submit(read) for _ in range(4)]
        try:
            for number in range(1, 25):
                assert store.commit([version(number)]) == number + 1
        finally:
            done.set()
        assert sum(one.result() for one in readers) > 0


def test_a_passage_of_50_000_names_goes_in_and_out(tmp_path: Path) -> None:
    many = ". ".join(f"Name{n} Bearer{n}" for n in range(50_000))
    with new_store(tmp_path) as store:
        store.commit([indexed("list", [many], title="Fram")])
        with store.snapshot().graph() as links:
            (found,) = links.outgoing([0])
            assert links.names([0]).tolist() == [len(found.mentions)]
            assert len(found.mentions) >= 50_000
            assert set(links.mentioning(found.mentions, 1).rows.tolist()) == {0}
        store.commit([], ["list"])
        assert set(map(len, dump(store).values())) == {0}


def test_a_store_without_a_graph_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    with new_store(tmp_path, graph="none") as store:
        store.commit([indexed("fram", ["Nansen built it."], title="Fram")])
        store.commit([indexed("fram", ["Nansen"], title="Fram")], ["other"])
        with pytest.raises(BackendRefused, match=r"new store that has one \(graph 'links'\)"):
            store.snapshot().graph().__enter__()
        triple = Triple(document_id="fram", subject="a", relation="b", object="c")
        with pytest.raises(BackendRefused, match="graph 'none'"):
            store.import_triples([triple])
        assert set(map(len, dump(store).values())) == {0}
        assert (store.stats().graph, store.generation) == ("none", 2)
    with Store.open(tmp_path) as again:
        assert again.spec.graph == "none"
        assert set(map(len, dump(again).values())) == {0}
    assert fsck(tmp_path).clean


def test_tenants_have_graphs_of_their_own(tmp_path: Path) -> None:
    with new_store(tmp_path, tenant="a") as one, new_store(tmp_path, tenant="b") as two:
        one.commit([indexed("x", ["They all met Nansen."], title="Fram")])
        two.commit(
            [
                indexed("x", ["He lived near Oslo."], title="Roald Amundsen"),
                indexed("y", ["Once they met Nansen."], title="Terra Nova"),
            ]
        )
        with one.snapshot().graph() as links:
            assert links.about([FRAM, AMUNDSEN]).rows.tolist() == [0]
            assert links.counts([NANSEN, OSLO]).tolist() == [1, 0]
        with two.snapshot().graph() as links:
            assert links.about([FRAM, AMUNDSEN]).rows.tolist() == [0]
            assert links.mentioning([NANSEN], 5).rows.tolist() == [1]
            assert links.mentioning([OSLO], 5).rows.tolist() == [0]


TITLES = ["", "Fram", "Roald Amundsen", "The Fram (ship)", "oslo"]
PARTS = ["Nansen built the Fram.", "He was born in Oslo.", "no names here", "Roald Amundsen. Fram"]
bodies = st.lists(st.sampled_from(PARTS), max_size=3)
ids = st.sampled_from("abcd")
triples_of = st.builds(
    Triple,
    document_id=ids,
    subject=st.sampled_from(["Nansen", "the Fram", "ice", "?"]),
    relation=st.sampled_from(["built", "saw"]),
    object=st.sampled_from(["Fram", "Hammerfest"]),
)
turns = st.lists(
    st.tuples(
        st.dictionaries(ids, st.tuples(st.sampled_from(TITLES), bodies), max_size=3),
        st.sets(ids, max_size=2),
        st.lists(triples_of, max_size=2),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=turns)
def test_after_any_history_the_graph_is_that_of_the_documents(
    tmp_path_factory: pytest.TempPathFactory, history: list
) -> None:
    root = tmp_path_factory.mktemp("graph")
    held: dict[str, tuple[str, list[str]]] = {}
    imported: dict[str, list[Triple]] = {}
    with new_store(root / "edited") as edited, new_store(root / "fresh") as fresh:
        for puts, deletes, found in history:
            gone = deletes - puts.keys()
            edited.commit([indexed(one, b, title=t) for one, (t, b) in puts.items()], gone)
            for one in gone | puts.keys():
                held.pop(one, None)
                imported.pop(one, None)
            held |= puts
            report = edited.import_triples(found)
            kept = [one for one in found if held.get(one.document_id, ("", []))[1]]
            assert list(report.unplaced) == [one for one in found if one not in kept]
            for one in kept:
                imported.setdefault(one.document_id, []).append(one)
        fresh.commit([indexed(one, b, title=t) for one, (t, b) in sorted(held.items())])
        fresh.import_triples([one for _, some in sorted(imported.items()) for one in some])
        assert dump(edited) == dump(fresh)
        before = dump(edited)
        edited.compact()
        assert dump(edited) == before
    assert fsck(root / "edited").problems == ()


def test_a_commit_that_fails_leaves_the_graph_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(store)

    def full(*_: object) -> None:
        raise ValueError("late")

    with monkeypatch.context() as patch:
        patch.setattr("hoptrail.rag.store.catalogue.writes.record_generation", full)
        with pytest.raises(ValueError, match="late"):
            store.commit([indexed("fram", ["Oslo and Nansen"], title="Other")], ["oslo"])
        triple = Triple(document_id="fram", subject="a", relation="b", object="c")
        with pytest.raises(ValueError, match="late"):
            store.import_triples([triple])
    with monkeypatch.context() as patch:
        patch.setattr(TantivyBackend, "write", full)
        with pytest.raises(ValueError, match="late"):
            store.commit([], ["oslo"])
    assert dump(store) == before
    assert fsck(tmp_path).clean


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE traces SET mentions = zeroblob(16) WHERE row = 1",
        "UPDATE traces SET mentions = zeroblob(3) WHERE row = 1",
        "UPDATE traces SET candidates = x'' WHERE row = 1",
        "DELETE FROM traces WHERE row = 2",
        "INSERT INTO traces VALUES (77, x'', x'', x'')",
        "INSERT INTO triples VALUES (77, 'a', 'b', 'c')",
        "INSERT INTO triples VALUES (1, 'Hammerfest', 'b', 'c')",
        "DELETE FROM triples",
        "DELETE FROM mentions WHERE row = 0",
        "UPDATE OR IGNORE mentions SET key = key + 1 WHERE row = 1",
        "UPDATE abouts SET strength = strength / 2 WHERE row = 1",
        "UPDATE abouts SET row = 2 WHERE row = 3",
        "DELETE FROM abouts",
        "DROP TABLE mentions",
        "UPDATE meta SET value = 99 WHERE key = 'graph_version'",
        "UPDATE meta SET value = 0 WHERE key = 'graph_generation'",
    ],
)
def test_fsck_finds_what_differs_and_mends_it(store: Store, tmp_path: Path, harm: str) -> None:
    triple = Triple(document_id="oslo", subject="Fram", relation="lies in", object="Bygdøy")
    store.import_triples([triple])
    before = dump(store)
    store.close()
    sql(tmp_path, harm)
    first = fsck(tmp_path)
    assert {one.kind for one in first.problems} == {"graph"}
    assert all(one.repairable for one in first.problems)
    report = fsck(tmp_path, repair=True)
    assert report.clean
    assert report.repaired == first.problems
    with Store.open(tmp_path) as again:
        found = dump(again)
        if "triples" not in harm or "77" in harm:
            assert found == before
        with again.snapshot().graph() as links:
            assert names(again, links, "Fram", "about") == {"fram"}


def test_rows_in_the_tables_of_a_store_without_a_graph_are_found(tmp_path: Path) -> None:
    new_store(tmp_path, graph="none").close()
    sql(tmp_path, "INSERT INTO mentions VALUES (1, 2)")
    assert [one.kind for one in fsck(tmp_path).problems] == ["graph"]
    assert fsck(tmp_path, repair=True).clean


def test_links_that_are_cut_short_are_told_and_can_be_replaced(
    store: Store, tmp_path: Path
) -> None:
    (row,) = rows_of(store, "fram")
    sql(tmp_path, f"UPDATE traces SET abouts = zeroblob(5) WHERE row = {row}")
    with (
        store.snapshot().graph() as links,
        pytest.raises(StoreDamaged, match=f"row {row} are cut short: run hoptrail fsck --repair"),
    ):
        links.outgoing([row])
    store.commit([indexed("fram", ["Nansen"], title="Fram")])
    with store.snapshot().graph() as links:
        assert links.about([FRAM]).rows.tolist() == rows_of(store, "fram")
    assert not fsck(tmp_path).clean
    assert fsck(tmp_path, repair=True).clean


def old(root: Path) -> None:
    """Makes the store one of a version that knew no graph."""
    tables = ("traces", "abouts", "mentions", "triples")
    sql(
        root,
        *(f"DROP TABLE {one}" for one in tables),
        "DELETE FROM meta WHERE key LIKE 'graph%'",
    )


def test_a_store_of_before_the_graph_gets_one_on_opening(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = dump(store)
    store.close()
    old(tmp_path)
    assert [(one.kind, one.repairable) for one in fsck(tmp_path).problems] == [("graph", True)]
    with caplog.at_level(logging.WARNING), Store.open(tmp_path) as again:
        assert "the passage graph is missing; building it anew" in caplog.text
        assert again.spec.graph == "links"
        assert (again.generation, dump(again)) == (1, before)
        again.commit([indexed("more", ["Nansen"])])
    caplog.clear()
    with Store.open(tmp_path):
        assert caplog.text == ""
    assert fsck(tmp_path).clean


def test_an_old_store_is_mended_by_fsck_too(store: Store, tmp_path: Path) -> None:
    before = dump(store)
    store.close()
    old(tmp_path)
    assert fsck(tmp_path, repair=True).clean
    with Store.open(tmp_path) as again:
        assert dump(again) == before


def test_another_version_of_the_extraction_builds_the_graph_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triple = Triple(document_id="oslo", subject="Fram", relation="lies in", object="Bygdøy")
    store.import_triples([triple])
    before = dump(store)
    sql(tmp_path, "DELETE FROM mentions")
    monkeypatch.setattr(entities, "VERSION", entities.VERSION + 1)
    with Store.open(tmp_path) as newer:
        assert dump(newer) == before
        assert fsck(tmp_path).clean
        # A process of the older version goes on writing: what it wrote is not trusted.
        monkeypatch.undo()
        store.commit([indexed("more", ["Nansen"])])
        monkeypatch.setattr(entities, "VERSION", entities.VERSION + 1)
        newer.commit([indexed("yet more", ["Nansen"])])
    assert [one.kind for one in fsck(tmp_path).problems] == ["graph"]
    Store.open(tmp_path).close()
    assert fsck(tmp_path).clean


def test_what_a_version_without_graph_committed_is_taken_up(store: Store, tmp_path: Path) -> None:
    store.commit([indexed("fram", ["This ship was built by Nansen."], title="Fram")])
    before = dump(store)
    store.close()
    sql(
        tmp_path,
        "DELETE FROM mentions WHERE row IN (SELECT max(row) FROM passages)",
        "DELETE FROM traces WHERE row IN (SELECT max(row) FROM passages)",
        "UPDATE meta SET value = 1 WHERE key = 'graph_generation'",
    )
    with Store.open(tmp_path) as again:
        assert dump(again) == before
        assert again.generation == 2


def test_a_build_that_breaks_off_leaves_the_old_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(store)
    store.close()
    old(tmp_path)

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hoptrail.rag.store.graph_index.tables.write", broken)
        with pytest.raises(KeyboardInterrupt):
            Store.open(tmp_path)
    connection = sqlite3.connect(tmp_path / "default" / "catalogue.db")
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'traces'").fetchone()
    connection.close()
    with Store.open(tmp_path) as again:
        assert dump(again) == before


def test_triples_make_their_passage_mention_both_names(store: Store, tmp_path: Path) -> None:
    first, second = rows_of(store, "amundsen")
    house = store.passages_of("amundsen")[1].id
    wanted = [
        Triple(document_id="amundsen", subject="Amundsen", relation="lived in", object="Oslo"),
        Triple(document_id="amundsen", subject="he", relation="sailed", object="fram"),
        Triple(document_id="amundsen", subject=" gold ", relation=" in ", object="the house"),
        Triple(
            document_id="amundsen", passage_id=house, subject="The Fram", relation="is", object="x"
        ),
    ]
    lost = [
        Triple(document_id="nobody", subject="a", relation="b", object="c"),
        Triple(document_id="empty", subject="a", relation="b", object="c"),
        Triple(document_id="fram", passage_id=house, subject="a", relation="b", object="c"),
    ]
    with Store.open(tmp_path) as reader:
        assert reader.generation == 1
        report = store.import_triples([*wanted, *lost, wanted[0]])
        assert (report.generation, report.added, report.known) == (2, 4, 1)
        assert report.unplaced == tuple(lost)
        assert reader.generation == 2
        with reader.snapshot().graph() as links:
            # By the mention of Oslo; of the Fram; the first passage; the one that was named.
            assert [(one.row, one.subject) for one in links.triples([first, second])] == [
                (first, "gold"),
                (first, "he"),
                (second, "Amundsen"),
                (second, "The Fram"),
            ]
            assert links.mentioning([entity_key("gold")], 5).rows.tolist() == [first]
            assert links.mentioning([entity_key("the fram")], 5).rows.tolist() == [second]
            assert {entity_key("he"), FRAM} <= set(links.outgoing([first])[0].mentions.tolist())
    again = store.import_triples(wanted)
    assert (again.generation, again.added, again.known) == (2, 0, 4)
    assert (store.generation, store.stats().triples) == (2, 4)
    assert fsck(tmp_path).clean


def test_triples_go_away_with_their_document(store: Store, tmp_path: Path) -> None:
    store.import_triples(
        [
            Triple(document_id=name, subject="Hammerfest", relation="saw", object="Fram")
            for name in ("amundsen", "fram", "oslo")
        ]
    )
    store.commit([indexed("fram", ["This ship was built by Nansen."], title="Fram")], ["oslo"])
    assert store.stats().triples == 1
    with store.snapshot().graph() as links:
        assert names(store, links, "Hammerfest", "mentioning") == {"amundsen"}
    assert fsck(tmp_path).clean


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"subject": " "}, "Triple 2 has the subject ' ': it must be a text that is not blank"),
        ({"object": None}, "Triple 2 has the object None"),
        ({"document_id": ""}, "Triple 2 has the document_id ''"),
        ({"passage_id": ""}, "Triple 2 has the passage_id ''"),
        ({"relation": "\ud800"}, "The relation of triple 2 is not valid Unicode"),
    ],
)
def test_a_triple_that_says_nothing_is_refused_with_all_others(
    store: Store, wrong: dict[str, Any], why: str
) -> None:
    right = {"document_id": "fram", "subject": "a", "relation": "b", "object": "c"}
    with pytest.raises(SettingsError, match=why):
        store.import_triples([Triple(**right), Triple(**right | wrong)])
    assert (store.generation, store.stats().triples) == (1, 0)


def test_a_triple_of_words_that_are_no_names_is_kept_and_links_nothing(store: Store) -> None:
    store.import_triples([Triple(document_id="oslo", subject="?!", relation="-", object="...")])
    with store.snapshot().graph() as links:
        assert len(links.triples(rows_of(store, "oslo"))) == 1
        assert links.mentioning([0], 5).rows.tolist() == []


def test_the_tables_can_be_made_twice(store: Store, tmp_path: Path) -> None:
    before = dump(store)
    assert all(before[table] for table in ("traces", "abouts", "mentions"))
    store.close()
    sql(tmp_path, *GRAPH)
    assert fsck(tmp_path).clean
    with Store.open(tmp_path) as again:
        assert dump(again) == before
