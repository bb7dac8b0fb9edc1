"""Benchmark of claim verification: false claims caught and true claims kept, by kind.

    python -m hoptrail.evals.benchmarks.verification [--model URL [--name NAME]] [--json]

The probes are shipped: claims over quotes of examples/world, and over short quotes in other
scripts. Without --model the rules alone check them, in about a second. With it the table also has
what a served model says of them, alone, and where a claim must pass both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.evals.benchmarks.verification.probe_set import Probe, load_probes
from hoptrail.evals.benchmarks.verification.scores import (
    VerificationScore,
    code_verdict,
    model_verdicts,
    scores,
)
from hoptrail.rag.errors import HoptrailError

_ROW = "{checker:<8} {split:<6} {kind:<13} {caught:>9} {kept:>9} {unjudged:>9}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    options = _parser().parse_args(arguments)
    probes = load_probes()
    code = [code_verdict(probe) for probe in probes]
    rows = scores("code", probes, code)
    if options.model:
        try:
            model = asyncio.run(_asked(options.model, options.name, probes))
        except HoptrailError as error:
            sys.stderr.write(f"verification: {error}\n")
            return 2
        rows += scores("model", probes, model)
        both = [one and other is not False for one, other in zip(code, model, strict=True)]
        rows += scores("both", probes, both)
    if options.json:
        lines = [json.dumps(asdict(row)) for row in rows]
    else:
        header = dict(
            checker="checker", split="split", kind="kind", caught="caught", kept="kept",
            unjudged="no reply",
        )  # fmt: skip
        lines = [_ROW.format(**header), *map(_line, rows)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def _asked(url: str, name: str | None, probes: Sequence[Probe]) -> list[bool | None]:
    endpoint = HttpEndpoint(url, model=name)
    try:
        return await model_verdicts(endpoint, probes)
    finally:
        await endpoint.aclose()


def _line(row: VerificationScore) -> str:
    return _ROW.format(
        checker=row.checker,
        split=row.split,
        kind=row.kind,
        caught=f"{row.caught}/{row.false}" if row.false else "-",
        kept=f"{row.kept}/{row.true}" if row.true else "-",
        unjudged=row.unjudged or "",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.verification",
        description="Measure the verification of claims.",
    )
    parser.add_argument("--model", metavar="URL", help="a served model that judges the claims too")
    parser.add_argument("--name", help="the model's name (default: the first the server lists)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
