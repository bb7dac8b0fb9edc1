"""The probe set: claims over quotes of examples/world and of other scripts, each true or false."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from hoptrail.agents.types import Claim, Evidence

Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A claim with the quotes that it cites."""

    split: Split
    """`dev`: the rules were made with it in view; `test`: written apart, not looked at for that."""
    kind: str
    """What the claim turns on, such as `unit`, `negation` or `role`."""
    holds: bool
    """Whether the quotes state the claim."""
    claim: str
    quotes: tuple[Evidence, ...]

    def as_claim(self) -> Claim:
        """The claim, citing all its quotes."""
        return Claim(text=self.claim, evidence=tuple(quote.id for quote in self.quotes))


def load_probes() -> tuple[Probe, ...]:
    """The probes that are shipped."""
    text = (
        files("hoptrail.evals.benchmarks.verification").joinpath("probes.jsonl").read_text("utf-8")
    )
    return tuple(_probe(json.loads(line)) for line in text.splitlines())


def _probe(record: dict[str, object]) -> Probe:
    quotes = record["quotes"]
    assert isinstance(quotes, list)
    return Probe(
        split="test" if record["split"] == "test" else "dev",
        kind=str(record["kind"]),
        holds=bool(record["holds"]),
        claim=str(record["claim"]),
        quotes=tuple(
            Evidence(
                id=f"q{number}",
                document_id=quote["document"],
                passage_id="",
                title=quote["title"],
                start=0,
                end=len(quote["text"]),
                quote=quote["text"],
                confidence=1.0,
                score=1.0,
                round=1,
                query="",
            )
            for number, quote in enumerate(quotes, 1)
        ),
    )
