"""Whatever a model says, a run ends in its budget with a typed outcome and a valid receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, QUESTION, UNKNOWN, no_waiting

from hoptrail.agents import STRATEGIES, Budget, Receipt, RunSettings, ask, replay
from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.scripted import Line, ScriptedEndpoint, doubled
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, FailureKind
from hoptrail.agents.roles.reading.answerer import AnswerForm
from hoptrail.agents.roles.reading.passage_reader import BriefForm
from hoptrail.agents.roles.reading.refiner import RefineForm
from hoptrail.agents.roles.searching.assessor import AssessForm, values_form
from hoptrail.agents.roles.searching.planner import PlanForm
from hoptrail.agents.roles.searching.query_writer import QueriesForm
from hoptrail.agents.roles.searching.reasoner import FollowUpForm, SearchForm, ThoughtForm
from hoptrail.agents.types import AbstainReason, Context, OutcomeKind, StopReason
from hoptrail.rag.text.tokens import count_tokens

SCHEMA = json.loads(files("hoptrail.agents").joinpath("receipt.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FORMS = {
    form.__name__: form
    for form in (PlanForm, RefineForm, AssessForm, values_form(("?x1", "?ans")), QueriesForm,
                 AnswerForm, BriefForm,
                 ThoughtForm, FollowUpForm, SearchForm)
}  # fmt: skip

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["Heron", "Ilsa Corrin", "Tarn Hollow", "born in 1851", "1,204", "March", "", " ", "\ud800"]
    ),
)


def legal(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit one of our forms."""
    match schema:
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer", "minimum": low, "maximum": high}:
            return st.one_of(st.integers(low, 12), st.integers(low, high))
        case {"type": "string", "maxLength": most}:
            return TEXTS.map(lambda text: text[:most])
        case {"type": "array", "items": items, "maxItems": most}:
            return st.lists(legal(items), min_size=schema.get("minItems", 0), max_size=most)
        case {"type": "object", "properties": properties}:
            return st.fixed_dictionaries({name: legal(p) for name, p in properties.items()})
    raise AssertionError(f"no values for {schema}")


LEGAL: dict[str, st.SearchStrategy[str]] = {
    name: legal(json_reply(form).schema or {}).map(json.dumps) for name, form in FORMS.items()
}
"""Replies that a server under its schema could give, by the form's name."""
LEGAL["ScoresForm"] = st.fixed_dictionaries(
    {
        "reasoning": TEXTS,
        "scores": st.dictionaries(st.integers(1, 12).map(str), st.integers(0, 100), max_size=12),
    }
).map(json.dumps)

FAILURES = st.builds(
    AttemptFailed,
    st.sampled_from(get_args(FailureKind)),
    st.text(max_size=20),
    retryable=st.booleans(),
    retry_after=st.one_of(st.none(), st.floats(0, 60)),
    spent=st.booleans(),
)
USAGES = st.one_of(
    st.none(),
    st.builds(
        ReportedUsage,
        prompt_tokens=st.integers(-5, 10**7),
        completion_tokens=st.sampled_from([-1, 0, 1, 50, 10**30]),
    ),
)
NUMBERED = st.one_of(
    st.integers(-3, 500), st.floats(allow_nan=False), st.none(), st.text(max_size=3)
)
ILLEGAL = st.one_of(
    st.just("null"),
    st.just("[" * 3000),
    st.just('{"needs": [], "asks": "place"}'),
    st.dictionaries(
        st.sampled_from(
            [
                "needs",
                "sentences",
                "known",
                "missing",
                "queries",
                "claims",
                "scores",
                "thought",
                "x",
            ]
        ),
        st.one_of(NUMBERED, st.lists(NUMBERED, max_size=3)),
        max_size=3,
    ).map(json.dumps),
)
GARBAGE: st.SearchStrategy[Line] = st.one_of(
    ILLEGAL,
    st.text(max_size=60),
    st.sampled_from(["I cannot help with that.", "", "x" * 5000, "{" * 200, "<think>…"]),
    FAILURES,
    st.builds(
        ChatReply,
        text=st.one_of(ILLEGAL, st.text(max_size=20)),
        finish_reason=st.sampled_from(["stop", "length", "content_filter", ""]),
        usage=USAGES,
        model=st.sampled_from(["m", ""]),
    ),
)
BUDGETS = st.builds(
    Budget,
    calls=st.integers(0, 12),
    tokens=st.one_of(st.integers(0, 4_000), st.integers(4_000, 60_000)),
    searches=st.integers(1, 12),
    seconds=st.just(600.0),
)
LIMITS = st.builds(
    RunSettings,
    k=st.integers(1, 8),
    read=st.integers(1, 5),
    max_rounds=st.integers(1, 4),
    max_queries=st.integers(1, 6),
    iterations=st.integers(1, 5),
    context=st.sampled_from(get_args(Context)),
)
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)  # to explain takes minutes
LIES = st.sampled_from(["honest", "none", "negative", "huge", "half"])


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Retries wait for nothing; the budget's seconds are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        no_waiting(patch)
        yield


