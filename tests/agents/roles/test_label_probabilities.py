"""Label probabilities: what tokens say of labels and numbers, and what verdicts make of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agents import QUESTION, evidence, reading
from support.client import Scene

from hoptrail.agents import RunSettings, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest, ScoredToken
from hoptrail.agents.roles.base import ClaimToJudge, Entailment
from hoptrail.agents.roles.label_probabilities import label_shares, number_probabilities
from hoptrail.agents.roles.reading.ranker import UtilityRanker
from hoptrail.agents.roles.verifier import ProvedForm, ServedEntailment
from hoptrail.agents.runs.intercepted import InterceptedEndpoint
from hoptrail.agents.runs.interceptor import LiveInterceptor
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Passage

LABELS = ("stated", "contradicted", "not_stated")
WORD = "f" * 16


def tokens(*parts: str | tuple[str, Mapping[str, float]]) -> list[ScoredToken]:
    """Tokens by their texts; of one with alternatives the probabilities of all, itself too."""
    made = []
    for part in parts:
        text, likely = (part, {part: 1.0}) if isinstance(part, str) else part
        logs = {one: math.log(p) for one, p in likely.items() if p}
        made.append(ScoredToken(text=text, logprob=logs[text], likely=logs))
    return made


def shared(*shares: float) -> dict[str, float]:
    return dict(zip(LABELS, shares, strict=True))


def test_the_shares_of_labels_are_those_of_the_tokens_that_begin_them() -> None:
    """.6 and .1 of "stated", .2 of "not_stated"; what begins no label is left out."""
    at = ("st", {"st": 0.6, "s": 0.1, "not": 0.2, "I": 0.05})
    ((label, shares),) = label_shares(tokens('{"label": "', at, 'ated"}'), "label", LABELS)
    assert label == "stated"
    assert shares == pytest.approx({"stated": 7 / 9, "contradicted": 0, "not_stated": 2 / 9})


@pytest.mark.parametrize(
    "split",
    [
        ('{"label":', (' "stated', {' "stated': 0.5, ' "contr': 0.5, "stated": 0.9}), '"}'),
        ('{"label":"', ("s", {"s": 0.5, "contradicted": 0.5}), 'tated"}'),
        ('{"label":"', ('stated"}', {'stated"}': 0.5, 'contradicted"': 0.5})),
        ('{"la', 'bel"', " :", ' "', ("stated", {"stated": 0.5, "c": 0.5}), '"', "}"),
    ],
)
def test_shares_do_not_depend_on_how_a_reply_is_split(
    split: Sequence[str | tuple[str, Mapping[str, float]]],
) -> None:
    ((label, shares),) = label_shares(tokens(*split), "label", LABELS)
    assert (label, shares) == ("stated", pytest.approx(shared(0.5, 0.5, 0)))


def test_each_value_of_a_key_has_its_shares_and_one_without_a_label_none() -> None:
    first, second = ("stated", {"stated": 1.0}), ("maybe", {"maybe": 0.9, "perhaps": 0.1})
    found = label_shares(
        tokens('[{"label":"', first, '"},{"label":"', second, '"}]'), "label", LABELS
    )
    assert found == (("stated", shared(1.0, 0.0, 0.0)), ("maybe", {}))


def test_a_number_is_as_probable_as_its_tokens_together() -> None:
    reply = tokens(
        '{"n":[7], "useful": [', ("1", {"1": 0.5}), ("2", {"2": 0.5}), ", ", ("3", {"3": 0.9}), "]}"
    )
    assert number_probabilities(reply, "useful") == pytest.approx({12: 0.25, 3: 0.9})
    assert number_probabilities(reply, "other") == {}


pieces = st.text(alphabet='label":{}[],12 stnoc_', max_size=6)


@given(st.lists(st.tuples(pieces, st.dictionaries(pieces, st.floats(-50, 5)), st.floats(-50, 5))))
def test_shares_sum_to_one_or_are_none_whatever_a_server_sends(
    parts: list[tuple[str, dict[str, float], float]],
) -> None:
    reply = [ScoredToken(text=text, logprob=log, likely=likely) for text, likely, log in parts]
    for _, shares in label_shares(reply, "label", LABELS):
        assert not shares or sum(shares.values()) == pytest.approx(1)
    assert all(0 <= one <= 1 for one in number_probabilities(reply, "label").values())


def scored(reply: object, likely: Mapping[str, Mapping[str, float]]) -> Callable[..., ChatReply]:
    """A reply with its tokens, words and the rest apart; `likely` by word, itself among them."""
    text = json.dumps(reply)
    parts = [(one, likely.get(one, {one: 1.0})) for one in re.findall(r"\w+|\W+", text)]

    def of(request: ChatRequest) -> ChatReply:
        made = tuple(tokens(*parts)) if request.logprobs else ()
        return ChatReply(text=text, finish_reason="stop", usage=None, model="m", tokens=made)

    return of


def judged(
    endpoint: ScriptedEndpoint, *, is_scored: bool = False, proofs: bool = False, claims: int = 1
) -> tuple[Entailment | None, ...]:
    scene = Scene(endpoint)
    quote = evidence(1, "Ilsa Corrin", "She was born at Tarn Hollow.")
    asked = [ClaimToJudge(text="She was born there.", quotes=(quote,))] * claims

    async def main() -> tuple[Entailment | None, ...]:
        await scene.asker.prepare()
        model = ServedEntailment(
            scene.asker, Delimiters(word=WORD), scored=is_scored, proofs=proofs
        )
        return (await model.judge(asked)).value

    return asyncio.run(main())


STATED = {"claims": [{"claim": 1, "reason": "r", "label": "stated"}]}


@pytest.mark.parametrize(("share", "entailed"), [(0.2, False), (0.5, True), (0.9, True)])
def test_a_verdict_goes_by_the_probability_of_its_label(share: float, entailed: bool) -> None:
    likely = {"stated": {"stated": share, "not": 1 - share}}
    (found,) = judged(ScriptedEndpoint(scored(STATED, likely)), is_scored=True)
    assert found is not None
    assert (found.entailed, found.probability) == (entailed, pytest.approx(share))
    if not entailed:
        assert found.reason == "stated with a probability of 0.20"


def test_without_probabilities_a_verdict_goes_by_the_word() -> None:
    likely = {"stated": {"stated": 0.2, "not": 0.8}}
    (found,) = judged(ScriptedEndpoint(scored(STATED, likely)))  # they were not asked for
    assert found == Entailment(entailed=True, reason="stated: r")
    (found,) = judged(ScriptedEndpoint(lambda _: json.dumps(STATED)), is_scored=True)
    assert found == Entailment(entailed=True, reason="stated: r")


def test_labels_that_cannot_be_told_apart_by_their_claims_are_taken_by_the_word() -> None:
    """A draft in the thoughts has a label as well: which one is the claim's is not known."""
    endpoint = ScriptedEndpoint(scored(STATED, {"stated": {"stated": 0.2, "not": 0.8}}))
    reply = endpoint._next(ChatRequest(
        messages=(), schema=None, schema_name="", max_tokens=9, logprobs=5))  # fmt: skip
    assert isinstance(reply, ChatReply)
    draft = tuple(tokens('<think>{"label":"', "contradicted", '"}</think>'))
    drafted = replace(
        reply, text="".join(one.text for one in draft) + reply.text, tokens=(*draft, *reply.tokens)
    )
    (found,) = judged(ScriptedEndpoint(lambda _: drafted), is_scored=True)
    assert found == Entailment(entailed=True, reason="stated: r")


