"""Benchmark of the passage graph: recall of all search modes, ablation study, build and query cost.

    python -m hoptrail.evals.benchmarks.graph DATA --quality [--sets NAME...] [--variants NAME...]
    python -m hoptrail.evals.benchmarks.graph DATA --ablation [--sets NAME...] [--variants NAME...]
    python -m hoptrail.evals.benchmarks.graph --cost [--passages 10000,100000]

--quality measures recall@2, @5 and @10 of BM25, dense, hybrid and graph search; --ablation recall@5
of graph search without each of its parts; --cost ingest throughput, latency and bytes on synthetic
text. DATA is the folder that holds the data sets. Stores are made by the real ingest and kept in
the store cache, so only the first run embeds. The default sets of --ablation are training sets:
weights are chosen on those alone, never on the development sets.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import get_args

from hoptrail.evals.benchmarks.graph.ablation import ablation, systems
from hoptrail.evals.benchmarks.graph.cost import cost
from hoptrail.evals.benchmarks.graph.recall import RecallScore, quality
from hoptrail.evals.benchmarks.graph.variants import Variant
from hoptrail.evals.store_cache import StoreCache, add_cache_options
from hoptrail.rag.embedders.caching import CachingEmbedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError

MEASURED = ("2wiki_hipporag", "musique_dev", "hotpot_dev")
ONE_HOP = ("nq_open", "squad11_dev")
TRAINING = ("2wiki_train500", "musique_train100", "hotpot_train100")

_ROW = (
    "{set:<17} {variant:<9} {system:<24} {questions:>5} {r2:>6} {r5:>6} {r10:>6} {all5:>6} {ms:>6}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the arguments choose; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.cost:
            _costs([int(size) for size in options.passages.split(",") if size], options)
            return 0
        embedder = CachingEmbedder(load_embedder(options.embedder))
        cache = StoreCache(folder=options.store_cache, embedder=embedder)
        (_ablate if options.ablation else _compare)(options, cache)
    except HoptrailError as error:
        sys.stderr.write(f"graph: {error}\n")
        return 2
    return 0


def _compare(options: argparse.Namespace, cache: StoreCache) -> None:
    if not options.json:
        _say(_ROW.format(**_HEADER))
    for name in options.sets or (*MEASURED, *ONE_HOP):
        for variant in options.variants or _variants_of(name):
            for found in quality(options.data / name, variant, cache, options.questions):
                _say(json.dumps(asdict(found)) if options.json else _line(found))


def _variants_of(name: str) -> tuple[Variant, ...]:
    """The variants measured by default: single-hop sets are measured as they are."""
    return ("whole",) if name in ONE_HOP else ("whole", "untitled", "lower")


def _ablate(options: argparse.Namespace, cache: StoreCache) -> None:
    """Prints recall@5 of each system by set, the mean, and its difference to the full system."""
    found: defaultdict[str, list[RecallScore]] = defaultdict(list)
    for variant in options.variants or ("whole", "untitled"):
        for name in options.sets or TRAINING:
            for one in ablation(options.data / name, variant, cache, systems()):
                found[one.system].append(one)
                if options.json:
                    _say(json.dumps(asdict(one)))
    if options.json:
        return
    first = next(iter(found.values()))
    _say(
        " " * 36 + "".join(f"{one.set[:7]}/{one.variant[:2]:<3}" for one in first) + "   mean  diff"
    )
    best = fmean(one.recall_5 for one in first)
    for system, scores in found.items():
        mean = fmean(one.recall_5 for one in scores)
        cells = "".join(f"{one.recall_5:>10.1f} " for one in scores)
        _say(f"{system:<36}{cells}{mean:>7.2f} {mean - best:>+6.2f}")


def _costs(sizes: Sequence[int], options: argparse.Namespace) -> None:
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            values = asdict(cost(Path(folder), size))
        if options.json:
            _say(json.dumps(values))
        else:
            _say("".join(f"{key:<24}{value:>14,.2f}\n" for key, value in values.items()))


_HEADER = {
    "set": "set",
    "variant": "variant",
    "system": "system",
    "questions": "n",
    "r2": "@2",
    "r5": "@5",
    "r10": "@10",
    "all5": "all@5",
    "ms": "ms",
}


def _line(one: RecallScore) -> str:
    return _ROW.format(
        set=one.set,
        variant=one.variant,
        system=one.system,
        questions=one.questions,
        r2=f"{one.recall_2:.1f}",
        r5=f"{one.recall_5:.1f}",
        r10="-" if one.recall_10 is None else f"{one.recall_10:.1f}",
        all5=f"{one.all_5:.1f}",
        ms="-" if one.ms is None else f"{one.ms:.1f}",
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.graph",
        description="Measure the passage graph.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", nargs="?", default=Path())
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--quality", action="store_true", help="recall of all modes, side by side")
    choice.add_argument("--ablation", action="store_true", help="recall without each ingredient")
    choice.add_argument("--cost", action="store_true", help="time and bytes on a synthetic corpus")
    parser.add_argument("--sets", nargs="+", metavar="NAME")
    parser.add_argument("--variants", nargs="+", choices=get_args(Variant), metavar="NAME")
    parser.add_argument(
        "--questions",
        type=int,
        default=10_000,
        metavar="N",
        help="most questions of a set for --quality",
    )
    parser.add_argument("--passages", default="10000,100000", help="sizes of --cost, by commas")
    parser.add_argument("--folder", type=Path, help="where --cost builds (default: temporary)")
    add_cache_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
