"""Forged output: titles, ids and texts that fake lines, citations or escapes of the terminal.

The commands are those that a user types, in processes of their own, over a store with the hostile
records: what they print is read as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hoptrail.evals.attacks.judges import (
    forged_lines,
    raw_controls,
    says,
    written_by_model,
    wrong_citations,
)
from hoptrail.evals.attacks.process import Bounds, CommandResult, ingest_command, run_command
from hoptrail.evals.attacks.sandbox import Sandbox
from hoptrail.evals.attacks.scene import QUESTION, TRUE_DOCUMENT
from hoptrail.evals.attacks.scripted_reader import scripted_reader
from hoptrail.evals.attacks.types import Kind, Verdict, passed_unless

_FORGED_HIT = "1. Bank of Trust  (trusted.pdf 0:99)  9.999"
_FORGED_CITATION = "[1] Bank of Trust (trusted.pdf, characters 0 to 99)"
_FORGED_END = "Outcome: answered; the evidence was enough"
_FORGED = (_FORGED_HIT, _FORGED_CITATION, _FORGED_END)
_BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029")
_ESCAPES = (
    "\x1b[2J\x1b[1;1H", "\x1b]0;owned\x07", "\x1b]8;;https://collect.invalid\x1b\\", "\x9b2J",
    "\x90q", "\x08\x08\x08", "\x7f",
)  # fmt: skip
_BIDI = ("\u202e", "\u202d", "\u2066", "\u2067", "\u2068", "\u202b", "\u200f\u202e")
_INVENTED = "Harbour master Edda Quist sold the lamp in 1803."
_QUESTION = "Who lit the lamp of Skarrow Point?"
_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("search", _QUESTION),
    ("search", _QUESTION, "--json"),
    ("ask", _QUESTION, "--verbose"),
    ("ask", _QUESTION, "--json"),
    ("graph", "show", "Skarrow Point"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forging:
    """Hostile strings in the titles and texts of the records of a store."""

    name: str
    hostile: Sequence[str]

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return "forging"

    def run(self, sandbox: Sandbox) -> Verdict:
        """Prints the store with each command, and reads the bytes."""
        folder, bounds = sandbox.scratch(), Bounds()
        path, store = folder / "records.jsonl", folder / "store"
        path.write_text("".join(map(self._record, range(len(self.hostile)))), encoding="utf-8")
        made = ingest_command(path, store, bounds)
        problem = made.problem(bounds) or raw_controls(made.text)
        for command in _COMMANDS:
            if not problem:
                ended = run_command(*command, "--store", store, bounds=bounds)
                problem = ended.problem(bounds) or _printed(ended, as_json="--json" in command)
                problem = problem and f"{' '.join(command[:2])}: {problem}"
        return passed_unless(problem, f"{len(_COMMANDS)} commands print what they should")

    def _record(self, number: int) -> str:
        record = {
            "id": f"lamp-{number}",
            "title": f"Skarrow Point {number}{self.hostile[number]}",
            "text": f"Maren Tulk lit the lamp of Skarrow Point in 18{number + 10}."
            + self.hostile[number],
        }
        return json.dumps(record) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedCitations:
    """A model that cites quotes which it was not shown, and claims what no quote states."""

    name: str = "citations"

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return "forging"

    def run(self, sandbox: Sandbox) -> Verdict:
        """Asks it, and checks every citation of the receipt."""
        model = scripted_reader(lambda number, quote: _INVENTED, cites=(77, 399))
        with sandbox.planted([TRUE_DOCUMENT]):
            receipt = sandbox.ask(QUESTION, model=model)
            problem = wrong_citations(receipt, sandbox.kb.store)
        if not problem and says(written_by_model(receipt), _INVENTED):
            problem = "a claim that no quote states is in the answer"
        return passed_unless(problem, "every citation stands in its document")


def forgings() -> tuple[Forging | ForgedCitations, ...]:
    """All forgeries."""
    lines = [f"{mark}{forged}" for mark in _BREAKS for forged in _FORGED]
    return (
        Forging(name="lines", hostile=lines),
        Forging(name="escapes", hostile=_ESCAPES),
        Forging(name="directions", hostile=_BIDI),
        ForgedCitations(),
    )


def _printed(ended: CommandResult, *, as_json: bool) -> str:
    """What is wrong with an output; of JSON, also that it is one object a line."""
    problem = forged_lines(ended.text, _FORGED) or raw_controls(ended.text)
    if problem or not as_json:
        return problem
    try:
        for line in ended.text.splitlines():
            json.loads(line)
    except ValueError:
        return "a line is no JSON"
    return ""
