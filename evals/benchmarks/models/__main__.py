"""Benchmark of the strategies with a real language model, beside baselines.

    python -m hoptrail.evals.benchmarks.models SET... --model URL [--out FOLDER] [--limit 40]

SET: folders of data sets, such as examples/world. Any OpenAI-compatible server will do. Questions
that the --out folder has are not asked again, so a run may be stopped and continued; the recording
of every question stays there, to compare prompts without a model. Beside scores: calls, tokens,
the share of prompts that a server's prefix cache can hold, and what became of each role's calls.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

from hoptrail.agents import ServedModel
from hoptrail.agents.budget.journal import Journal
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.runs.models import RoleModels, opened_once
from hoptrail.evals.benchmarks.models.measured import ROW, Measured, measured
from hoptrail.evals.benchmarks.models.table import lines
from hoptrail.evals.benchmarks.models.trials import Trial, trials
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.store_cache import StoreCache, add_cache_options, prepare_store
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with closing(Journal(options.out / "questions.jsonl")) as journal:
            # As an earlier run left them; those asked now are added.
            rows = [ROW.validate_python(line) for line in journal.lines]
            asyncio.run(_ask_all(options, journal, rows))
    except HoptrailError as error:
        sys.stderr.write(f"models: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nmodels: interrupted; the same command goes on from here\n")
        return 130
    text = lines(rows, options.baseline)
    if options.json:
        text = (ROW.dump_json(row).decode() for row in rows)
    sys.stdout.write("\n".join(text) + "\n")
    return 0


async def _ask_all(options: argparse.Namespace, journal: Journal, rows: list[Measured]) -> None:
    cache = StoreCache(folder=options.store_cache, embedder=load_embedder(options.embedder))
    for path in options.sets:
        dataset = load_dataset(path)
        prepared = prepare_store(dataset, cache, lambda _: None)
        async with AsyncExitStack() as stack:
            store = OpenStore.open(prepared.root, embedder=cache.embedder, keep_runs=False)
            stack.callback(store.close)
            models = await opened_once(
                stack,
                RoleModels.of(ServedModel(url=options.model, name=options.name)),
                store.secret,
            )
            await _ask_set(options, dataset, store, models, journal, rows)


async def _ask_set(
    options: argparse.Namespace,
    dataset: Dataset,
    store: OpenStore,
    models: RoleModels,
    journal: Journal,
    rows: list[Measured],
) -> None:
    """Asks the questions of one set, trial by trial, a few at a time."""
    questions = [one for one in dataset.questions if one.question.strip()][: options.limit]
    known = {(row.trial, row.dataset, row.id) for row in rows}
    every = trials({one.question: one for one in dataset.questions})
    chosen = [one for one in every if not options.trials or one.name in options.trials]
    waiting: Iterator[tuple[Trial, Question]] = iter(
        [
            (trial, one)
            for one in questions
            for trial in chosen
            if (trial.name, dataset.name, one.id) not in known
        ]
    )

    async def work() -> None:
        for trial, one in waiting:
            recording = options.out / "recordings" / trial.name / dataset.name / f"{one.id}.jsonl"
            row = await measured(trial, dataset.name, one, store, models, recording)
            journal.append(ROW.dump_python(row, mode="json"))
            rows.append(row)
            sys.stderr.write(f"{dataset.name}: {trial.name}: {one.id}: {row.answer[:60]!r}\n")

    workers = [asyncio.ensure_future(work()) for _ in range(options.concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.models",
        description="Compare strategies and baselines with a real model.",
    )
    add = parser.add_argument
    add("sets", nargs="+", type=Path, metavar="SET", help="folders of data sets")
    add("--model", required=True, metavar="URL", help="address of the model server")
    add("--name", help="name of the model; default: the first that the server lists")
    add("--out", type=Path, default=Path("models-bench"), help="results and recordings")
    add("--limit", type=int, default=40, help="questions a set; default: 40")
    add("--trials", nargs="+", metavar="NAME", help="default: all")
    add("--baseline", default="naive graph", help="trial to compare with; default: naive graph")
    add("--concurrency", type=int, default=4, help="questions at the same time; default: 4")
    add("--json", action="store_true", help="one JSON object a question and trial")
    add_cache_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
