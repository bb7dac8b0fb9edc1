"""Receipts: their schema as shipped, what canonical means, and how an outcome is told."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any, get_args

import jsonschema
import pydantic
import pytest
from support.agents import CHAIN, QUESTION, UNKNOWN, reading

from hoptrail.agents import Receipt, ask
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.receipt import Environment, outcome_of, schema
from hoptrail.agents.types import AbstainReason, Answer, Claim, Outcome, OutcomeKind, StopReason

SHIPPED = json.loads(files("hoptrail.agents").joinpath("receipt.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SHIPPED)


@pytest.fixture(scope="module")
def receipts(library: KnowledgeBase) -> list[Receipt]:
    """Of an extractive, a served and an abstaining run."""
    return [
        ask(QUESTION, library),
        ask(QUESTION, library, model=reading()),
        ask(UNKNOWN, library, strategy="single"),
    ]


def test_the_shipped_schema_is_that_of_the_records() -> None:
    jsonschema.Draft202012Validator.check_schema(SHIPPED)
    assert schema() == SHIPPED, (
        "write hoptrail.agents.receipt.schema() to agents/receipt.schema.json, keys sorted, and "
        "raise schema_version where an old reader would stumble"
    )


def test_every_receipt_fits_the_schema(receipts: list[Receipt]) -> None:
    for receipt in receipts:
        VALIDATOR.validate(json.loads(receipt.json()))
        assert receipt.schema_version == "2"


@pytest.mark.parametrize(
    "change",
    [
        {"stop": "bored"}, {"outcome": {"kind": "perhaps", "reason": None}}, {"stop": None},
        {"schema_version": "3"}, {"evidence": [{"id": "e1"}]}, {"answer": None}, {"usage": 3},
        {"outcome": {"kind": "abstained", "reason": "tired"}}, {"claims": "none"},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_is_no_receipt(
    receipts: list[Receipt], change: dict[str, Any]
) -> None:
    record = {**receipts[0].record(), **change}
    assert not VALIDATOR.is_valid(record)
    with pytest.raises(pydantic.ValidationError):
        Receipt.parse(json.dumps(record))


def test_the_schema_asks_for_every_field(receipts: list[Receipt]) -> None:
    record = receipts[0].record()
    assert set(record) == set(SHIPPED["properties"])
    for name in ("question", "answer", "claims", "evidence", "steps", "budget", "usage", "stop"):
        assert not VALIDATOR.is_valid({k: v for k, v in record.items() if k != name})


def test_a_receipt_comes_back_from_its_json(receipts: list[Receipt]) -> None:
    for receipt in receipts:
        again = Receipt.parse(receipt.json())
        assert again == receipt
        assert again.canonical() == receipt.canonical()


def test_canonical_leaves_the_environment_out_and_nothing_else(receipts: list[Receipt]) -> None:
    receipt = receipts[0]
    moved = replace(receipt, environment=Environment(run="x", wall_seconds=9.0, machine="m"))
    assert moved.canonical() == receipt.canonical()
    assert set(json.loads(receipt.canonical())) == set(receipt.record()) - {"environment"}
    assert replace(receipt, rounds=99).canonical() != receipt.canonical()
    assert receipt.canonical() == json.dumps(
        json.loads(receipt.canonical()), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def test_a_receipt_says_what_it_must(receipts: list[Receipt]) -> None:
    extractive, served, silent = receipts
    assert extractive.environment.versions["hoptrail"]
    assert extractive.environment.wall_seconds > 0
    assert extractive.generation == 1
    assert [c.score for c in extractive.candidates] == sorted(
        (c.score for c in extractive.candidates), reverse=True
    )
    assert {c.document_id for c in extractive.candidates} <= set(CHAIN)
    uses = [step.use for step in served.steps if step.use]
    assert {use.model for use in uses} == {"scripted"}
    assert all(len(use.prompt_hash) == 64 for use in uses)
    assert silent.outcome.kind == "abstained"
    for receipt in receipts:
        held = {item.id for item in receipt.evidence}
        assert all(set(claim.evidence) <= held and claim.evidence for claim in receipt.claims)
        assert all(claim.verdict == "holds" for claim in receipt.claims)
        assert all(claim.verdict == "dropped" and claim.reason for claim in receipt.dropped)


HELD = Claim(text="a", evidence=("e1",), verdict="holds")
OUT = Claim(text="b", evidence=(), verdict="dropped", reason="x")


def said(*claims: Claim, **fields: bool) -> Answer:
    return Answer(text="t", claims=claims, extractive=False, **fields)


QUOTED = Answer(text="a", claims=(HELD,), extractive=True)


@pytest.mark.parametrize(
    ("answer", "stop", "evidence", "changed", "outcome"),
    [
        (said(HELD), "sufficient", 1, 0, ("answered", None)),
        (said(HELD), "unjudged", 1, 0, ("answered", None)),
        (QUOTED, "unjudged", 1, 0, ("quotes", None)),
        (QUOTED, "sufficient", 1, 0, ("quotes", None)),
        (QUOTED, "out_of_time", 1, 0, ("partial", None)),
        (said(HELD), "no_progress", 1, 0, ("answered", None)),
        (said(HELD), "max_rounds", 1, 0, ("answered", None)),
        (said(HELD), "out_of_time", 1, 0, ("partial", None)),
        (said(HELD), "cancelled", 1, 0, ("partial", None)),
        (said(HELD), "model_unavailable", 1, 0, ("partial", None)),
        (said(HELD, OUT), "sufficient", 1, 0, ("partial", None)),
        (said(HELD, replaced=True), "sufficient", 1, 0, ("partial", None)),
        (said(OUT), "sufficient", 1, 0, ("abstained", "nothing_verified")),
        (said(), "sufficient", 1, 0, ("abstained", "nothing_verified")),
        (said(abstains=True), "sufficient", 1, 0, ("abstained", "not_in_evidence")),
        (said(OUT), "sufficient", 0, 2, ("abstained", "source_changed")),
        (said(OUT), "sufficient", 1, 2, ("abstained", "nothing_verified")),
        (said(abstains=True), "no_progress", 0, 0, ("abstained", "nothing_found")),
        (said(abstains=True), "out_of_searches", 0, 0, ("abstained", "out_of_budget")),
        (None, "sufficient", 3, 0, ("abstained", "nothing_found")),
        (None, "out_of_time", 3, 0, ("abstained", "out_of_budget")),
        (None, "cancelled", 3, 0, ("abstained", "cancelled")),
    ],
)
def test_the_outcome_of_a_run(
    answer: Answer | None, stop: StopReason, evidence: int, changed: int,
    outcome: tuple[OutcomeKind, AbstainReason | None],
) -> None:  # fmt: skip
    kind, reason = outcome
    assert outcome_of(answer, stop, evidence, changed) == Outcome(kind=kind, reason=reason)


def test_the_closed_sets_are_those_of_the_schema() -> None:
    assert set(SHIPPED["properties"]["stop"]["enum"]) == set(get_args(StopReason))
    assert set(SHIPPED["$defs"]["Outcome"]["properties"]["kind"]["enum"]) == set(
        get_args(OutcomeKind)
    )
