"""The report of the attack suite: a line an attack, rates of each kind, what a failure means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hoptrail.evals.attacks.types import MEANINGS, AttackResult, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSummary:
    """The attacks of one kind: how many, how many were withstood, means of what they measured."""

    kind: Kind
    attacks: int
    passed: int
    measures: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Share of attacks that were withstood, 0..1."""
        return self.passed / self.attacks


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackReport:
    """The results of a run of the suite."""

    results: tuple[AttackResult, ...]
    documents: int
    """Documents of the user's store that were copied into the sandbox."""
    served: bool
    """Whether a served model answered; else the local players did."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every attack was withstood."""
        return all(one.verdict.passed for one in self.results)

    def kinds(self) -> tuple[KindSummary, ...]:
        """A summary of each kind that was tried."""
        grouped = ((kind, [one for one in self.results if one.kind == kind]) for kind in MEANINGS)
        return tuple(_summary(kind, found) for kind, found in grouped if found)

    def record(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "passed": self.passed,
            "documents": self.documents,
            "served": self.served,
            "seconds": round(self.seconds, 3),
            "kinds": [
                {**asdict(one), "rate": one.rate, "meaning": MEANINGS[one.kind]}
                for one in self.kinds()
            ],
            "attacks": [asdict(one) for one in self.results],
        }


def report_lines(report: AttackReport) -> Iterator[str]:
    """The report as lines of text."""
    players = "the served model" if report.served else "the local players, no model"
    yield f"{len(report.results)} attacks, {players}, {report.documents:,} documents of the store"
    yield ""
    for one in report.results:
        yield attack_line(one)
    yield ""
    for summary in report.kinds():
        rate = f"{summary.passed}/{summary.attacks} withstood ({summary.rate:.0%})"
        yield f"{summary.kind:<16} {rate}"
        for name, value in summary.measures.items():
            yield f"  {name}: {value:,.2f} on average"
        if summary.passed < summary.attacks:
            yield f"  a failure means: {MEANINGS[summary.kind]}"


def attack_line(result: AttackResult) -> str:
    """The line of one attack."""
    verdict = "pass" if result.verdict.passed else "FAIL"
    name = f"{result.kind}/{result.name}"
    return f"{verdict}  {name:<38} {result.seconds:>6.1f} s  {result.verdict.detail}"


def _summary(kind: Kind, results: Sequence[AttackResult]) -> KindSummary:
    found: dict[str, list[float]] = {}
    for result in results:
        for measure in result.verdict.measures:
            found.setdefault(measure.name, []).append(measure.value)
    return KindSummary(
        kind=kind,
        attacks=len(results),
        passed=sum(one.verdict.passed for one in results),
        measures={name: sum(values) / len(values) for name, values in found.items()},
    )
