"""Prompts and reply schemas of a tree build by a served model: summaries, descriptors, topics.

Replies are short and bounded, and name what was listed by its number where they can. The
docstrings of the schemas travel in requests, as the schemas' descriptions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Generic, TypeVar, assert_never

from pydantic import BaseModel, Field

from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import ParseProblem, ReplySchema, json_reply
from hoptrail.agents.llm.token_estimate import TokenEstimate, prompt_tokens
from hoptrail.prompts.loader import Rendered, load
from hoptrail.rag.entities.words import split_words
from hoptrail.rag.tree.builders.requests import (
    DescriptorsRequest,
    Reply,
    Request,
    SummaryRequest,
    Topic,
    TopicsRequest,
)

MOST_LISTED = 400
"""Texts or descriptors that one question lists at most."""
_MOST_GROUPS = 64

_Number = Annotated[int, Field(ge=1, le=MOST_LISTED)]
_Numbers = Annotated[list[_Number], Field(max_length=MOST_LISTED)]


class SummaryForm(BaseModel):
    """Prompt `summary`. To say first what each text is makes the summary name it."""

    items: Annotated[list[Annotated[str, Field(max_length=120)]], Field(max_length=_MOST_GROUPS)]
    shared: Annotated[str, Field(max_length=240)]
    summary: Annotated[str, Field(max_length=700)]


class DescriptorsForm(BaseModel):
    """Prompt `descriptors`."""

    descriptors: Annotated[
        list[Annotated[str, Field(max_length=240)]], Field(min_length=5, max_length=5)
    ]


class GroupForm(BaseModel):
    """One group that the model makes."""

    name: Annotated[str, Field(max_length=80)]
    description: Annotated[str, Field(max_length=300)]
    numbers: _Numbers


class TopicsForm(BaseModel):
    """Prompt `topics`."""

    groups: Annotated[list[GroupForm], Field(max_length=_MOST_GROUPS)]


class SortedForm(BaseModel):
    """What belongs to one group that was there."""

    group: Annotated[int, Field(ge=1, le=_MOST_GROUPS)]
    numbers: _Numbers


class SortingForm(BaseModel):
    """Prompt `sorting`."""

    groups: Annotated[list[SortedForm], Field(max_length=_MOST_GROUPS)]


ROOM = 12_000
"""Characters of data that a question shows; fewer where the server's window is small."""

