"""The example world is what its README says: whole, consistent, and hard for a single search."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.metrics.ranking import first_occurrences
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.embedders.minilm import find_minilm
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store

WORKED_OUT = {"comparison", "count", "date"}
"""Types of question whose answer follows from the steps' answers and stands in no document."""


@pytest.fixture(scope="module")
def dataset(world: Path) -> Dataset:
    return load_dataset(world)


@pytest.fixture(scope="module")
def answerable(dataset: Dataset) -> list[Question]:
    return [question for question in dataset.questions if question.answerable]


@pytest.fixture(scope="module")
def texts(dataset: Dataset) -> dict[str, str]:
    return {one.id: f"{one.title}\n{one.text}".casefold() for one in dataset.documents}


def test_ids_are_unique(world: Path) -> None:
    for name in ("corpus", "questions"):
        lines = (world / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        counts = Counter(json.loads(line)["id"] for line in lines)
        assert [one for one, count in counts.items() if count > 1] == []


def test_there_are_about_sixty_documents_of_80_to_400_words(dataset: Dataset) -> None:
    assert 55 <= len(dataset.documents) <= 70
    words = {one.id: len(one.text.split()) for one in dataset.documents}
    assert {name: count for name, count in words.items() if not 80 <= count <= 400} == {}
    assert all(one.title and one.metadata.keys() == {"kind", "region"} for one in dataset.documents)


def test_titles_and_questions_do_not_repeat(dataset: Dataset) -> None:
    titles = [document.title for document in dataset.documents]
    asked = [question.question for question in dataset.questions]
    assert len(set(titles)) == len(titles)
    assert len(set(asked)) == len(asked)


def test_there_are_about_forty_questions_of_every_kind(
    dataset: Dataset, answerable: list[Question]
) -> None:
    assert 40 <= len(dataset.questions) <= 50
    assert {question.hops for question in answerable} == {1, 2, 3, 4}
    kinds = {question.type for question in answerable}
    assert kinds == {"single", "bridge", "comparison", "intersection", "count", "date"}


def test_at_least_six_cannot_be_answered(dataset: Dataset) -> None:
    unanswerable = [question for question in dataset.questions if not question.answerable]
    assert len(unanswerable) >= 6
    for question in unanswerable:
        assert (question.answers, question.supporting_ids, question.decomposition) == ((), (), ())


def test_each_step_has_a_support_and_each_support_a_step(answerable: list[Question]) -> None:
    for question in answerable:
        assert question.answers
        assert question.hops == len(question.decomposition)
        used = [hop.supporting_id for hop in question.decomposition]
        assert set(used) == set(question.supporting_ids)
        assert len(set(question.supporting_ids)) == len(question.supporting_ids)


def test_a_step_refers_only_to_steps_before_it(answerable: list[Question]) -> None:
    for question in answerable:
        for number, hop in enumerate(question.decomposition, start=1):
            later = [f"#{n}" for n in range(number, 10) if f"#{n}" in hop.question]
            assert later == [], f"{question.id}, step {number}"


def test_the_answer_of_each_step_stands_in_its_support(
    answerable: list[Question], texts: dict[str, str]
) -> None:
    absent = [
        (question.id, part)
        for question in answerable
        for hop in question.decomposition
        for part in hop.answer.split(", ")
        if part.casefold() not in texts[hop.supporting_id or ""]
    ]
    assert absent == []


def test_an_answer_that_is_not_worked_out_stands_in_a_support(
    answerable: list[Question], texts: dict[str, str]
) -> None:
    for question in answerable:
        if question.type not in WORKED_OUT:
            supports = [texts[one] for one in question.supporting_ids]
            assert any(
                answer.casefold() in text for answer in question.answers for text in supports
            ), question.id


def test_a_single_search_misses_a_support_for_half_of_the_multi_hop_questions(
    dataset: Dataset, answerable: list[Question], tmp_path: Path
) -> None:
    try:
        find_minilm()
    except EmbedderError as error:
        pytest.skip(f"needs the MiniLM weights: {error}")
    cache = StoreCache(folder=tmp_path, embedder=load_embedder("minilm"))
    root = prepare_store(dataset, cache, lambda event: None).root
    hopping = [question for question in answerable if (question.hops or 0) > 1]
    missed = []
    with Store.open(root, embedder=cache.embedder) as store:
        searcher = Retriever(store, cache.embedder)
        for question in hopping:
            hits = searcher.search(question.question, k=20).hits
            found = first_occurrences(hit.passage.document_id for hit in hits)[:5]
            if not set(question.supporting_ids) <= set(found):
                missed.append(question.id)
    assert len(hopping) >= 20
    assert 2 * len(missed) >= len(hopping), f"{len(missed)} of {len(hopping)}"
