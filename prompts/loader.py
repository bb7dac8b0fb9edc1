"""The loader of prompt files: parsing, checking, rendering, versions.

A prompt is one .md file: a header, then messages.

    ---
    name: plan
    inputs: question
    ---
    ## system
    You plan ...
    ## user
    $question

`$name` stands for an input and `$$` for a dollar sign; there is no logic in a prompt. Inputs are
put in as values, so their text is never expanded again, and the control tokens of chat templates
in them are broken up (`control_tokens`). A header line `system: ask/system` puts the messages of
that file first: prompts that begin with the same words share a server's prefix cache. A prompt's
version is the hash of all its bytes; `name` is what receipts call it, and stays when the file is
moved.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal, get_args

from hoptrail.prompts.control_tokens import broken_up

Role = Literal["system", "user", "assistant"]

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_KEYS = {"name", "inputs"}
_OPTIONAL = {"system"}


class PromptError(ValueError):
    """A prompt file, or a call of one, is inconsistent: a bug, not a user's mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The messages of a prompt with its inputs in place."""

    name: str
    messages: tuple[tuple[Role, str], ...]
    hash: str
    """SHA-256 (hex) of the prompt file's bytes: its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as its file states it: name, inputs, messages, version."""

    name: str
    inputs: frozenset[str]
    messages: tuple[tuple[Role, str], ...]
    hash: str

    def render(self, **inputs: str) -> Rendered:
        """The messages of the prompt, with the inputs in place and without their control tokens.

        Raises:
            PromptError: an input is missing, unknown or no text.
        """
        if inputs.keys() != self.inputs:
            raise PromptError(
                f"Prompt {self.name!r} takes {sorted(self.inputs)}, not {sorted(inputs)}."
            )
        if wrong := sorted(name for name, value in inputs.items() if not isinstance(value, str)):
            raise PromptError(f"Prompt {self.name!r} takes texts; {wrong} are none.")
        values = {name: broken_up(value) for name, value in inputs.items()}
        messages = tuple((role, Template(text).substitute(values)) for role, text in self.messages)
        return Rendered(name=self.name, messages=messages, hash=self.hash)


@cache
def load(name: str) -> Prompt:
    """The prompt in `prompts/NAME.md`, such as `ask/plan`.

    Raises:
        PromptError: there is no such file, or its text and its header disagree.
    """
    return parse(_bytes_of(name))


def _bytes_of(name: str) -> bytes:
    source = files("hoptrail.prompts").joinpath(f"{name}.md")
    if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", name) or not source.is_file():
        raise PromptError(f"There is no prompt {name!r}.")
    return source.read_bytes()


def parse(data: bytes) -> Prompt:
    """The prompt in the bytes of a file.

    Raises:
        PromptError: its text and its header disagree, or one of them cannot be read.
    """
    header, body = _split(data.decode("utf-8").replace("\r\n", "\n"))
    name = header["name"]
    inputs = [part.strip() for part in header["inputs"].split(",") if part.strip()]
    messages = _messages(name, body)
    if "system" in header:
        shared = _bytes_of(header["system"])
        data = shared + data
        messages = (*_messages(name, _split(shared.decode("utf-8"))[1]), *messages)
    if not any(role == "user" for role, _ in messages):
        raise PromptError(f"Prompt {name!r} has no user message.")
    used: set[str] = set()
    for _, text in messages:
        template = Template(text)
        if not template.is_valid():
            raise PromptError(f"Prompt {name!r} has a lone '$': write '$$' for a dollar sign.")
        used.update(template.get_identifiers())
    if used != set(inputs) or len(inputs) != len(set(inputs)):
        raise PromptError(
            f"Prompt {name!r} declares {sorted(inputs)} and its text uses {sorted(used)}: "
            "name each input once."
        )
    return Prompt(
        name=name,
        inputs=frozenset(inputs),
        messages=messages,
        hash=hashlib.sha256(data).hexdigest(),
    )


def _split(text: str) -> tuple[dict[str, str], str]:
    """The fields of the header, and the body after it."""
    parts = re.match(r"---\n(.*?\n)---\n(.*)", text, re.DOTALL)
    if parts is None:
        raise PromptError("A prompt begins with a header between two lines '---'.")
    header: dict[str, str] = {}
    for line in parts[1].splitlines():
        key, colon, value = line.partition(":")
        if not colon or key.strip() in header:
            raise PromptError(f"The header line {line!r} is not 'key: value', or comes twice.")
        header[key.strip()] = value.strip()
    if header.keys() - _OPTIONAL != _KEYS or not header["name"]:
        raise PromptError(f"A prompt's header has {sorted(_KEYS)}, not {sorted(header)}.")
    return header, parts[2]


def _messages(name: str, body: str) -> tuple[tuple[Role, str], ...]:
    """The messages under their headings, without the blank lines around them."""
    before, *rest = _HEADING.split(body)
    if before.strip() or not rest:
        raise PromptError(f"Prompt {name!r}: after the header comes '## system' or '## user'.")
    messages: list[tuple[Role, str]] = []
    for heading, text in zip(rest[::2], rest[1::2], strict=True):
        role = next((known for known in get_args(Role) if known == heading.strip()), None)
        if role is None:
            raise PromptError(f"Prompt {name!r}: {heading!r} is no role, use 'system' or 'user'.")
        if not text.strip():
            raise PromptError(f"Prompt {name!r}: the {heading!r} message is empty.")
        messages.append((role, text.strip("\n")))
    return tuple(messages)
