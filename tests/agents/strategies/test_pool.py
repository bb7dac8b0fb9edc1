"""`pool` by triples: values with their support, gap queries, contradictions, how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, QUESTION, Reader, make_chain, open_chain, reading, said

from hoptrail.agents import Receipt, RunSettings, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.roles.common import too_alike
from hoptrail.agents.roles.searching.assessor import values_form
from hoptrail.agents.types import Binding, Contradiction
from hoptrail.app.cli.receipt_text import receipt_text

MASTER, PLACE = ("?x1", "Ilsa Corrin"), ("?ans", "Tarn Hollow")


class Finder(Reader):
    """A reader that plans with a variable, and finds the values that the passages shown have."""

    values: tuple[tuple[str, str], ...] = (MASTER, PLACE)
    enough = "born at Tarn Hollow"

    def plan(self, request: ChatRequest) -> object:
        needs = [
            {"text": "Who was the first master of the Heron?", "subject": "Heron"},
            {"text": "Where was ?x1 born?", "subject": "?x1"},
        ]
        return {"needs": needs, "asks": "place"}

    def find(self, request: ChatRequest) -> object:
        shown = said(request).split("What must be known")[0]
        known = [{"variable": n, "value": v} for n, v in self.values if v in shown]
        return {"known": [one for one in known if one["variable"] == "?x1" or self.seen(shown)]}

    def seen(self, shown: str) -> bool:
        return self.enough in shown


def finding(reader: Finder | None = None, **by_schema: object) -> ScriptedEndpoint:
    own = reader or Finder()
    return reading(
        own, by_schema={"ValuesForm": lambda request: json.dumps(own.find(request)), **by_schema}
    )


def always(reply: object) -> Any:  # noqa: ANN401
    return lambda _: json.dumps(reply)


def sound(receipt: Receipt) -> None:
    """What holds of every run: support is in the pool and has the value; no query repeats."""
    quotes = {item.id: item.quote for item in receipt.evidence}
    for binding in receipt.bindings:
        assert binding.evidence
        for one in binding.evidence:
            assert binding.value.casefold() in quotes[one].casefold()
    for contradiction in receipt.contradictions:
        assert len(contradiction.bindings) > 1
        assert set(contradiction.bindings) <= set(receipt.bindings)
    asked = [s.detail for s in receipt.steps if s.node == "retrieve" and s.action == "gap"]
    assert not any(too_alike(text, asked[:place]) for place, text in enumerate(asked))


def test_the_values_of_a_served_run_are_bound_to_quotes(library: KnowledgeBase) -> None:
    endpoint = finding()
    settings = RunSettings(read=2)  # so that the master's page is not read at once
    receipt = ask(QUESTION, library, model=endpoint, settings=settings)
    assert receipt.plan is not None
    assert [(t.subject, t.relation, t.object) for t in receipt.plan.triples] == [
        ("Heron", "first master", "?x1"), ("?x1", "born", "?ans"),
    ]  # fmt: skip
    assert {(b.variable, b.value) for b in receipt.bindings} == {MASTER, PLACE}
    assert (receipt.stop, receipt.answer) == ("sufficient", "Tarn Hollow")
    assert receipt.usage.calls == 2 * receipt.rounds + 1 == len(endpoint.requests)
    assert receipt.contradictions == ()
    sound(receipt)


def test_a_gap_query_has_the_value_and_the_next_prompt_too(library: KnowledgeBase) -> None:
    endpoint = finding(QueriesForm=always({"queries": ["where ?x1 was born, ?x9"]}))
    receipt = ask(QUESTION, library, model=endpoint, settings=RunSettings(read=1))
    gaps = [s.detail for s in receipt.steps if s.node == "retrieve" and s.action == "gap"]
    assert gaps[:2] == ["Ilsa Corrin born", "where Ilsa Corrin was born,"]
    finds = [said(r) for r in endpoint.requests if r.schema_name == "ValuesForm"]
    assert "?ans: ?x1 born" in finds[0]
    assert "?ans: Ilsa Corrin born" in finds[1]
    writes = [said(r) for r in endpoint.requests if r.schema_name == "QueriesForm"]
    assert "Ilsa Corrin born" in writes[0]
    sound(receipt)


def test_enough_is_when_every_variable_has_a_value_that_stands_in_a_quote(
    library: KnowledgeBase,
) -> None:
    reader = Finder()
    reader.values = (MASTER, ("?ans", "a village in the hills"))
    reader.seen = lambda shown: True  # type: ignore[method-assign]
    lying = {"known": [{"variable": "?x1", "value": "Atlantis"},
                       {"variable": "?ans", "value": "not stated"}]}  # fmt: skip
    for endpoint in (finding(reader), finding(ValuesForm=always(lying))):
        receipt = ask(QUESTION, library, model=endpoint)
        assert receipt.stop in ("no_progress", "max_rounds")
        assert "?ans" not in {b.variable for b in receipt.bindings}
        assert "Atlantis" not in {b.value for b in receipt.bindings}
        sound(receipt)


def test_a_plan_without_triples_is_judged_by_needs_and_has_no_variables(
    library: KnowledgeBase,
) -> None:
    needs = [{"text": "Who was the first master of ?x3?", "subject": "Heron"},
             {"text": "where ?x1 was born", "subject": "?x1"}]  # fmt: skip
    endpoint = finding(PlanForm=always({"needs": needs, "asks": "place"}))
    receipt = ask(QUESTION, library, model=endpoint)
    assert receipt.plan is not None
    assert receipt.plan.triples == receipt.bindings == ()
    assert [(n.text, n.subject) for n in receipt.plan.needs] == [
        ("Who was the first master of ?", "Heron"), ("where was born", ""),
    ]  # fmt: skip
    assert "AssessForm" in {r.schema_name for r in endpoint.requests}
    assert (receipt.stop, receipt.answer) == ("sufficient", "Tarn Hollow")


TWO_SHIPS: Mapping[str, tuple[str, str]] = {
    **CHAIN,
    "d9": ("Heron (log)", "The first master of the Heron was Otto Renn, said the log of 1888."),
}


@pytest.fixture(scope="module")
def two_masters(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    return open_chain(make_chain(tmp_path_factory.mktemp("two") / "store", TWO_SHIPS))


def test_a_contradiction_is_kept_followed_and_shown(two_masters: KnowledgeBase) -> None:
    reader = Finder()
    reader.values = (MASTER, ("?x1", "Otto Renn"), PLACE)
    for model in (finding(reader), None):  # a model, and the rules
        receipt = ask(QUESTION, two_masters, model=model, settings=RunSettings(read=3))
        (found,) = receipt.contradictions
        assert {b.value for b in found.bindings} == {"Ilsa Corrin", "Otto Renn"}
        sound(receipt)
        gaps = {s.detail for s in receipt.steps if s.node == "retrieve" and s.action == "gap"}
        assert {"Ilsa Corrin born", "Otto Renn born"} <= gaps or model is None
        text = receipt_text(receipt)
        assert "The documents differ on first master, Heron: " in text
        assert Receipt.parse(receipt.json()) == receipt


def test_values_are_shown_where_they_are_asked_for(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library)
    assert [(b.variable, b.value) for b in receipt.bindings] == [PLACE, MASTER]
    assert "Found, first master, Heron: Ilsa Corrin [" in receipt_text(receipt, verbose=True)
    plain = receipt_text(receipt)
    assert "Found" not in plain
    assert "differ" not in plain


def test_a_run_with_values_replays_to_the_same_receipt(
    two_masters: KnowledgeBase, tmp_path: Path
) -> None:
    for number, model in enumerate((finding(), None)):
        file = tmp_path / f"{number}.jsonl"
        receipt = ask(QUESTION, two_masters, model=model, record=file)
        assert receipt.bindings
        again = replay(file)
        assert again.same
        assert again.receipt.canonical() == receipt.canonical()


def test_a_round_that_finds_nothing_to_read_ends_the_search(tmp_path: Path) -> None:
    library = open_chain(make_chain(tmp_path / "one", {"d1": CHAIN["d1"]}))
    numbers = iter(range(100))
    endpoint = finding(
        ValuesForm=always({"known": []}),
        QueriesForm=lambda _: json.dumps({"queries": [f"zzq{next(numbers)}"]}),
    )
    receipt = ask(QUESTION, library, model=endpoint, settings=RunSettings(max_rounds=9))
    assert (receipt.rounds, receipt.stop) == (2, "no_progress")


def test_the_form_has_the_variables_of_the_plan_and_no_others() -> None:
    form = json_reply(values_form(("?x1", "?ans")))
    jsonschema.validate({"known": [{"variable": "?ans", "value": "x"}]}, form.schema)
    jsonschema.validate({"known": []}, form.schema)  # abstaining is cheap
    for wrong in ({"known": [{"variable": "?x2", "value": "x"}]}, {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, form.schema)


WORDS = st.sampled_from(
    ["", "?x1", "?x2", "?X1", "?x9", "?ans", "Heron", "Ilsa Corrin", "Tarn Hollow", "Otto Renn",
     "Who was the first master of the Heron?", "Where was ?x1 born?", "who is ?ans", "1887",
     "\ud800"]
)  # fmt: skip
PLANS = st.fixed_dictionaries(
    {
        "needs": st.lists(
            st.fixed_dictionaries({"text": WORDS, "subject": WORDS}), min_size=1, max_size=4
        ),
        "asks": st.sampled_from(["place", "choice", "yes_no", "thing"]),
    }
)
KNOWN = st.lists(
    st.fixed_dictionaries({"variable": st.sampled_from(["?x1", "?x2", "?ans"]), "value": WORDS}),
    max_size=4,
)


@given(PLANS, KNOWN, st.lists(WORDS, min_size=1, max_size=3))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_model_plans_and_finds_support_is_in_the_pool_and_no_query_repeats(
    library: KnowledgeBase, plan: object, known: object, queries: object
) -> None:
    endpoint = finding(
        PlanForm=always(plan), ValuesForm=always({"known": known}),
        QueriesForm=always({"queries": queries}),
    )  # fmt: skip
    receipt = ask(QUESTION, library, model=endpoint)
    sound(receipt)
    assert receipt.stop in ("sufficient", "no_progress", "max_rounds")


def test_an_old_receipt_has_no_values(library: KnowledgeBase) -> None:
    record = ask(QUESTION, library).record()
    del record["bindings"], record["contradictions"], record["plan"]["triples"]
    old = Receipt.parse(json.dumps(record))
    assert (old.bindings, old.contradictions) == ((), ())
    assert "differ" not in receipt_text(old, verbose=True)


def test_a_contradiction_names_its_documents_where_it_is_not_cited(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library)
    item = receipt.evidence[0]
    some = tuple(Binding(variable="?x1", value=v, evidence=(item.id,), round=1) for v in "AB")
    shown = replace(
        receipt, claims=(), contradictions=(Contradiction(variable="?x1", bindings=some),)
    )
    assert f"A ({item.title}) or B ({item.title})" in receipt_text(shown)
