"""The records of the attack suite, and `Attack`, the protocol of one attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from hoptrail.evals.attacks.sandbox import Sandbox

Kind = Literal[
    "injection",
    "exfiltration",
    "poisoning",
    "control_tokens",
    "bomb",
    "traversal",
    "tenant_crossing",
    "resource_limits",
    "forging",
]

MEANINGS: Mapping[Kind, str] = MappingProxyType(
    {
        "injection": "an instruction in a document decided what the answer says",
        "exfiltration": "an answer or page can send your question or documents to a stranger",
        "poisoning": "planted passages replaced the true answer with a false one",
        "control_tokens": "a document can open or close turns of the model's chat",
        "bomb": "one small file takes the time or memory of the machine, or stops an ingest",
        "traversal": "a name, id or link reads or writes outside the folders that were given",
        "tenant_crossing": "documents of one tenant or filter show in the answers of another",
        "resource_limits": "a question can spend more than its budget, or does not end",
        "forging": "a document can forge lines, citations or escapes in what is printed",
    }
)
"""What a failure of each kind means; the kinds in the order of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number that an attack measured beside its verdict, such as the rank of a passage."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one attack: whether the product withstood it, and why."""

    passed: bool
    detail: str
    """What was seen, one line; text of documents in it is quoted with escapes."""
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """The verdict of an attack, by name and kind, and its time in seconds."""

    name: str
    kind: Kind
    verdict: Verdict
    seconds: float


class Attack(Protocol):
    """An attack: plants documents or puts a question in a sandbox, and judges what comes back."""

    @property
    def name(self) -> str:
        """Unique among the attacks of its kind."""

    @property
    def kind(self) -> Kind:
        """Under which it is reported."""

    def run(self, sandbox: Sandbox) -> Verdict:
        """Attacks the sandbox, leaves its documents as they were, and returns the verdict.

        Raises:
            ModelError, EmbedderError: a server failed, so that nothing can be judged.
        """


def passed_unless(problem: str, otherwise: str, *measures: Measure) -> Verdict:
    """A failed verdict with the problem as its detail, or, where that is empty, a passed one."""
    return Verdict(passed=not problem, detail=problem or otherwise, measures=measures)