def test_votes_count_as_much_as_the_model_was_sure_of_them() -> None:
    reply = {"answer": "x", "useful": [1, 2]}
    scene = Scene(ScriptedEndpoint(scored(reply, {"1": {"1": 0.3}, "2": {"2": 0.8}})))
    passages = [
        Passage(id=n, document_id=n, start=0, end=1, title=n, text="x") for n in ("a", "b", "c")
    ]

    async def order(*, is_scored: bool) -> tuple[tuple[int, ...], tuple[float, ...]]:
        await scene.asker.prepare()
        ranker = UtilityRanker(scene.asker, Delimiters(word=WORD), 10, 1, scored=is_scored)
        found = await ranker.rank("q", passages)
        return found.order, found.votes

    assert asyncio.run(order(is_scored=True)) == ((1, 0, 2), (0.3, 0.8, 0.0))
    assert asyncio.run(order(is_scored=False)) == ((0, 1, 2), (1.0, 1.0, 0.0))


def test_a_run_records_the_probabilities_and_replays_them(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    likely = {"stated": {"stated": 0.75, "contr": 0.25}}
    endpoint = reading(by_schema={"VerifyForm": scored(STATED, likely)})
    receipt = ask(
        QUESTION, library, model=endpoint, record=tmp_path / "run.jsonl",
        settings=RunSettings(verification="model", label_probabilities=True),
    )  # fmt: skip
    assert [claim.probability for claim in receipt.claims] == [0.75]
    assert replay(tmp_path / "run.jsonl").same


def test_tokens_that_would_spell_out_the_delimiters_word_are_dropped() -> None:
    reply = ChatReply(
        text=f"<{WORD}>", finish_reason="stop", usage=None, model="m",
        tokens=tuple(tokens("<ffff", "f" * 12, ">")),
    )  # fmt: skip
    request = ChatRequest(messages=(), schema=None, schema_name="", max_tokens=9, logprobs=5)
    endpoint = InterceptedEndpoint(
        ScriptedEndpoint([reply]), LiveInterceptor(None), Delimiters(word=WORD)
    )

    async def main() -> ChatReply:
        endpoint._interceptor.begin(spent=0.0, deadline=60.0)
        return await endpoint.attempt(request, timeout=5)

    found = asyncio.run(main())
    assert WORD not in found.text
    assert found.tokens == ()


@pytest.mark.parametrize(
    ("relations", "entailed", "reason"),
    [
        (["equal", "follows"], True, "stated"),
        (["equal", "negated"], False, "contradicted: part 1"),
        (["alternative", "follows"], False, "contradicted: part 0"),
        (["alternative", "unrelated"], False, "not stated: part 1"),
        (["negated", "negated"], False, "not stated: part 0"),
    ],
)
def test_the_automaton_draws_the_verdict_from_the_relations(
    relations: list[str], entailed: bool, reason: str
) -> None:
    parts = [{"part": f"part {n}", "relation": one} for n, one in enumerate(relations)]
    form = ProvedForm.model_validate({"claim": 1, "parts": parts})
    assert form.opinion() == Entailment(entailed=entailed, reason=reason)


def test_claims_are_judged_part_by_part_in_one_call() -> None:
    whole = [{"part": "born", "relation": "equal"}]
    denied = [{"part": f"born {WORD}", "relation": "negated"}]
    reply = {"claims": [{"claim": 2, "parts": denied}, {"claim": 1, "parts": whole}]}
    endpoint = ScriptedEndpoint(by_schema={"ProveForm": [json.dumps(reply)]})
    first, second, third = judged(endpoint, proofs=True, claims=3)
    assert first == Entailment(entailed=True, reason="stated")
    assert second is not None
    assert not second.entailed
    assert WORD not in second.reason
    assert third is None


def test_a_run_verifies_by_natural_logic_where_the_settings_say_so(library: KnowledgeBase) -> None:
    parts = [{"part": "born at Tarn Hollow", "relation": "alternative"}]
    reply = json.dumps({"claims": [{"claim": 1, "parts": parts}]})
    receipt = ask(
        QUESTION, library, model=reading(by_schema={"ProveForm": lambda _: reply}),
        settings=RunSettings(verification="natural_logic"),
    )  # fmt: skip
    assert receipt.outcome.kind == "quotes"
    (claim,) = receipt.dropped
    assert (claim.checked_by, claim.reason) == ("model", "contradicted: born at Tarn Hollow")


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="label_probabilities='yes' must be true or false"):
        RunSettings(label_probabilities="yes")  # type: ignore[arg-type]
