"""Regression thresholds of retrieval and of the model-free strategies on the development sets.

    python -m hoptrail.evals.regression DATA [--sets NAME...] [--quick] [--store-cache DIR]

For each set, ingested for real (the store is kept, so only the first run embeds everything):

1. hybrid search: recall@5 at least that of the baseline in `strategies.HYBRID_RECALL_AT_5`;
2. `pool` without a model and without the passage graph: the gold answer occurs in the quotes shown
   (at most 5) for at least as many questions as in the first 3 passages of hybrid search (questions
   answered yes or no left out);
3. in the same setting, recall@5 of `pool` is at least 2 points above that of `single`;
4. graph search: recall@5 with titles, without titles and on single-hop questions; and both
   strategies with the passage graph against those without (`graph_search`);
5. tree search fused with hybrid search, a tree grown by insertion, and the calibration of scores
   (`tree_search`);
6. claims checked by code: false ones caught and true ones kept, of the shipped probes
   (`claim_verification`).

Exits with 1 if a threshold ("floor" in the table) is missed, with 2 if it cannot be measured. The
table goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hoptrail.evals.regression.claim_verification import verification_thresholds
from hoptrail.evals.regression.graph_search import graph_thresholds, one_hop_thresholds
from hoptrail.evals.regression.strategies import HYBRID_RECALL_AT_5, measure
from hoptrail.evals.regression.threshold import ROW, Threshold
from hoptrail.evals.regression.tree_search import tree_thresholds
from hoptrail.evals.store_cache import StoreCache, add_cache_options
from hoptrail.rag.embedders.caching import CachingEmbedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError

QUICK = 100
"""Questions of each set for the strategies with `--quick`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures all thresholds and prints them; returns the exit code."""
    options = _parser().parse_args(arguments)
    if absent := [name for name in options.sets if not (options.data / name).is_dir()]:
        _note(f"floors: {str(options.data)!r} has no folder {', '.join(map(repr, absent))}")
        return 2
    try:
        embedder = CachingEmbedder(load_embedder(options.embedder))
        cache = StoreCache(folder=options.store_cache, embedder=embedder)
        floors = _measure_all(options, cache)
    except HoptrailError as error:
        _note(f"floors: {error}")
        return 2
    except KeyboardInterrupt:
        _note("floors: interrupted; stores keep what was ingested")
        return 130
    missed = [floor for floor in floors if not floor.reached]
    header = {"set": "set", "what": "floor", "measured": "measured", "wanted": "wanted"}
    lines = [ROW.format(**header, verdict=""), *(floor.line() for floor in floors)]
    sys.stdout.write("\n".join(line.rstrip() for line in lines) + "\n")
    _note(f"{len(floors) - len(missed)} of {len(floors)} floors reached")
    return 1 if missed else 0


def _measure_all(options: argparse.Namespace, cache: StoreCache) -> list[Threshold]:
    limit = QUICK if options.quick else None
    if limit is not None:
        _note(f"quick: strategies are asked {limit} questions a set; the floors mean all of them")
    floors = []
    for name in options.sets:
        floors += measure(options.data / name, cache, limit=limit, log=_note)
        floors += graph_thresholds(options.data / name, cache, log=_note)
    floors += one_hop_thresholds(options.data, cache, log=_note)
    floors += verification_thresholds()
    floors += tree_thresholds(options.data, options.sets, cache, log=_note)
    return floors


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.regression",
        description="Compare retrieval quality with its thresholds.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder that holds the data sets")
    parser.add_argument(
        "--sets", nargs="+", metavar="NAME", default=list(HYBRID_RECALL_AT_5), help="which sets"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"ask the strategies {QUICK} questions a set"
    )
    add_cache_options(parser)
    return parser


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
