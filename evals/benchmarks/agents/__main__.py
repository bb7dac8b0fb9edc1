"""Benchmark of the runtime: many questions at once, each with a budget of a few seconds.

    python -m hoptrail.evals.benchmarks.agents [CORPUS.jsonl QUESTIONS.jsonl] [--questions 64]
        [--seconds 3] [--strategy pool] [--times 2] [--json]

The files are those of examples/world unless others are named. Wanted on a quiet machine: every
question ends within its seconds and half a second more, with a stop reason, and 99 of 100 times
the event loop is less than 50 ms late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.evals.benchmarks.agents.many_at_once import ManyAtOnce, ask_at_once, questions_of
from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER
from hoptrail.rag.errors import HoptrailError

_WORLD = Path("examples/world")


def main(arguments: Sequence[str] | None = None) -> int:
    """Asks as the arguments say and prints what became of it; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        questions = questions_of(options.questions_file)
        with tempfile.TemporaryDirectory() as folder:
            made = KnowledgeBase.create(Path(folder) / "store", embedder=options.embedder)
            with made as knowledge:
                knowledge.ingest(options.corpus)
                for _ in range(options.times):
                    found = asyncio.run(
                        ask_at_once(
                            knowledge,
                            questions,
                            count=options.questions,
                            seconds=options.seconds,
                            strategy=options.strategy,
                        )
                    )
                    _say(json.dumps(asdict(found)) if options.json else _lines(found))
    except (HoptrailError, OSError) as error:
        sys.stderr.write(f"agents: {error}\n")
        return 2
    return 0


def _lines(found: ManyAtOnce) -> str:
    return "\n".join(
        f"{name:>12}  {value:.3f}" if isinstance(value, float) else f"{name:>12}  {value}"
        for name, value in asdict(found).items()
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.agents", description="Measure the runtime."
    )
    parser.add_argument("corpus", type=Path, nargs="?", default=_WORLD / "corpus.jsonl")
    parser.add_argument(
        "questions_file",
        type=Path,
        nargs="?",
        default=_WORLD / "questions.jsonl",
        metavar="QUESTIONS",
    )
    parser.add_argument("--questions", type=int, default=64, metavar="N", help="asked at once")
    parser.add_argument("--seconds", type=float, default=3.0, help="the budget of each")
    parser.add_argument("--strategy", default="pool")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--times", type=int, default=2, metavar="N", help="how often all are asked")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