LEAST_ROOM = 750
_MOST_REPLY = 4096
_STAND_IN_WORDS = (1, 3, 6, 10, 25)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[Model]):
    """A builder's request as a prompt, with the reply's schema and size."""

    request: Request
    prompt: str
    """The prompt's name."""
    form: ReplySchema[Model]
    render: Callable[[int], Rendered]
    """The prompt with at most so many characters of data."""
    reply: Callable[[Model], Reply]
    usual: int
    """Tokens of a usual reply."""
    most: int
    """Tokens of the longest reply."""

    def size(self) -> TokenEstimate:
        """Tokens that the question takes, by tiktoken's count."""
        prompt = prompt_tokens(self.render(ROOM))
        return TokenEstimate(prompt=prompt, usual=min(self.usual, self.most), most=self.most)

    def key(self, model: str) -> str:
        """Draft key of the reply: SHA-256 of model, prompt and request, in hexadecimal."""
        content = [model, load(self.prompt).hash, asdict(self.request)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def stand_in(self) -> Reply:
        """A substitute for the reply, for estimates: plausible in number and size only."""
        match self.request:
            case DescriptorsRequest():
                parts = _headed(self.request.text).split()
                return tuple(" ".join(parts[:count]) or "-" for count in _STAND_IN_WORDS)
            case TopicsRequest() if not self.request.known:
                names = [name for name, _ in self.request.descriptors]
                runs = (names[at :: self.request.most] for at in range(self.request.most))
                return tuple(
                    Topic(name=run[0], description="", descriptors=tuple(run))
                    for run in runs
                    if run
                )
            case _:
                return None

    def read(self, draft: str) -> Reply:
        """The reply of a draft; None: the draft cannot be read."""
        found = self.form.parse(draft)
        return None if isinstance(found, ParseProblem) else self.reply(found)


def question(request: Request, delimiters: Delimiters) -> Question[Any]:
    """The question for a builder's request."""
    match request:
        case SummaryRequest():
            return _summary(request, delimiters)
        case DescriptorsRequest():
            return _descriptors(request, delimiters)
        case TopicsRequest():
            return _sorting(request, delimiters) if request.known else _topics(request, delimiters)
        case _:
            assert_never(request)


def _summary(request: SummaryRequest, delimiters: Delimiters) -> Question[SummaryForm]:
    texts = [_headed(text) for text in request.texts[:MOST_LISTED]]

    def render(room: int) -> Rendered:
        return load("tree/summarize_node").render(
            texts=delimiters.wrap("texts", _numbered(_evenly(texts, room)))
        )

    def check(form: SummaryForm) -> str:
        if not form.summary.strip():
            return "the summary is empty"
        known = set(split_words("\n".join(texts)).keys)
        if known.isdisjoint(split_words(form.summary).keys):
            return "the summary has no word of the texts"
        return ""

    return Question(
        request=request,
        prompt="tree/summarize_node",
        form=_checked(json_reply(SummaryForm), check),
        render=render,
        reply=lambda form: _folded(form.summary),
        usual=160 + 20 * len(texts),
        most=min(_MOST_REPLY, 512 + 60 * len(texts)),
    )


def _descriptors(request: DescriptorsRequest, delimiters: Delimiters) -> Question[DescriptorsForm]:
    def render(room: int) -> Rendered:
        return load("tree/describe_document").render(
            document=delimiters.wrap("document", request.text[:room])
        )

    def check(form: DescriptorsForm) -> str:
        return "" if all(map(_folded, form.descriptors)) else "a descriptor is empty"

    return Question(
        request=request,
        prompt="tree/describe_document",
        form=_checked(json_reply(DescriptorsForm), check),
        render=render,
        reply=lambda form: tuple(sorted(map(_folded, form.descriptors), key=len)),
        usual=100,
        most=512,
    )


def _topics(request: TopicsRequest, delimiters: Delimiters) -> Question[TopicsForm]:
    listed = request.descriptors[:MOST_LISTED]

    def render(room: int) -> Rendered:
        return load("tree/group_topics").render(
            descriptors=delimiters.wrap("descriptors", _numbered(_listing(listed, room))),
            most=str(request.most),
        )

    def reply(form: TopicsForm) -> tuple[Topic, ...]:
        return tuple(
            Topic(
                name=_folded(group.name),
                description=_folded(group.description),
                descriptors=_chosen(listed, group.numbers),
            )
            for group in form.groups
        )

    def check(form: TopicsForm) -> str:
        if sum(bool(_chosen(listed, group.numbers)) for group in form.groups) < 2:
            return "there are not two groups with descriptors"
        if not all(_folded(group.name) for group in form.groups):
            return "a group has no name"
        return ""

    return Question(
        request=request,
        prompt="tree/group_topics",
        form=_checked(json_reply(TopicsForm), check),
        render=render,
        reply=reply,
        usual=3 * len(listed) + 50 * request.most,
        most=min(_MOST_REPLY, 256 + 6 * len(listed) + 130 * request.most),
    )


def _sorting(request: TopicsRequest, delimiters: Delimiters) -> Question[SortingForm]:
    listed = request.descriptors[:MOST_LISTED]
    groups = [f"{one.name}: {one.description}" for one in request.known]

    def render(room: int) -> Rendered:
        known = _evenly(groups, room // 2)
        rest = room - sum(map(len, known))
        return load("tree/assign_topics").render(
            groups=delimiters.wrap("groups", _numbered(known)),
            descriptors=delimiters.wrap("descriptors", _numbered(_listing(listed, rest))),
        )

    def reply(form: SortingForm) -> tuple[Topic, ...]:
        placed: dict[int, list[int]] = {}
        for one in form.groups:
            placed.setdefault(one.group - 1, []).extend(one.numbers)
        return tuple(
            Topic(
                name=topic.name,
                description=topic.description,
                descriptors=_chosen(listed, placed.get(at, ())),
            )
            for at, topic in enumerate(request.known)
        )

    return Question(
        request=request,
        prompt="tree/assign_topics",
        form=json_reply(SortingForm),
        render=render,
        reply=reply,
        usual=3 * len(listed) + 12 * len(groups),
        most=min(_MOST_REPLY, 256 + 6 * len(listed) + 16 * len(groups)),
    )


def _checked(form: ReplySchema[Model], check: Callable[[Model], str]) -> ReplySchema[Model]:
    """A form that also refuses replies in which `check` finds a fault."""

    def parse(text: str) -> Model | ParseProblem:
        found = form.parse(text)
        if isinstance(found, ParseProblem):
            return found
        fault = check(found)
        return ParseProblem(reason=fault) if fault else found

    return ReplySchema(name=form.name, schema=form.schema, parse=parse)


def _chosen(listed: Sequence[tuple[str, int]], numbers: Iterable[int]) -> tuple[str, ...]:
    """Descriptors by their numbers in a list from 1, each once; other numbers are ignored."""
    return tuple(listed[n - 1][0] for n in dict.fromkeys(numbers) if n <= len(listed))


def _folded(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _headed(text: str) -> str:
    """Title and text of a leaf, or the text of a node, on one line."""
    title, _, body = map(_folded, text.partition("\n"))
    return f"{title}: {body}" if title and body else title or body


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"[{number}] {line}" for number, line in enumerate(lines, start=1))


def _evenly(texts: Sequence[str], room: int) -> list[str]:
    """The texts cut to one length: the greatest at which all have at most `room` characters."""
    lengths = sorted(map(len, texts))
    cut = 0
    for at, length in enumerate(lengths):
        cut = room // (len(lengths) - at)
        if length > cut:
            break
        room -= length
        cut = length
    return [text[:cut] for text in texts]


def _listing(listed: Sequence[tuple[str, int]], room: int) -> list[str]:
    """The first descriptors that fit into `room` characters, each with its count."""
    lines: list[str] = []
    for descriptor, count in listed:
        line = f"{_folded(descriptor)} ({count})"
        room -= len(line)
        if room < 0 and lines:
            break
        lines.append(line)
    return lines
