"""Reply schemas: a JSON Schema that a server can enforce, and a tolerant reader of replies.

The schemas are flat and bounded. A server's grammar makes a model emit *some* legal value, so a
string, list or number without a bound lets a poor model write until its tokens are gone; a schema
with one is refused when it is made. `pattern` beside `maxLength` is refused by xgrammar, `$ref`
and `oneOf` by some servers: no schema has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from hoptrail.agents.llm.reply_text import (
    ObjectMaker,
    end_of_thoughts,
    shows_thoughts,
    spanned_objects,
    without_thoughts,
)
from hoptrail.agents.llm.types import ChatReply
from hoptrail.prompts.control_tokens import restored

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

_MENDINGS = 4
"""Rounds of cutting a reply to its bounds: what is inside a list is judged after its length."""

_DROPPED = frozenset({"$defs", "title", "description", "default", "examples", "discriminator"})
"""Docstrings would become descriptions: they are for people, and cost every request tokens."""
_RENAMED = {"oneOf": "anyOf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseProblem:
    """The reason why a reply cannot be read, short enough for the re-ask to quote."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySchema(Generic[T]):
    """The form of a reply: its name, its JSON Schema, and the parser of its text."""

    name: str
    schema: Mapping[str, Any] | None
    """None: free text."""
    parse: Callable[[str], T | ParseProblem]


@cache
def json_reply(model: type[Model]) -> ReplySchema[Model]:
    """The form of replies that are JSON objects which `model` validates.

    Raises:
        TypeError: a field has no bound, or the schema has parts that servers cannot enforce.
    """
    schema = flat_schema(model)

    def accept(found: dict[str, Any]) -> Model | ParseProblem:
        problem = ParseProblem(reason="")
        for _ in range(_MENDINGS):
            try:
                return model.model_validate(found)
            except ValidationError as error:
                problem = problem if problem.reason else ParseProblem(reason=_explain(error))
                found = _mended(found, error)
        return problem

    def parse(text: str) -> Model | ParseProblem:
        return read_object(text, accept)

    return ReplySchema(name=model.__name__, schema=schema, parse=parse)


def text_reply(name: str) -> ReplySchema[str]:
    """The form of free text; only an empty reply is a problem."""

    def parse(text: str) -> str | ParseProblem:
        return restored(without_thoughts(text)) or ParseProblem(reason="the reply was empty")

    return ReplySchema(name=name, schema=None, parse=parse)


def read_reply(form: ReplySchema[T], reply: ChatReply, *, thinking: bool) -> T | ParseProblem:
    """The value of a reply; a reply that was cut off is never read.

    Some servers take a reply that came without thoughts for nothing but thoughts: where there is
    no text, the reply is looked for there. (Not free text, if the model was to think.)
    """
    if reply.finish_reason == "length":
        where = "in its thoughts" if has_thoughts(form, reply) else "before its end"
        return ParseProblem(reason=f"the reply was cut off {where}")
    read = form.parse(reply.text)
    in_thoughts = reply.reasoning.strip() and not reply.text.strip()
    if isinstance(read, ParseProblem) and in_thoughts and not (thinking and form.schema is None):
        found = form.parse(reply.reasoning)
        return read if isinstance(found, ParseProblem) else found
    return read


def has_thoughts(form: ReplySchema[T], reply: ChatReply) -> bool:
    """Whether a reply has thoughts in it, or was cut off before its object began."""
    if reply.reasoning.strip() or shows_thoughts(reply.text):
        return True
    cut_off = form.schema is not None and reply.finish_reason == "length"
    return cut_off and bool(reply.text.strip()) and "{" not in reply.text


def read_object(
    text: str,
    accept: Callable[[dict[str, Any]], T | ParseProblem],
    pairs: ObjectMaker | None = None,
) -> T | ParseProblem:
    """The value of a reply's last object that is accepted: in prose, a code fence, a wrapping.

    Objects that a model drafts in its thoughts do not count; one that goes on past a mark like
    `</think>` has it in a string, and does. Control tokens that the prompt had broken up are whole
    again in its texts, so that a quote is the document's.

    Args:
        text: the reply.
        accept: makes the value of an object, or says why it cannot be used.
        pairs: makes an object from its names and values; None: of equal names the last counts.

    Returns:
        The value; or the problem with the longest object, if there is any.
    """
    begin = end_of_thoughts(text)
    problem, longest = ParseProblem(reason="the reply holds no JSON object"), 0
    for start in (begin, 0) if begin else (0,):
        found = [one for one in spanned_objects(text, start, pairs) if one.end > begin]
        for one in reversed(found):
            for candidate in _unwrapped(one.value):
                value = _accepted(candidate, accept)
                if not isinstance(value, ParseProblem):
                    return value
                if one.end - one.start > longest:
                    problem, longest = value, one.end - one.start
    if not longest and "{" in text[begin:]:
        return ParseProblem(reason="the reply is not valid JSON")
    return problem


