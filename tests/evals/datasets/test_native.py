"""Data sets: the folder format, and messages that name file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import DatasetError, Hop
from hoptrail.rag.types import Document

_CORPUS = [
    {"id": "a", "title": "Ship", "text": "It sank.", "meta": {"year": 1911}},
    {"id": "b", "title": "Harbour", "text": "It froze."},
]
_QUESTIONS = [
    {
        "id": "q1",
        "question": "Why?",
        "answers": ["ice"],
        "supporting_ids": ["a", "b"],
        "decomposition": [
            {"question": "What sank?", "answer": "Ship", "supporting_id": "a"},
            {"question": "Where did #1 lie?", "answer": "Harbour"},
        ],
        "evidences": [["Ship", "in", "Harbour"]],
        "supporting_facts": [["a", 0]],
        "type": "bridge",
        "hops": 2,
        "grades": {"a": 2},
        "context_ids": ["a"],
        "from": "somewhere",
    },
    {"id": "q2", "question": "Who?", "answers": [], "supporting_ids": [], "answerable": False},
    {
        "id": "q3",
        "question": "When?",
        "answers": ["1911"],
        "supporting_ids": ["a"],
        "support_source": "partial",
    },
]


def _lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _write(folder: Path, corpus: bytes | None = None, questions: bytes | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "corpus.jsonl").write_bytes(_lines(_CORPUS) if corpus is None else corpus)
    (folder / "questions.jsonl").write_bytes(_lines(_QUESTIONS) if questions is None else questions)
    return folder


def test_reads_records_and_questions(tmp_path: Path) -> None:
    dataset = load_dataset(_write(tmp_path / "set"))
    assert dataset.name == "set"
    assert dataset.corpus == tmp_path / "set" / "corpus.jsonl"
    assert dataset.documents == (
        Document(id="a", title="Ship", text="It sank.", metadata={"year": 1911}),
        Document(id="b", title="Harbour", text="It froze."),
    )
    first, second, third = dataset.questions
    assert first.answers == ("ice",)
    assert first.decomposition == (
        Hop(question="What sank?", answer="Ship", supporting_id="a"),
        Hop(question="Where did #1 lie?", answer="Harbour"),
    )
    assert first.evidences == (("Ship", "in", "Harbour"),)
    assert first.supporting_facts == (("a", 0),)
    assert (first.type, first.hops, dict(first.grades)) == ("bridge", 2, {"a": 2})
    assert [one.answerable for one in dataset.questions] == [True, False, True]
    assert (third.support_source, second.type) == ("partial", None)
    assert [one.support_is_whole for one in dataset.questions] == [True, False, False]


def test_gzipped_files_and_blank_lines_read_the_same(tmp_path: Path) -> None:
    plain = load_dataset(_write(tmp_path / "set"))
    zipped = tmp_path / "zipped" / "set"
    zipped.mkdir(parents=True)
    (zipped / "corpus.jsonl.gz").write_bytes(gzip.compress(b"\n" + _lines(_CORPUS)))
    (zipped / "questions.jsonl.gz").write_bytes(gzip.compress(_lines(_QUESTIONS) + b" \n"))
    read = load_dataset(zipped)
    assert (read.documents, read.questions) == (plain.documents, plain.questions)
    assert read.corpus.name == "corpus.jsonl.gz"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"lacks corpus\.jsonl"):
        load_dataset(tmp_path)
    (tmp_path / "corpus.jsonl").touch()
    with pytest.raises(DatasetError, match=r"lacks questions\.jsonl"):
        load_dataset(tmp_path)


_GOOD = _lines(_QUESTIONS[:1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"line 2: Invalid JSON"),
        (b"[]", r"line 2: "),
        (b"\xff\xfe", r"line 2: Invalid JSON"),
        (b'{"id": "x", "answers": [], "supporting_ids": []}', r"line 2: 'question'"),
        (b'{"id": 7, "question": "?", "answers": [], "supporting_ids": []}', r"line 2: 'id'"),
        (b'{"id": "x", "question": "?", "answers": "no", "supporting_ids": []}', r"'answers'"),
        (b'{"id": "x", "question": "?", "answers": [1], "supporting_ids": []}', r"'answers\.0'"),
        (_GOOD.strip(), r"line 2: id 'q1' stands in line 1 already"),
        (
            b'{"id": "x", "question": "?", "answers": [], "supporting_ids": ["zz"]}',
            r"line 2: question 'x' names 'zz', which is no record of corpus\.jsonl",
        ),
        (
            b'{"id":"x", "question":"?", "answers":[], "supporting_ids":[], "grades":{"y":1}}',
            r"names 'y'",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    _write(tmp_path, questions=_GOOD + line + b"\n")
    with pytest.raises(DatasetError, match=rf"questions\.jsonl, .*{message}"):
        load_dataset(tmp_path)


def test_a_repeated_record_is_named(tmp_path: Path) -> None:
    _write(tmp_path, corpus=_lines([*_CORPUS, _CORPUS[0]]))
    with pytest.raises(DatasetError, match=r"corpus\.jsonl, line 3: id 'a' stands in line 1"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(_lines(_CORPUS * 50))[:-30]])
def test_a_broken_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corpus.jsonl.gz").write_bytes(content)
    (tmp_path / "questions.jsonl").write_bytes(_GOOD)
    with pytest.raises(DatasetError, match=r"corpus\.jsonl\.gz"):
        load_dataset(tmp_path)


def test_the_example_world_is_a_data_set(world: Path) -> None:
    dataset = load_dataset(world)
    assert len(dataset.documents) >= 50
    assert any(not question.answerable for question in dataset.questions)
    assert any(question.decomposition for question in dataset.questions)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "questions", "passages"),
    [("2wiki_hipporag", 1000, 6119), ("musique_train100", 100, 1890), ("noveleval", 21, 420)],
)
def test_shared_sets_read_whole(
    shared_data: Path, name: str, questions: int, passages: int
) -> None:
    dataset = load_dataset(shared_data / name)
    assert (len(dataset.questions), len(dataset.documents)) == (questions, passages)
    if name == "2wiki_hipporag":
        assert sum(not question.support_is_whole for question in dataset.questions) == 16
