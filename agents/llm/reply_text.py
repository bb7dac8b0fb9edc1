"""The text of a reply: where the thoughts in it end, and the objects that it holds.

Servers without a reasoning parser leave a model's thoughts in front of its reply, between markers
of its chat template. A template may open them itself, so only the end is sure to be there.

Objects are strict JSON, or what models write in its place: lists that end with a comma, Python's
quotes, `True` and `None`. These are read as Python literals, of which nothing is executed.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

_END = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thoughts?|reasoning)>"  # DeepSeek, Qwen, GLM, Seed, MiniMax
    r"|\[/THINK\]"  # Magistral
    r"|◁/think▷"  # Kimi
    r"|<\|END_THINKING\|>"  # Command A
    r"|<channel\|>"  # Gemma
    r"|<\|inner_suffix\|>"  # Apertus
    r"|<\|channel\|>final[^<]{0,40}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"  # gpt-oss
    r"|assistantfinal",  # gpt-oss, where the server leaves special tokens out
    re.IGNORECASE,
)
_BEGIN = re.compile(
    r"\s*(?:<(?:\w+:)?(?:think|thinking|thoughts?|reasoning)>|\[THINK\]|◁think▷"
    r"|<\|START_THINKING\|>|<\|channel>|<\|inner_prefix\|>|<\|channel\|>analysis|analysis(?=[A-Z]))",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"(?:\s*<\|\w+\|>)+\s*$")
"""Tokens that end a turn, which some servers leave in the text."""

ObjectMaker = Callable[[list[tuple[str, Any]]], dict[str, Any]]
"""Makes an object from its names and values, in order."""

_FAILURES = 256
"""Most places of a reply at which an object may fail to begin."""
_LITERALS, _LITERAL_LENGTH = 16, 20_000
"""Most places at which a Python literal is looked for, and its most characters."""
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[{}]""", re.DOTALL)
_NAMES = {"true": True, "false": False, "null": None}


def end_of_thoughts(text: str) -> int:
    """The position at which the reply begins: after the last marker; 0 where there is none."""
    return max((match.end() for match in _END.finditer(text)), default=0)


def without_thoughts(text: str) -> str:
    """What a reply says after its thoughts; empty where the thoughts have not ended."""
    begin = end_of_thoughts(text)
    if not begin and _BEGIN.match(text):
        return ""
    return _CLOSING.sub("", text[begin:]).strip()


def shows_thoughts(text: str) -> bool:
    """Whether a text has thoughts in it, ended or not."""
    return bool(_BEGIN.match(text)) or end_of_thoughts(text) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpannedObject:
    """An object in a text, and where it stands."""

    value: dict[str, Any]
    start: int
    end: int


def spanned_objects(
    text: str, begin: int = 0, pairs: ObjectMaker | None = None
) -> Iterator[SpannedObject]:
    """The outermost objects in a text, in order; not those within others.

    Raw control characters inside strings are allowed: some servers' grammars let them through.

    Args:
        text: a reply.
        begin: where to look from.
        pairs: makes an object from its names and values; None: of equal names the last counts.
    """
    decoder = json.JSONDecoder(
        strict=False, parse_constant=_refuse_constant, object_pairs_hook=pairs
    )
    failures = 0
    start = text.find("{", begin)
    while start >= 0 and failures < _FAILURES:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            literal = _literal(text, start, pairs or dict) if failures < _LITERALS else None
            failures += literal is None
            value, end = literal or (None, start + 1)
        if isinstance(value, dict):
            yield SpannedObject(value=value, start=start, end=end)
        start = text.find("{", end)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _literal(text: str, start: int, pairs: ObjectMaker) -> tuple[dict[str, Any], int] | None:
    """The Python literal that begins at a brace, and its end; None where there is none."""
    end = _closing_brace(text, start)
    if end is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # escapes of JSON that Python has not
            tree = ast.parse(text[start:end], mode="eval")
        value = _value(tree.body, pairs)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _closing_brace(text: str, start: int) -> int | None:
    """The position after the brace that closes the one at `start`, strings passed over."""
    depth = 0
    for match in _TOKEN.finditer(text, start, start + _LITERAL_LENGTH):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return None


def _value(node: ast.expr, pairs: ObjectMaker) -> Any:  # noqa: ANN401 - any JSON
    """The value of a syntax tree that has only what JSON has."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id="true" | "false" | "null" as name):
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, pairs) for item in items]
        case ast.Dict(keys=keys, values=values):
            names = [key.value for key in keys if isinstance(key, ast.Constant)]
            if len(names) == len(keys) and all(isinstance(name, str) for name in names):
                inside = (_value(value, pairs) for value in values)
                return pairs(list(zip(map(str, names), inside, strict=True)))
    raise ValueError("no JSON value")
