"""The verification probes, and how many of them the rules must see through."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
import regex
from support.paths import ROOT

from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.evals.benchmarks.verification.__main__ import main
from hoptrail.evals.benchmarks.verification.probe_set import Probe, load_probes
from hoptrail.evals.benchmarks.verification.scores import code_verdict, model_verdicts, scores
from hoptrail.evals.regression.claim_verification import verification_thresholds

SCRIPTS = ("Han", "Hiragana", "Arabic", "Devanagari", "Thai", "Cyrillic", "Greek", "Hangul")
KINDS = {
    "number_word", "unit", "magnitude", "sign", "negation", "entity", "date", "role", "lower_case",
    "invention", "script",
}  # fmt: skip


@pytest.fixture(scope="module")
def probes() -> tuple[Probe, ...]:
    return load_probes()


def test_the_rules_catch_three_quarters_of_the_false_and_keep_nineteen_in_twenty_of_the_true(
    probes: tuple[Probe, ...],
) -> None:
    rows = scores("code", probes, [code_verdict(probe) for probe in probes])
    assert all(floor.reached for floor in verification_thresholds())
    held_out = next(row for row in rows if (row.split, row.kind) == ("test", "all"))
    assert held_out.caught >= 0.75 * held_out.false
    assert held_out.kept >= 0.9 * held_out.true


def test_half_the_probes_are_true_and_every_kind_and_script_is_among_the_false(
    probes: tuple[Probe, ...],
) -> None:
    assert len(probes) >= 150
    assert len({probe.claim for probe in probes}) == len(probes)
    for split in ("dev", "test"):
        holds = [probe.holds for probe in probes if probe.split == split]
        assert 0.45 <= sum(holds) / len(holds) <= 0.55
    assert {probe.kind for probe in probes if not probe.holds} >= KINDS
    for script in SCRIPTS:
        written = [p.holds for p in probes if regex.search(rf"\p{{{script}}}", p.claim)]
        assert set(written) == {True, False}, script


def test_the_quotes_of_the_example_world_are_its_own_words(probes: tuple[Probe, ...]) -> None:
    lines = (ROOT / "examples/world/corpus.jsonl").read_text("utf-8").splitlines()
    world = {record["id"]: record for record in map(json.loads, lines)}
    quotes = [quote for probe in probes for quote in probe.quotes]
    for quote in quotes:
        if quote.document_id:
            assert quote.quote in world[quote.document_id]["text"]
            assert quote.title == world[quote.document_id]["title"]
        else:
            assert not regex.search(r"\p{Latin}", quote.quote)


def test_the_table_has_a_line_a_kind_and_one_for_all(
    capsys: pytest.CaptureFixture[str], probes: tuple[Probe, ...]
) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = Counter(probe.split for probe in {(p.split, p.kind): p for p in probes}.values())
    assert len(lines) == 1 + kinds["dev"] + kinds["test"] + 3
    assert lines[-1].split()[:3] == ["code", "both", "all"]


def test_a_model_is_asked_once_a_claim_and_may_have_no_opinion(
    probes: tuple[Probe, ...],
) -> None:
    some = probes[:3]
    replies = iter(["stated", "not_stated"])

    def reply(_: object) -> str:
        label = next(replies, None)
        judged = [{"claim": 1, "reason": "", "label": label}] if label else []
        return json.dumps({"claims": judged})

    endpoint = ScriptedEndpoint(by_schema={"VerifyForm": reply})
    verdicts = asyncio.run(model_verdicts(endpoint, some))
    assert sorted(map(str, verdicts)) == ["False", "None", "True"]
