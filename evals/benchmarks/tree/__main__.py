"""Benchmark of the corpus tree: calibration, search recall, incremental insertion, scale.

    python -m hoptrail.evals.benchmarks.tree --fits [--seeds N]
    python -m hoptrail.evals.benchmarks.tree DATA --simulation [--questions N] [--draws N]
    python -m hoptrail.evals.benchmarks.tree DATA --local [--sets NAME...] [--fusions]
    python -m hoptrail.evals.benchmarks.tree DATA --medical [--questions N]
    python -m hoptrail.evals.benchmarks.tree DATA --growth [--sets NAME...]
    python -m hoptrail.evals.benchmarks.tree --scale 100000 [--per-document N] [--method METHOD]

--fits measures nDCG@10 and time of each calibration of scores on synthetic slates; --simulation
nDCG@10 and recall@10 of tree search by iteration, under a simulated scorer; --local recall of tree
search without a model; --medical tree search in one document of a million characters; --growth a
tree grown by insertion beside one built at once; --scale time and memory of a build.

DATA is the folder that holds the data sets. Stores are made by the real ingest and kept in the
store cache, so only the first run embeds. Weights are chosen on the training sets alone: --sets
2wiki_train500 musique_train100 hotpot_train100.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from hoptrail.evals.benchmarks.tree.calibration_fit import CalibrationScore, calibration_scores
from hoptrail.evals.benchmarks.tree.ground_truth import labelled_tree
from hoptrail.evals.benchmarks.tree.incremental import IncrementalTree, incremental_trees
from hoptrail.evals.benchmarks.tree.local_search import LocalSearchScore, local_search_scores
from hoptrail.evals.benchmarks.tree.long_document import SET, LongDocumentScore, long_document
from hoptrail.evals.benchmarks.tree.scaling import BuiltTree, scale
from hoptrail.evals.benchmarks.tree.simulated_scorer import SimulatedSearchScore, simulation
from hoptrail.evals.store_cache import StoreCache, add_cache_options
from hoptrail.rag.embedders.caching import CachingEmbedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.tree.types import Method

DEVELOPMENT = ("2wiki_hipporag", "musique_dev", "hotpot_dev")
SIMULATED = (*DEVELOPMENT, "noveleval")

Measured = (
    CalibrationScore
    | SimulatedSearchScore
    | LocalSearchScore
    | IncrementalTree
    | BuiltTree
    | LongDocumentScore
)

_SHOWN = (3, 4, 5, 7, 10, 20)
"""Iterations of a curve that the table shows."""
_NAMES, _WIDTH = 15, 5
"""Least widths of a column of names and of one of numbers, in characters."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the arguments choose; returns the exit code."""
    options = _parser().parse_args(arguments)
    header = ""
    try:
        for one in _measured(options):
            if options.json:
                _say(json.dumps(asdict(one)))
                continue
            cells = list(_cells(one))
            widths = [max(len(name), _WIDTH if number else _NAMES) for name, _, number in cells]
            pairs = list(zip(cells, widths, strict=True))
            if header != (header := " ".join(f"{cell[0]:>{width}}" for cell, width in pairs)):
                _say(header)
            _say(" ".join(f"{cell[1]:>{width}}" for cell, width in pairs))
    except HoptrailError as error:
        sys.stderr.write(f"lattice: {error}\n")
        return 2
    return 0


def _measured(options: argparse.Namespace) -> Iterator[Measured]:
    if options.fits:
        yield from calibration_scores(options.seeds)
    elif options.scale:
        yield scale(options.scale, per_document=options.per_document, method=options.method)
    else:
        embedder = CachingEmbedder(load_embedder(options.embedder))
        yield from _on_sets(options, StoreCache(folder=options.store_cache, embedder=embedder))


def _on_sets(options: argparse.Namespace, cache: StoreCache) -> Iterator[Measured]:
    if options.medical:
        name = (options.sets or [SET])[0]
        yield long_document(options.data / name, cache, options.questions or 200)
        return
    for name in options.sets or (SIMULATED if options.simulation else DEVELOPMENT):
        most = options.questions or (60 if options.simulation else 1_000_000)
        folder = options.data / name
        with labelled_tree(folder, cache, most=most, method=options.method) as (labelled, store):
            searcher = Retriever(store, cache.embedder)
            if options.simulation:
                yield from simulation(labelled, draws=options.draws)
            elif options.growth:
                yield from incremental_trees(labelled, searcher)
            else:
                yield from local_search_scores(labelled, searcher, fusions=options.fusions)


def _cells(one: Measured) -> Iterator[tuple[str, str, bool]]:
    """Columns of a result: name, value, and whether the value is a number."""
    for name, value in asdict(one).items():
        if isinstance(value, tuple):
            for iteration in _SHOWN:
                if iteration <= len(value):
                    yield f"{name}@{iteration}", f"{100 * value[iteration - 1]:.1f}", True
        elif isinstance(value, float):
            yield name, f"{value:.{3 if abs(value) < 2 else 1}f}", True
        else:
            yield name, str(value), not isinstance(value, str)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.tree", description="Measure the tree."
    )
    parser.add_argument("data", type=Path, metavar="DATA", nargs="?", default=Path())
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--fits", action="store_true", help="the calibrations on synthetic slates")
    choice.add_argument("--simulation", action="store_true", help="searches by a simulated scorer")
    choice.add_argument("--local", action="store_true", help="searches by the local scorer")
    choice.add_argument(
        "--medical", action="store_true", help="one document of a million characters"
    )
    choice.add_argument("--growth", action="store_true", help="a grown tree beside a fresh one")
    choice.add_argument(
        "--scale", type=int, metavar="LEAVES", help="build a tree over so many leaves"
    )
    parser.add_argument("--sets", nargs="+", metavar="NAME")
    parser.add_argument("--questions", type=int, metavar="N", help="most questions of a set")
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="draws of --fits")
    parser.add_argument("--draws", type=int, default=1, metavar="N", help="of --simulation's noise")
    parser.add_argument("--fusions", action="store_true", help="every way of fusing")
    parser.add_argument("--per-document", type=int, default=1, metavar="N", help="of --scale")
    parser.add_argument("--method", choices=get_args(Method), default="bottom-up")
    add_cache_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
