"""Decompositions written by people, and how far the rules' steps agree with them.

Two forms are read: lists of questions that refer to each other as `#1` (StrategyQA), and QDMR
(Break, arXiv 2001.11770), whose steps are finer than a search: a *select* is counted with the
*project* or *filter* on it. Of Break the questions on texts are taken, not those on tables,
pictures and flights.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from hoptrail.agents.roles.searching.decomposition import decompose
from hoptrail.agents.types import Step

OF_TEXTS = ("COMQA", "CWQ", "DROP")
"""Break's sets whose questions are asked of texts."""
_REFERENCE = re.compile(r"#(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposition:
    """A question, and what each of its steps depends on."""

    set: str
    question: str
    needs: tuple[frozenset[int], ...]
    """For each step the numbers, from 0, of the earlier steps that it refers to."""

    @property
    def depth(self) -> int:
        """Steps of the longest chain."""
        return depth_of(self.needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the rules' steps agree with those of people, over the questions of one set."""

    set: str
    questions: int
    wanted: float
    """Mean number of steps that people wrote."""
    made: float
    """Mean number of steps that the rules made."""
    equal: float
    """Percent of the questions with as many."""
    within_1: float
    """Percent with as many, one more or one less."""
    difference: float
    """Mean absolute difference of the numbers."""
    equal_depth: float
    """Percent with chains of equal length: the order of the steps."""


def agreement(name: str, found: Sequence[Decomposition]) -> Agreement:
    """The agreement over some decompositions, at least one."""
    made = [_needs(decompose(one.question)) for one in found]
    off = [abs(len(m) - len(one.needs)) for m, one in zip(made, found, strict=True)]
    depths = [depth_of(m) == one.depth for m, one in zip(made, found, strict=True)]
    return Agreement(
        set=name,
        questions=len(found),
        wanted=fmean(len(one.needs) for one in found),
        made=fmean(map(len, made)),
        equal=100 * fmean(one == 0 for one in off),
        within_1=100 * fmean(one <= 1 for one in off),
        difference=fmean(off),
        equal_depth=100 * fmean(depths),
    )


def read(path: Path) -> Iterator[Decomposition]:
    """The decompositions of a `.jsonl.gz` file; lines without one are passed over.

    Raises:
        OSError, ValueError: the file cannot be read, or is not JSON lines.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            steps = record.get("decomposition")
            if isinstance(steps, list):
                needs = tuple(map(_referred, map(str, steps)))
                yield Decomposition(
                    set=path.parent.name, question=record["question"], needs=_earlier(needs)
                )
            elif isinstance(steps, str) and (name := record["id"].partition("_")[0]) in OF_TEXTS:
                yield Decomposition(
                    set=f"Break {name}", question=record["question"], needs=_searches(record)
                )


def depth_of(needs: Sequence[frozenset[int]]) -> int:
    """Steps of the longest chain; each step comes after those it needs."""
    depths: list[int] = []
    for own in needs:
        depths.append(1 + max((depths[one] for one in own), default=0))
    return max(depths, default=0)


def _needs(steps: Sequence[Step]) -> tuple[frozenset[int], ...]:
    places = {step.id: place for place, step in enumerate(steps)}
    return tuple(frozenset(places[one] for one in step.depends_on) for step in steps)


def _referred(step: str) -> frozenset[int]:
    return frozenset(int(number) - 1 for number in _REFERENCE.findall(step))


def _earlier(needs: Sequence[frozenset[int]]) -> tuple[frozenset[int], ...]:
    """References to earlier steps only: people miscount."""
    return tuple(
        frozenset(one for one in own if 0 <= one < place) for place, own in enumerate(needs)
    )


def _searches(record: dict[str, Any]) -> tuple[frozenset[int], ...]:
    """QDMR's steps with each *select* counted with the first *project* or *filter* on it."""
    steps = [step for step in record["decomposition"].split(";") if step.strip()]
    operators = ast.literal_eval(record["operators"])
    needs = _earlier([_referred(step) for step in steps])
    place: list[int] = []
    kept: list[frozenset[int]] = []
    joined: dict[int, int] = {}
    for own, operator in zip(needs, operators, strict=False):
        base = next((one for one in sorted(own) if operators[one] == "select"), None)
        if operator in ("project", "filter") and base is not None and base not in joined:
            joined[base] = place[base]
            place.append(place[base])
            kept[place[base]] |= frozenset(place[one] for one in own) - {place[base]}
        else:
            place.append(len(kept))
            kept.append(frozenset(place[one] for one in own))
    return _earlier(kept)
