"""The suite: all attacks, and the run of them one after the other in a sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hoptrail.evals.attacks.kinds.bombs import bombs
from hoptrail.evals.attacks.kinds.chat_template import control_tokens
from hoptrail.evals.attacks.kinds.exfiltration import exfiltrations
from hoptrail.evals.attacks.kinds.forging import forgings
from hoptrail.evals.attacks.kinds.injection import injections
from hoptrail.evals.attacks.kinds.poisoning import poisonings
from hoptrail.evals.attacks.kinds.resource_limits import resource_limits
from hoptrail.evals.attacks.kinds.tenant_crossing import tenant_crossings
from hoptrail.evals.attacks.kinds.traversal import traversals
from hoptrail.evals.attacks.report import AttackReport
from hoptrail.evals.attacks.sandbox import Sandbox
from hoptrail.evals.attacks.types import MEANINGS, Attack, AttackResult, Verdict
from hoptrail.rag.errors import EmbedderError, ModelError, SettingsError, StoreFull

_CANNOT_JUDGE = (ModelError, EmbedderError, StoreFull)
"""Errors of the surroundings: they end the suite, since nothing can be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackProgress:
    """Number of attacks that are done, and what the last one found."""

    done: int
    total: int
    result: AttackResult | None
    """None in the first event."""


ProgressListener = Callable[[AttackProgress], None]


def all_attacks(sandbox: Sandbox, kinds: Sequence[str] = ()) -> tuple[Attack, ...]:
    """All attacks on a sandbox of the given kinds, in the order of the report; (): of every kind.

    Raises:
        SettingsError: there is no such kind.
    """
    for kind in kinds:
        if kind not in MEANINGS:
            raise SettingsError(
                f"There is no kind of attack {kind!r}: use one of {', '.join(MEANINGS)}."
            )
    attacks: tuple[Attack, ...] = (
        *injections(),
        *exfiltrations(),
        *poisonings(len(sandbox.sampled)),
        *control_tokens(),
        *bombs(),
        *traversals(),
        *tenant_crossings(),
        *resource_limits(),
        *forgings(),
    )
    return tuple(one for one in attacks if not kinds or one.kind in kinds)


def run_attacks(
    attacks: Sequence[Attack], sandbox: Sandbox, on_progress: ProgressListener = lambda _: None
) -> AttackReport:
    """Runs attacks one after the other and reports on them.

    An attack that raises an error has succeeded: the product should have withstood it.

    Raises:
        ModelError, EmbedderError, StoreFull: nothing can be judged.
    """
    began = time.monotonic()
    results: list[AttackResult] = []
    on_progress(AttackProgress(done=0, total=len(attacks), result=None))
    for attack in attacks:
        result = _run(attack, sandbox)
        results.append(result)
        on_progress(AttackProgress(done=len(results), total=len(attacks), result=result))
    return AttackReport(
        results=tuple(results),
        documents=len(sandbox.sampled),
        served=sandbox.settings.model is not None,
        seconds=time.monotonic() - began,
    )


def _run(attack: Attack, sandbox: Sandbox) -> AttackResult:
    began = time.monotonic()
    try:
        verdict = attack.run(sandbox)
    except _CANNOT_JUDGE:
        raise
    except Exception as error:
        verdict = Verdict(passed=False, detail=f"{type(error).__name__}: {str(error)[:300]!r}")
    return AttackResult(
        name=attack.name, kind=attack.kind, verdict=verdict, seconds=time.monotonic() - began
    )
