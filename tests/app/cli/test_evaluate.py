"""`hoptrail eval` as it is typed: the measures under their names, and a run that goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from support.cli import cli, error, records

from hoptrail.app.cli.commands.evaluate import report_lines
from hoptrail.app.cli.progress import EvalBar
from hoptrail.evals.metrics.aggregate import Mean
from hoptrail.evals.reports.summary import CostStats, Failure, Report
from hoptrail.evals.runner import EvalProgress


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_the_measures_bear_their_names_and_a_second_run_asks_nothing(
    world: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = (
        "eval", world, "--embedder", "hash", "--strategy", "single", "--limit", 3, "--out",
        tmp_path / "out", "--store-cache", cache, "--json", "--budget-searches", 4,
    )  # fmt: skip
    first = cli(*arguments)
    assert first.exit_code == 0, first.output
    (report,) = records(first.stdout)
    assert (report["questions"], report["failed"], report["strategy"]) == (3, 0, "single")
    for name in ("recall@2", "recall@5", "recall@10", "recall@20", "em", "f1"):
        assert 0 <= report[name] <= 1
        assert report["counts"][name] == 3
    assert report["run"]["budget"]["searches"] == 4
    rows = (tmp_path / "out" / "questions.jsonl").read_text()
    assert len(rows.splitlines()) == 3
    (again,) = records(cli(*arguments).stdout)
    assert again == report
    assert (tmp_path / "out" / "questions.jsonl").read_text() == rows
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strategy", "guess"), "Unknown strategy 'guess'"),
        (("--limit", "0"), "The setting 'limit' is 0: give"),
        (("--concurrency", "0"), "The setting 'concurrency' is 0: give"),
        (("--lexical", "lucene", "--limit", "1"), "Unknown lexical index 'lucene'"),
    ],
)
def test_impossible_options_of_eval_are_refused(
    world: Path, cache: Path, options: tuple[str, ...], message: str
) -> None:
    arguments = ("eval", world, "--embedder", "hash", "--store-cache", cache, *options)
    assert message in error(*arguments, code=2)


def test_a_folder_that_is_no_data_set_is_named(tmp_path: Path, cache: Path) -> None:
    line = error("eval", tmp_path, "--embedder", "hash", "--store-cache", cache)
    assert line == (
        f"error: {str(tmp_path)!r} is no data set: it lacks corpus.jsonl (or corpus.jsonl.gz)."
    )


def test_people_see_every_measure_with_its_count() -> None:
    report = Report(
        dataset="world", strategy="pool", model="", questions=2, failed=1, fallbacks=1,
        measures={"recall@5": Mean(value=0.5, count=2), "em": Mean(value=None, count=0)},
        costs={"calls": CostStats(mean=1.5, p50=1.0, p95=2.0, total=3.0)},
        outcomes={"quotes": 1}, abstain_reasons={}, stop_reasons={"sufficient": 1},
        failures=(Failure(id="q1", error="gone"),), missing_records=("d9",), run={},
    )  # fmt: skip
    lines = list(report_lines(report))
    assert lines[0] == "world: 2 questions, strategy pool, no model; 1 failed, 1 fallback"
    assert "recall@5              0.500  over 2" in lines
    assert "em                        -  over 0" in lines
    assert "calls                 mean 1.5, median 1.0, 95 % below 2.0" in lines
    assert "stop reasons          sufficient 1" in lines
    assert lines[-2:] == ["failed: q1: gone", "not ingested: d9"]


def test_the_bar_counts_questions() -> None:
    screen = io.StringIO()
    with EvalBar(Console(file=screen, force_terminal=True, width=100)) as bar:
        bar.ask(EvalProgress(done=0, total=7, row=None))
        bar.ask(EvalProgress(done=3, total=7, row=None))
    assert screen.getvalue().rindex("3/7") > screen.getvalue().find("0/7")
