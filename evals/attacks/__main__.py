"""Runs the attack suite against a copy of a store.

    python -m hoptrail.evals.attacks [STORE] [--tenant NAME] [--model URL] [--kind KIND...] [--json]

Exits with 0 if every attack was withstood, 1 if one was not, 2 if it cannot run. The report goes to
stdout, everything else to stderr. The store is only read. `hoptrail attack` is the same with all
options and the settings file of the command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hoptrail.agents.llm.served_model import ServedModel
from hoptrail.evals.attacks.report import attack_line, report_lines
from hoptrail.evals.attacks.sandbox import Sandbox, SandboxSettings
from hoptrail.evals.attacks.suite import AttackProgress, all_attacks, run_attacks
from hoptrail.evals.attacks.types import MEANINGS
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite and prints the report; returns the exit code."""
    options = _parser().parse_args(arguments)
    model = None if options.model is None else ServedModel(url=options.model)
    try:
        embedder = None if options.embedder is None else load_embedder(options.embedder)
        with Sandbox.over(
            options.store,
            tenant=options.tenant,
            embedder=embedder,
            settings=SandboxSettings(model=model, strategy=options.strategy),
        ) as sandbox:
            report = run_attacks(all_attacks(sandbox, options.kind), sandbox, _note)
    except HoptrailError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the sandbox is removed\n")
        return 130
    lines = [json.dumps(report.record())] if options.json else report_lines(report)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if report.passed else 1


def _note(progress: AttackProgress) -> None:
    if progress.result is not None:
        line = attack_line(progress.result)
        sys.stderr.write(f"[{progress.done}/{progress.total}] {line}\n")
        sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.attacks", description="Attack a copy of a store."
    )
    parser.add_argument("store", nargs="?", type=Path, metavar="STORE", help="folder of the store")
    parser.add_argument("--tenant", default="default", metavar="NAME")
    parser.add_argument("--embedder", metavar="NAME", help="if the store does not say which")
    parser.add_argument("--model", metavar="URL", help="OpenAI-compatible server")
    parser.add_argument("--strategy", default="pool", metavar="NAME")
    parser.add_argument("--kind", nargs="+", default=(), choices=tuple(MEANINGS), metavar="KIND")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
