"""Schemas that a server can enforce, and replies read as far as they can be."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from hoptrail.agents.llm.reply_schema import (
    ParseProblem,
    find_object,
    flat_schema,
    json_reply,
    text_reply,
)

Short = Annotated[str, Field(max_length=12)]


class Inner(BaseModel):
    """What a step needs."""

    kind: Literal["bridge"]
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5


class Outer(BaseModel):
    """A model with everything that pydantic writes as a reference, a union or a constant."""

    query: Short
    action: Literal["search", "stop"]
    inner: list[Inner] = Field(max_length=3)
    note: Short | None = None
    sure: bool = False


def test_the_schema_is_flat_closed_and_bounded() -> None:
    schema = flat_schema(Outer)
    text = json.dumps(schema)
    assert "$ref" not in text
    assert "$defs" not in text
    assert '"title"' not in text
    assert schema["required"] == ["query", "action", "inner", "note", "sure"]
    assert schema["additionalProperties"] is False
    inner = schema["properties"]["inner"]
    assert inner["maxItems"] == 3
    assert inner["items"]["properties"]["kind"]["enum"] == ["bridge"]
    assert inner["items"]["required"] == ["kind", "weight"]
    jsonschema.Draft202012Validator.check_schema(schema)


class _Word(BaseModel):
    word: str


class _Numbers(BaseModel):
    numbers: list[Annotated[int, Field(ge=0, le=9)]]


class _Count(BaseModel):
    count: Annotated[int, Field(ge=0)]


class _Pattern(BaseModel):
    word: Annotated[str, Field(pattern="a+", max_length=3)]


class _Anything(BaseModel):
    thing: Any


class _Map(BaseModel):
    table: dict[str, int]


class _Tree(BaseModel):
    children: list[_Tree] = Field(max_length=2)


class _Deep(BaseModel):
    inner: list[_Word] | None = Field(max_length=1)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (_Word, "'_Word.word' has no maxLength"),
        (_Numbers, "'_Numbers.numbers' has no maxItems"),
        (_Count, "'_Count.count' has no maximum"),
        (_Pattern, "'_Pattern.word' has a pattern"),
        (_Anything, "'_Anything.thing' may be anything"),
        (_Map, "'_Map.table' has no named fields"),
        (_Tree, "'_Tree' contains itself"),
        (_Deep, "word' has no maxLength"),
    ],
)
def test_a_field_that_need_not_end_is_refused(model: type[BaseModel], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        json_reply(model)


class Person(BaseModel):
    """A small reply."""

    name: Short
    age: Annotated[int, Field(ge=0, le=150)]


ADA = Person(name="Ada", age=36)


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"Ada","age":36}',
        '\ufeff {"name": "Ada", "age": 36}  ',
        'Sure! ```json\n{"name":"Ada","age":36}\n``` Anything else?',
        '<think>{"name":"Bob","age":1}</think>{"name":"Ada","age":36}',
        'In {braces} I say {"name":"Ada","age":36} and {more}',
        '{"name":"Bob","age":1}{"name":"Ada","age":36}',
        '{"name":"Ada","age":36} I hope that helps! {}',
        '{"name":"Ada","age":36,"mood":"fine"}',
    ],
)
def test_a_reply_is_found_where_it_stands(text: str) -> None:
    assert json_reply(Person).parse(text) == ADA


DRAFT = 'Perhaps {"name":"Bob","age":1}, no.'
REPLY = '{"name":"Ada","age":36}'


@pytest.mark.parametrize(
    "text",
    [
        f"{DRAFT}</think>{REPLY}",
        f"<think>{DRAFT}</think><think>{DRAFT}</think>\n{REPLY}",
        f"<thinking>{DRAFT}</thinking>\n{REPLY}",
        f"<seed:think>{DRAFT}</seed:think>{REPLY}",
        f"<think>{DRAFT}</think><answer>{REPLY}</answer>",
        f"[THINK]{DRAFT}[/THINK]{REPLY}",
        f"◁think▷{DRAFT}◁/think▷{REPLY}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{REPLY}",
        f"<|channel>thought\n{DRAFT}<channel|>{REPLY}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant"
        f"<|channel|>final <|constrain|>json<|message|>{REPLY}<|return|>",
        f"analysis{DRAFT}assistantfinal{REPLY}",
    ],
)
def test_a_draft_before_the_end_of_the_thoughts_is_no_reply(text: str) -> None:
    assert json_reply(Person).parse(text) == ADA


def test_a_draft_is_not_used_for_a_reply_that_cannot_be() -> None:
    assert isinstance(json_reply(Person).parse(f"{DRAFT}</think>I cannot say."), ParseProblem)
    assert isinstance(text_reply("answer").parse("<think>It may be that"), ParseProblem)


def test_a_mark_inside_a_string_of_the_reply_ends_no_thoughts() -> None:
    parsed = json_reply(Person).parse('Well: {"name":"a </think>","age":3}')
    assert parsed == Person(name="a </think>", age=3)


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'Ada', 'age': 36}",
        "{'name': \"Ada\", 'age': 36, 'sure': True, 'note': None, 'l': (1, -2.5)}",
        '{"name": "Ada", "age": 36,}',
        '{"name": "Ada", "age": 36, "sure": true, "list": [{}, null,],}',
        '{"Person": {"name":"Ada","age":36}}',
        '{"name": "Person", "arguments": {"name":"Ada","age":36}}',
        '[{"name":"Ada","age":36}]',
    ],
)
def test_a_reply_in_another_form_can_be_used(text: str) -> None:
    assert json_reply(Person).parse(text) == ADA


class Many(BaseModel):
    """A reply with bounds."""

    name: Short
    words: Annotated[list[Short], Field(max_length=2)]
    inner: Annotated[list[Inner], Field(max_length=2)] = []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"name": "Ada", "words": ["a", "b", "c"]}, ["a", "b"]),
        ({"name": "Ada", "words": ["a", "bb bbbb bbbbbbbb", "c"]}, ["a", "bb bbbb"]),
        ({"name": "Ada", "words": "a"}, ["a"]),
        ({"name": "Ada", "words": None}, []),
    ],
)
def test_a_reply_beyond_its_bounds_is_cut_to_them(found: object, words: list[str]) -> None:
    assert json_reply(Many).parse(json.dumps(found)) == Many(name="Ada", words=words)


def test_a_bound_deep_in_a_reply_is_kept_too() -> None:
    long = {"kind": "bridge", "weight": 2}
    problem = json_reply(Many).parse(json.dumps({"name": "Ada", "words": [], "inner": [long]}))
    assert isinstance(problem, ParseProblem)


@pytest.mark.parametrize(
    "text", ["{'name': open('x'), 'age': 1}", "{1: 2}", "{'a': 1j}", "{**x}", "{'a'}", "{'a': b''}"]
)
def test_python_that_is_no_value_is_not_read(text: str) -> None:
    assert isinstance(json_reply(Person).parse(text), ParseProblem)


def test_raw_control_characters_in_strings_are_let_through() -> None:
    assert json_reply(Person).parse('{"name":"A\n\x01a","age":3}') == Person(name="A\n\x01a", age=3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no JSON object"),
        ("I would rather not.", "holds no JSON object"),
        ("[1, 2]", "holds no JSON object"),
        ('{"name":"Ada","age":', "not valid JSON"),
        ('{"name":"Ada","age":NaN}', "not valid JSON"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"name":"Ada","age":' + "9" * 5_000 + "}", "not valid JSON"),
        ('{"name":"Ada"}', "age: Field required"),
        ('{"name":"Ada","age":200}', "age: Input should be less than or equal to 150"),
        ('{"name":"Ada\\ud800","age":3}', "name: "),
        ('{"name":7,"age":"many"}', "name: Input should be a valid string; age: "),
    ],
)
def test_what_cannot_be_read_is_a_short_reason(text: str, reason: str) -> None:
    problem = json_reply(Person).parse(text)
    assert isinstance(problem, ParseProblem)
    assert reason in problem.reason
    assert len(problem.reason) < 400


def test_a_reason_does_not_repeat_what_was_replied() -> None:
    problem = json_reply(Person).parse('{"name":"SECRET-SECRET-SECRET","age":-1}')
    assert isinstance(problem, ParseProblem)
    assert "SECRET" not in problem.reason


@given(st.text(alphabet='{}[]":,\\ab1 \n\x00\ud800é') | st.text())
def test_any_text_gives_an_object_or_a_reason(text: str) -> None:
    found = find_object(text)
    assert isinstance(found, dict | ParseProblem)
    if isinstance(found, ParseProblem):
        found.reason.encode()


@settings(max_examples=40)
@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists), st.text(alphabet="ab }]\n"))
def test_an_object_in_prose_is_found(value: object, prose: str) -> None:
    body = {"value": value}
    assert find_object(f"{prose}{json.dumps(body)}{prose}") == body


def test_free_text_only_has_to_be_there() -> None:
    form = text_reply("answer")
    assert form.schema is None
    assert form.parse("<think>hm</think> Yes. ") == "Yes."
    assert form.parse("hm</think>Yes.<|im_end|>") == "Yes."
    assert isinstance(form.parse(" \n"), ParseProblem)
