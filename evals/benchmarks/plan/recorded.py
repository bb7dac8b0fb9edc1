"""Benchmark of `plan` with recorded decompositions of a model in the place of the planner.

    python -m hoptrail.evals.benchmarks.plan.recorded DECOMPOSITIONS SET... [--mode hybrid]

DECOMPOSITIONS: a `.jsonl.gz` file as ProbTree's authors published it (arXiv 2311.13982): for a
question, the sub-questions of each question that was divided, which refer to each other as `#1`.
SET: folders of data sets; their questions that have an entry are asked with `single`, with `plan`
by rules and with `plan` by the recorded steps, all other roles local. Compares recall@5 by pairs.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel

from hoptrail.agents import KnowledgeBase, RunSettings
from hoptrail.agents.roles.base import RoleResult, Roles
from hoptrail.agents.roles.searching.step_graph import (
    MOST_STEPS,
    in_order,
    linked,
    problem_of,
    reference,
)
from hoptrail.agents.roles.searching.step_planner import SOURCES, best_source, whole_question
from hoptrail.agents.types import Source, SourceName, Step, Turn
from hoptrail.evals.benchmarks.models.table import paired
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.results import result_of
from hoptrail.evals.store_cache import StoreCache, add_cache_options, prepare_store
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.types import Mode

_REFERENCE = re.compile(r"#(\d+)")


class Part(BaseModel):
    """A question that was divided."""

    sub_questions: list[str]


class Recorded(BaseModel):
    """A recorded decomposition: the question, and each question that was divided."""

    question: str
    decomposition: dict[str, Part]


def steps_of(record: Recorded, source: SourceName) -> tuple[Step, ...]:
    """The steps of a recorded decomposition: its leaves, in order; empty where it cannot be run.

    A sub-question that was itself divided is replaced by its parts, and references to it by
    references to the last of them.
    """
    questions: list[str] = []

    def add(question: str, above: frozenset[str]) -> str:
        """Adds a question's leaves; returns the id of the step that answers it."""
        divided = record.decomposition.get(question)
        if divided is None or len(divided.sub_questions) < 2 or question in above:
            questions.append(question)
            return f"s{len(questions)}"
        ids: list[str] = []
        for part in divided.sub_questions:
            first = len(questions)
            ids.append(add(part, above | {question}))
            questions[first:] = [_referring(one, ids[:-1]) for one in questions[first:]]
        return ids[-1]

    add(record.question, frozenset())
    steps = linked([(one, source, one) for one in questions])
    return () if problem_of(steps, SOURCES) else in_order(steps)


def _referring(question: str, ids: Sequence[str]) -> str:
    def referred(match: re.Match[str]) -> str:
        place = int(match.group(1)) - 1
        return reference(ids[place]) if 0 <= place < len(ids) else match.group()

    return _REFERENCE.sub(referred, question)


class RecordedStepPlanner:
    """The step planner that knows the steps of some questions, and asks others as they stand."""

    def __init__(self, records: Mapping[str, Recorded]) -> None:
        self._records = records

    async def plan_steps(
        self, question: str, sources: Sequence[Source], notes: Sequence[Turn]
    ) -> RoleResult[tuple[Step, ...]]:
        """The recorded steps; after a plan that failed, the question as it stands."""
        steps: tuple[Step, ...] = ()
        if question in self._records and not notes:
            steps = steps_of(self._records[question], best_source(sources))
        return RoleResult(value=steps or whole_question(question, sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Recall@5 of one question in three ways, 0..1."""

    dataset: str
    single: float
    rules: float
    recorded: float


def compared(
    path: Path, records: Mapping[str, Recorded], cache: StoreCache, mode: Mode
) -> list[Compared]:
    """Asks the questions of a set that have recorded steps."""
    dataset = load_dataset(path)
    prepared = prepare_store(dataset, cache, lambda _: None)
    wanted = [one for one in dataset.questions if one.question in records]
    planner = RecordedStepPlanner(records)

    def with_recorded(roles: Roles) -> Roles:
        return replace(roles, step_planner=planner)

    found: list[Compared] = []
    with KnowledgeBase.open(prepared.root, embedder=cache.embedder, keep_runs=False) as base:

        def recall(question: Question, strategy: str, *, recorded: bool = False) -> float:
            receipt = base.ask(
                question.question,
                strategy=strategy,
                settings=RunSettings(mode=mode),
                roles=with_recorded if recorded else None,
            )
            return result_of(question, receipt).scores["recall@5"] or 0.0

        for question in wanted:
            row = Compared(
                dataset=dataset.name,
                single=recall(question, "single"),
                rules=recall(question, "plan"),
                recorded=recall(question, "plan", recorded=True),
            )
            found.append(row)
            sys.stderr.write(f"\r{dataset.name}: {len(found)} of {len(wanted)}")
    sys.stderr.write("\n")
    return found


def read(path: Path) -> dict[str, Recorded]:
    """The recorded decompositions by question.

    Raises:
        OSError, ValueError: the file cannot be read, or has another form.
    """
    with gzip.open(path) as lines:
        return {one.question: one for one in map(Recorded.model_validate_json, lines)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        records = read(options.decompositions)
        usable = sum(bool(steps_of(one, "hybrid")) for one in records.values())
        cache = StoreCache(folder=options.store_cache, embedder=load_embedder(options.embedder))
        rows = [
            one for path in options.sets for one in compared(path, records, cache, options.mode)
        ]
    except (HoptrailError, OSError, ValueError) as error:
        sys.stderr.write(f"plan: {error}\n")
        return 2
    text = [f"{usable} of {len(records)} recorded decompositions can be run ({MOST_STEPS} steps)"]
    sys.stdout.write("\n".join([*text, *_table(rows)]) + "\n")
    return 0


def _table(rows: Sequence[Compared]) -> Iterator[str]:
    yield "set               questions  single  by rules  recorded  recorded - single"
    for name in (*dict.fromkeys(one.dataset for one in rows), "all"):
        own = [one for one in rows if name in (one.dataset, "all")]
        if not own:
            continue
        single, rules, recorded = (
            100 * fmean(getattr(one, way) for one in own) for way in ("single", "rules", "recorded")
        )
        gain, low, high = (
            100 * points
            for points in paired([one.recorded for one in own], [one.single for one in own])
        )
        yield (
            f"{name:<17} {len(own):>9}  {single:>6.1f}  {rules:>8.1f}  {recorded:>8.1f}  "
            f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.plan.recorded",
        description="Ask with recorded decompositions in the place of the planner.",
    )
    parser.add_argument("decompositions", type=Path, metavar="DECOMPOSITIONS")
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET", help="folders of data sets")
    parser.add_argument("--mode", choices=("hybrid", "graph"), default="hybrid")
    add_cache_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