def find_object(text: str) -> dict[str, Any] | ParseProblem:
    """The last JSON object in a reply, whatever it holds."""
    return read_object(text, lambda found: found)


def _accepted(
    found: dict[str, Any], accept: Callable[[dict[str, Any]], T | ParseProblem]
) -> T | ParseProblem:
    try:
        return accept(_quoted(found))
    except RecursionError:
        return ParseProblem(reason="the reply is nested too deeply")


def _quoted(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """A JSON value whose texts have control tokens as the documents do, not as the prompt did."""
    match value:
        case str():
            return restored(value)
        case list():
            return [_quoted(item) for item in value]
        case dict():
            return {key: _quoted(item) for key, item in value.items()}
        case _:
            return value


def _unwrapped(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An object, then the only object in it: some models put a reply under its schema's name."""
    yield found
    inner = [value for value in found.values() if isinstance(value, dict)]
    if len(inner) == 1:
        yield inner[0]


def flat_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of `model`: references inlined, every property required, no others.

    Raises:
        TypeError: a field has no bound, or the schema has parts that servers cannot enforce.
    """
    schema = model.model_json_schema()
    flat = _flatten(schema, schema.get("$defs", {}), ())
    assert isinstance(flat, dict)
    for path, node in _nodes(flat, model.__name__):
        if complaint := _complaint(node):
            raise TypeError(f"The reply field {path!r} {complaint}.")
    return flat


def _mended(found: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """An object whose lists and strings are cut to their bounds, and single values made lists.

    The bounds are there for a grammar to end; a reply that is longer is no worse a reply.
    """
    mended = copy.deepcopy(found)
    for one in error.errors(include_url=False):
        if not one["loc"]:
            continue  # what is wrong with the object as a whole cannot be cut to bounds
        *path, last = one["loc"]
        holder: Any = mended
        for key in path:
            holder = holder[key]
        value, most = one["input"], one.get("ctx", {}).get("max_length", 0)
        match one["type"]:
            case "too_long":
                holder[last] = value[:most]
            case "string_too_long":
                holder[last] = value[:most].rpartition(" ")[0] or value[:most]
            case "list_type" if not isinstance(value, dict):
                holder[last] = [] if value is None else [value]
    return mended


def _explain(error: ValidationError) -> str:
    """The first three validation errors, by field, without the values, which are untrusted."""
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    parts = [f"{'.'.join(map(str, one['loc'])) or 'object'}: {one['msg']}" for one in mistakes[:3]]
    more = f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
    return ("; ".join(parts)[:300] + more).encode("utf-8", "replace").decode()


def _flatten(node: object, definitions: Mapping[str, Any], path: tuple[str, ...]) -> object:
    if isinstance(node, list):
        return [_flatten(item, definitions, path) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline(str(node["$ref"]).rpartition("/")[2], definitions, path)
    return _flatten_object(node, definitions, path)


def _inline(name: str, definitions: Mapping[str, Any], path: tuple[str, ...]) -> object:
    if name in path:
        raise TypeError(f"The reply class {name!r} contains itself: a grammar needs an end.")
    return _flatten(definitions[name], definitions, (*path, name))


def _flatten_object(
    node: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...]
) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in node.items():
        if key == "properties":
            flat[key] = {name: _flatten(one, definitions, path) for name, one in value.items()}
        elif key == "const":
            flat["enum"] = [value]
        elif key not in _DROPPED:
            flat[_RENAMED.get(key, key)] = _flatten(value, definitions, path)
    if flat.get("type") == "object":
        flat["required"] = list(node.get("properties", ()))
        flat["additionalProperties"] = False
    return flat


def _nodes(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema within a schema, with the path to it."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{name}")
    for key in ("items", "anyOf"):
        inner = node.get(key, [])
        for one in inner if isinstance(inner, list) else [inner]:
            yield from _nodes(one, f"{path}[]")


_BOUNDS = {
    "string": ("maxLength",),
    "array": ("maxItems",),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
}


def _complaint(node: Mapping[str, Any]) -> str | None:
    """The reason why a server cannot enforce a schema, or a poor model not end it; else None."""
    if "enum" in node:
        return None
    if "pattern" in node or "format" in node:
        return "has a pattern or format, which servers refuse or ignore: drop it"
    kind = node.get("type")
    if kind is None and "anyOf" not in node:
        return "may be anything: give it a type"
    if kind == "object" and not node.get("properties"):
        return "has no named fields: name them"
    missing = [bound for bound in _BOUNDS.get(str(kind), ()) if bound not in node]
    return f"has no {' or '.join(missing)}: add the bound" if missing else None
