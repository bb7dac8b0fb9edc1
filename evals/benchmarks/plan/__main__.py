"""Benchmark of the planner without a model: its steps against decompositions written by people.

    python -m hoptrail.evals.benchmarks.plan DATA [--json]

DATA is a folder whose folders hold `data.jsonl.gz` with "question" and "decomposition": lists of
questions, as StrategyQA has them, or QDMR, as Break has them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hoptrail.evals.benchmarks.plan.decompositions import (
    Agreement,
    Decomposition,
    agreement,
    read,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares as the arguments say and prints a line a set; returns the exit code."""
    options = _parser().parse_args(arguments)
    sets: defaultdict[str, list[Decomposition]] = defaultdict(list)
    try:
        for path in sorted(options.data.glob("*/data.jsonl.gz")):
            for one in read(path):
                sets[one.set].append(one)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"plan: {error}\n")
        return 2
    if not sets:
        sys.stderr.write(f"plan: {str(options.data)!r} holds no decompositions: name the folder.\n")
        return 2
    found = [agreement(name, sets[name]) for name in sorted(sets)]
    lines = [json.dumps(asdict(one)) for one in found] if options.json else _table(found)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _table(found: Sequence[Agreement]) -> list[str]:
    head = "set                questions  wanted    made  equal  within 1  difference  equal depth"
    return [
        head,
        *(
            f"{one.set:<18} {one.questions:>9} {one.wanted:>7.2f} {one.made:>7.2f} "
            f"{one.equal:>5.1f}% {one.within_1:>8.1f}% {one.difference:>11.2f} "
            f"{one.equal_depth:>11.1f}%"
            for one in found
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.plan", description="Measure the local planner."
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
