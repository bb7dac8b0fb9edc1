"""The benchmark of models: prefixes, paired intervals, and a whole run on a scripted server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION, make_chain, open_chain, reading
from support.chat_server import FakeServer, says

from hoptrail.agents import RunSettings, ask
from hoptrail.evals.benchmarks.models.__main__ import main
from hoptrail.evals.benchmarks.models.measured import prefix_share, prompts
from hoptrail.evals.benchmarks.models.table import paired


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        ([], None),
        (["one"], None),
        (["abcd", "abxy"], 0.5),
        (["abcd", "wxyz"], 0.0),
        (["abcd", "abcd", "abcdefgh"], 8 / 12),
        (["abcd", "wxyz", "wxcd"], 2 / 8),  # with any earlier one, not only the last
    ],
)
def test_the_share_of_prompts_that_a_cache_can_hold(texts: list[str], share: float | None) -> None:
    assert prefix_share(texts) == share


def test_the_prompts_of_a_run_share_most_of_their_beginnings(tmp_path: Path) -> None:
    """By the recording of two rounds; passages of a thousand characters, as most corpora have."""
    more = " It was written of in the almanacs of the coast, year by year." * 16
    pages = {name: (title, text + more) for name, (title, text) in CHAIN.items()}
    file = tmp_path / "run.jsonl"
    with open_chain(make_chain(tmp_path / "store", pages)) as library:
        receipt = ask(QUESTION, library, model=reading(), record=file, settings=RunSettings(read=3))
    assert (receipt.answer, receipt.rounds) == ("Tarn Hollow", 2)
    share = prefix_share(prompts(file))
    assert share is not None
    assert share > 0.6


def test_a_difference_of_pairs_has_an_interval_around_it() -> None:
    mean, low, high = paired([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0])
    assert mean == 0.5
    assert low < mean < high
    assert paired([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no pairs"):
        paired([], [])


def test_a_run_is_continued_and_told_as_a_table(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = json.dumps({"answer": "4,117", "claims": [{"text": "x", "evidence": [1]}]})
    with FakeServer(says('{"word":"qzv7kx"}'), says(reply)) as server:
        options = [str(world), "--model", server.url, "--out", str(tmp_path), "--limit", "2",
                   "--trials", "naive graph", "single graph", "--concurrency", "1",
                   "--store-cache", str(tmp_path / "stores"), "--embedder", "hash"]  # fmt: skip
        assert main(options) == 0
        asked = len(server.chats)
        assert main(options) == 0
        assert len(server.chats) == asked, "what is there is not asked again"
    table = capsys.readouterr().out
    assert "naive graph" in table
    assert "n=2" in table
    assert len((tmp_path / "questions.jsonl").read_text().splitlines()) == 4
    assert len(list(tmp_path.glob("recordings/*/*/*.jsonl"))) == 4


def test_a_server_that_is_not_there_is_said(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(world), "--model", "http://127.0.0.1:9", "--out", str(tmp_path), "--limit", "1"]
    cache = ["--store-cache", str(tmp_path / "stores"), "--embedder", "hash"]
    assert main([*options, *cache, "--trials", "naive graph"]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err
