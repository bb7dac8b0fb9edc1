"""The benchmark of the local planner reads both forms of decompositions and counts alike."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hoptrail.evals.benchmarks.plan.__main__ import main
from hoptrail.evals.benchmarks.plan.decompositions import agreement, depth_of, read

LISTED = {
    "question": "Who is older, Ilsa Corrin or Otto Renn?",
    "decomposition": ["When was Ilsa Corrin born?", "When was Otto Renn born?", "Is #1 before #2?"],
}
QDMR = {
    "id": "CWQ_dev_1", "question": "Where did Ilsa Corrin's husband die?",
    "decomposition": "return Ilsa Corrin ;return husband of  #1 ;return where did #2 die",
    "operators": "['select', 'project', 'project']",
}  # fmt: skip
PICTURE = {**QDMR, "id": "CLEVR_dev_1"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, records in {"lists": [LISTED, {"question": "?"}], "break": [QDMR, PICTURE]}.items():
        (tmp_path / name).mkdir()
        with gzip.open(tmp_path / name / "data.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(one) + "\n" for one in records)
    return tmp_path


def test_steps_are_counted_as_searches(data: Path) -> None:
    (listed,) = read(data / "lists" / "data.jsonl.gz")
    assert listed.needs == (frozenset(), frozenset(), frozenset({0, 1}))
    assert listed.depth == depth_of(listed.needs) == 2
    (qdmr,) = read(data / "break" / "data.jsonl.gz")  # the select goes with its first project
    assert (qdmr.set, qdmr.needs) == ("Break CWQ", (frozenset(), frozenset({0})))


def test_the_rules_agree_with_what_they_can_take_apart(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = agreement("lists", list(read(data / "lists" / "data.jsonl.gz")))
    assert (found.equal, found.difference, found.equal_depth) == (100.0, 0.0, 100.0)
    assert main([str(data)]) == 0
    assert "Break CWQ" in capsys.readouterr().out
    assert main([str(data), "--json"]) == 0
    sets = [json.loads(line)["set"] for line in capsys.readouterr().out.splitlines()]
    assert sets == ["Break CWQ", "lists"]


def test_a_folder_without_decompositions_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no decompositions" in capsys.readouterr().err