def lie(kind: str, honest: ReportedUsage) -> ReportedUsage | None:
    match kind:
        case "none":
            return None
        case "negative":
            return ReportedUsage(prompt_tokens=-9, completion_tokens=-9)
        case "huge":
            return ReportedUsage(prompt_tokens=10**40, completion_tokens=10**40)
        case "half":
            return ReportedUsage(prompt_tokens=honest.prompt_tokens // 2, completion_tokens=0)
    return honest


def server(data: st.DataObject, honesty: float) -> ScriptedEndpoint:
    """One that says whatever comes to mind; `honesty` is the share of legal replies."""

    def says(request: ChatRequest) -> Line:
        if request.schema_name in LEGAL and data.draw(st.floats(0, 1)) < honesty:
            return data.draw(LEGAL[request.schema_name])
        return data.draw(GARBAGE)

    kind = data.draw(LIES)
    return ScriptedEndpoint(
        says,
        max_model_len=data.draw(st.sampled_from([None, 300, 900, 4000])),
        enforces_schema=data.draw(st.sampled_from([True, False])),
        tokenizes=data.draw(st.booleans()),
        count=data.draw(st.sampled_from([count_tokens, doubled])),
        usage=lambda honest: lie(kind, honest),
    )


def check(receipt: Receipt, budget: Budget) -> None:
    """What holds of every receipt."""
    VALIDATOR.validate(json.loads(receipt.json()))
    assert Receipt.parse(receipt.json()) == receipt
    assert receipt.outcome.kind in get_args(OutcomeKind)
    assert receipt.stop in get_args(StopReason)
    if receipt.outcome.kind == "quotes":
        assert receipt.outcome.reason in (None, "nothing_verified")
    else:
        assert (receipt.outcome.reason in get_args(AbstainReason)) == (
            receipt.outcome.kind == "abstained"
        )
    assert receipt.budget == budget
    assert 0 <= receipt.usage.calls <= budget.calls
    above = any("reserved, and counted" in flag for flag in receipt.flags)
    assert above or 0 <= receipt.usage.tokens <= budget.tokens
    assert min(receipt.usage.prompt_tokens, receipt.usage.completion_tokens) >= 0
    assert 0 <= receipt.usage.searches <= budget.searches
    assert 0 <= receipt.usage.seconds <= budget.seconds
    known = {item.id for item in receipt.evidence}
    for item in receipt.evidence:
        assert CHAIN[item.document_id][1][item.start : item.end] == item.quote
        assert item.quote
    for claim in receipt.claims:
        assert claim.evidence
        assert set(claim.evidence) <= known
    assert bool(receipt.claims) == (receipt.outcome.kind not in ("abstained", "unverified"))
    if receipt.outcome.kind == "unverified":
        assert receipt.strategy == "naive"
    if receipt.outcome.kind == "abstained":
        assert receipt.answer == ""
    for slate in (slate for step in receipt.steps for slate in step.slates):
        assert len(slate.shown) == len(slate.scores) > slate.anchors
        assert all(score is None or 0 <= score <= 1 for score in slate.scores)
    assert receipt.fallbacks == sum(bool(s.use and s.use.failure) for s in receipt.steps)


@given(
    data=st.data(),
    question=st.sampled_from([QUESTION, UNKNOWN, "When was the Heron launched?"]),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    budget=BUDGETS,
    limits=LIMITS,
    honesty=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_a_model_says_a_run_ends_well(
    library: KnowledgeBase, data: st.DataObject, question: str, strategy: str, budget: Budget,
    limits: RunSettings, honesty: float,
) -> None:  # fmt: skip
    receipt = ask(
        question, library, strategy=strategy, model=server(data, honesty), budget=budget,
        settings=limits,
    )  # fmt: skip
    event(f"{receipt.outcome.kind} {receipt.stop}")
    check(receipt, budget)
    most = limits.iterations if strategy == "iter-retgen" else limits.max_rounds
    assert receipt.rounds <= most


@given(data=st.data(), strategy=st.sampled_from(sorted(STRATEGIES)), budget=BUDGETS)
@settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_a_model_says_is_replayed(
    library: KnowledgeBase,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    strategy: str,
    budget: Budget,
) -> None:
    path: Path = tmp_path_factory.mktemp("run") / "run.jsonl"
    receipt = ask(
        QUESTION, library, strategy=strategy, model=server(data, 0.6), budget=budget, record=path
    )  # fmt: skip
    again = replay(path)
    assert again.same, again.difference
    assert again.receipt.canonical() == receipt.canonical()


@given(
    question=st.text(max_size=200).filter(str.strip),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    budget=BUDGETS,
    limits=LIMITS,
)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_asked_a_run_without_a_model_ends_well(
    library: KnowledgeBase, question: str, strategy: str, budget: Budget, limits: RunSettings
) -> None:
    receipt = ask(question, library, strategy=strategy, budget=budget, settings=limits)
    check(receipt, budget)
    assert receipt.extractive
    assert receipt.usage.calls == 0
