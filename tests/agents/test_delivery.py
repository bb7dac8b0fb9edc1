"""What a run pays for is delivered before anything is cleaned up, whatever fails at the end."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION, Around, make_chain, open_chain, over, page

from hoptrail.agents import ask, unfinished_runs
from hoptrail.agents.events import Done, Event
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.recording import Recorder
from hoptrail.rag.errors import StoreFull
from hoptrail.rag.store.store import Store


def test_a_listener_that_fails_at_the_end_costs_no_answer(
    library: KnowledgeBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = tmp_path / "runs"

    def heard(event: Event) -> None:
        if isinstance(event, Done):
            assert len(unfinished_runs(runs)) == 1  # it can still be taken up again
            raise RuntimeError("the page is closed")

    with caplog.at_level(logging.ERROR):
        receipt = ask(QUESTION, over(library, library.corpus, runs), on_event=heard)
    assert receipt.answer
    assert receipt.environment.problems == ("on_event failed at the end: the page is closed",)
    assert "the page is closed" in caplog.text
    assert unfinished_runs(runs) == ()


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), OSError(errno.EACCES, "Permission denied")]
)
def test_a_recording_that_cannot_be_ended_costs_no_answer(
    library: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def finish(self: Recorder, receipt: str) -> None:
        raise error

    monkeypatch.setattr(Recorder, "finish", finish)
    receipt = ask(QUESTION, library, record=tmp_path / "run.jsonl")
    assert receipt.answer == ask(QUESTION, library).answer
    (problem,) = receipt.environment.problems
    assert problem.startswith("The recording is unfinished: ")
    assert not (tmp_path / "run.jsonl").exists()


def test_evidence_names_the_generation_it_was_read_in(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")

    class Growing(Around):
        """Another document comes in while the run searches."""

        async def search(self, query: str, **options: object) -> object:
            found = await super().search(query, **options)  # type: ignore[arg-type]
            with Store.open(root) as writer:
                writer.commit([page(f"n{writer.generation}", "New", "Something else.")])
            return found

    with open_chain(root) as library:
        receipt = ask(QUESTION, over(library, Growing(library.corpus)))
    assert receipt.generation == 1
    read = {item.round: item.generation for item in receipt.evidence}
    assert set(read) == {1, 2}
    assert 1 < read[1] < read[2]


def test_a_new_title_is_a_change_of_the_source(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")

    class Retitling(Around):
        async def slice(
            self, document_id: str, start: int, end: int, *, timeout: float
        ) -> str | None:
            with Store.open(root) as writer:
                writer.commit([page("d2", "Otto Renn", CHAIN["d2"][1])])
            return await super().slice(document_id, start, end, timeout=timeout)

    with open_chain(root) as library:
        receipt = ask(QUESTION, over(library, Retitling(library.corpus)))
    assert receipt.source_changed
    assert "d2" not in {item.document_id for item in receipt.evidence}
    assert not any("Ilsa Corrin" in item.title for item in receipt.evidence)
