"""Thresholds of claim verification by code, on the probes of `evals.benchmarks.verification`."""

from __future__ import annotations

from hoptrail.evals.benchmarks.verification.probe_set import load_probes
from hoptrail.evals.benchmarks.verification.scores import code_verdict, scores
from hoptrail.evals.regression.threshold import Threshold

CAUGHT, KEPT = 75.0, 95.0
"""Percent of the false claims that must be dropped, and of the true ones that must hold."""


def verification_thresholds() -> list[Threshold]:
    """The share of false claims caught and of true claims kept, over all probes."""
    probes = load_probes()
    whole = scores("code", probes, [code_verdict(probe) for probe in probes])[-1]
    return [
        Threshold(
            set="claim probes",
            what="false claims caught by code",
            measured=100 * whole.caught / whole.false,
            wanted=CAUGHT,
        ),
        Threshold(
            set="claim probes",
            what="true claims kept by code",
            measured=100 * whole.kept / whole.true,
            wanted=KEPT,
        ),
    ]
