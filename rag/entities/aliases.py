"""Alias rules: other names of a passage's subject, from its title and its first sentence.

The strengths were chosen on training sets (2WikiMultihopQA, MuSiQue, HotpotQA), with and without
titles: how surely a mention of that name means the passage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hoptrail.rag.entities.words import (
    CAPITAL,
    COMMON,
    DIGIT,
    LINK,
    LONGEST,
    SENTENCE,
    Span,
    Words,
    normalize,
    span_key,
    word_key,
)

Alias = tuple[int, float]
"""The key of a name, and its strength in (0, 1]."""

_THE = frozenset({"the"})
_ARTICLES = frozenset({"the", "a", "an"})
_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv"})
_VERBS = frozenset(
    "is was are were has had became refers consists est ist es fue 是 は".split()  # noqa: SIM905
)
_ALSO_STRENGTH = 0.8
_OPENING = 12
"""Words among which a subject must end."""

_FIRST = 60
"""Words of a first sentence that are searched for other names."""

_MOST_ALSO = 4
"""Maximum number of other names of a first sentence: more are a list."""

# The last word before such a name: looked at first, it spares most names the expression.
_CUES = frozenset(
    "as aka nee born formerly nicknamed simply name called named titled spelled".split()  # noqa: SIM905
)
_ALSO = re.compile(
    r"(?:\bknown (?:\w+ )?as|\ba\.?k\.?a\.?|\bn[ée]e|\((?:(?:also|formerly) )?(?:born|formerly)"
    r"|[,;(] ?(?:styli[sz]ed|abbreviated|spelled|written|rendered|referred to) as"
    r"|\bdoing business as|\bnicknamed|\bor simply|\b(?:stage|pen|birth) name"
    r"|[,;(] ?(?:also|formerly|originally|sometimes) (?:called|named|titled|spelled|nicknamed))"
    r"(?: simply)?,?\s?[\"“'‘]?$"
)
_STOP = re.compile(r"[.!?\n。]")
_REACH = 4
"""Words before a name that may introduce it as an alias."""


def title_aliases(title: Words) -> Iterator[Alias]:
    """A title and its aliases, strongest first; a name may come twice."""
    count = len(title.keys)
    bare = _without_brackets(title)
    yield span_key(title.keys), 1.0
    yield span_key(title.keys[:bare]), 0.95
    for end in dict.fromkeys((count, bare)):
        yield from _articles(title, (0, end - 1), 0.9)
    commas = [at for at in range(1, bare) if "," in title.gap(at)]
    if len(commas) == 1:
        yield span_key(title.keys[: commas[0]]), 0.7
        if commas[0] == 1:  # "Tolkien, John"
            yield span_key([*title.keys[1:bare], title.keys[0]]), 0.8
    yield from _of_person(title, (0, bare - 1), 0.6)


def subject_aliases(found: Words, span: Span, strength: float) -> Iterator[Alias]:
    """The subject of a first sentence and its aliases."""
    yield found.key(span), strength
    yield from _articles(found, span, strength * 0.9)
    yield from _of_person(found, span, strength * 0.6)


def subject(found: Words, first_name: Span) -> Span | None:
    """The subject of the first sentence, if the text opens with it.

    Either all words before its verb ("is", "was") or before a bracket, or else its first name, if
    that comes within the first four words, and a comma right after it, and later a verb.
    """
    end = _before_verb(found)
    if end and _is_name(found, end - 1):
        return 0, end - 1
    first, last = first_name
    if first > 3 or end or "," not in found.gap(last + 1):
        return None
    return first_name if _has_verb(found, last + 1) else None


def opening(found: Words) -> Span | None:
    """The subject of a text without capitals: the words before its verb or a bracket."""
    end = _before_verb(found)
    return (0, end - 1) if 0 < end <= LONGEST else None


def other_names(found: Words, named: list[Span]) -> Iterator[Alias]:
    """Aliases that the first sentence states: "also known as", née, an acronym."""
    given = 0
    end = _first_sentence(found)
    for span in named:
        if span[0] >= end or given == _MOST_ALSO:
            return
        if _is_acronym(found, span) or _is_also(found, span[0]):
            given += 1
            yield found.key(_first_of_several(found, span)), _ALSO_STRENGTH


def _first_sentence(found: Words) -> int:
    """Number of words of the first sentence; a colon or semicolon does not end it."""
    most = min(len(found.keys), _FIRST)
    ends = (
        at for at in range(1, most) if found.breaks[at] == SENTENCE and _STOP.search(found.gap(at))
    )
    return next(ends, most)


def _is_also(found: Words, start: int) -> bool:
    """Whether the words before a name introduce it as an alias."""
    if not start or normalize(found.word(start - 1)) not in _CUES:
        return False
    before = found.parts[max(0, 2 * (start - _REACH)) : 2 * start + 1]
    return _ALSO.search("".join(before)) is not None


def _without_brackets(title: Words) -> int:
    """Number of words of a title before brackets at its end."""
    count = len(title.keys)
    if ")" in title.gap(count):
        opened = (at for at in range(count - 1, 0, -1) if "(" in title.gap(at))
        return next(opened, count)
    return count


def _articles(found: Words, span: Span, strength: float) -> Iterator[Alias]:
    """The name without its article, or with "the" if it has none."""
    first, last = span
    if last < first:
        return
    keys, opens = found.keys[first : last + 1], normalize(found.word(first))
    if opens in _ARTICLES:
        yield span_key(keys[1:]), strength
    if opens not in _THE:
        yield span_key([word_key("the"), *keys]), strength


def _of_person(found: Words, span: Span, strength: float) -> Iterator[Alias]:
    """First and last name, and with initials, of what may be a person: two to five capitals."""
    first, last = span
    count = last + 1 - first
    if not 2 <= count <= 5 or not all(kind & CAPITAL for kind in found.kinds[first : last + 1]):
        return
    if any("," in found.gap(at) for at in range(first + 1, last + 1)):
        return
    keys = found.keys[first : last + 1]
    suffixed = normalize(found.word(last)) in _SUFFIXES
    if count >= 3 + suffixed:
        yield span_key([keys[0], *keys[-1 - suffixed :]]), strength
    initials = "".join(normalize(found.word(at))[:1] for at in range(first, last))
    yield span_key([word_key(initials), keys[-1]]), strength
    if count > 2:
        yield span_key([keys[0], word_key(initials[1:]), keys[-1]]), strength


def _before_verb(found: Words) -> int:
    """Number of words before the first verb or bracket; 0 if the clause ends sooner."""
    for at in range(1, min(len(found.keys), _OPENING)):
        gap = found.gap(at)
        if "(" in gap or "（" in gap or normalize(found.word(at)) in _VERBS:
            return at
        if found.breaks[at] == SENTENCE or "," in gap:
            return 0
    return 0


def _has_verb(found: Words, start: int) -> bool:
    """Whether the first sentence has a verb or a bracket from a word on."""
    for at in range(start, min(len(found.keys), _FIRST)):
        if "(" in found.gap(at) or normalize(found.word(at)) in _VERBS:
            return True
        if found.breaks[at] == SENTENCE:
            return False
    return False


def _is_name(found: Words, last: int) -> bool:
    """Whether the words up to `last` are a name: capitals with joining words only."""
    kinds = found.kinds[: last + 1]
    if len(kinds) > LONGEST or (not last and kinds[0] & COMMON):
        return False
    inside = all(kind & (CAPITAL | DIGIT | COMMON | LINK) for kind in kinds)
    return inside and bool(kinds[0] & (CAPITAL | DIGIT) and kinds[-1] & (CAPITAL | DIGIT))


def _first_of_several(found: Words, span: Span) -> Span:
    """The part of a name before an "and" in it."""
    first, last = span
    end = next((at for at in range(first + 1, last) if found.word(at) == "and"), last + 1)
    return first, end - 1


def _is_acronym(found: Words, span: Span) -> bool:
    """Whether a span is an acronym in brackets right after the opening words it abbreviates."""
    at, last = span
    if at != last or not found.gap(at).endswith("(") or not found.gap(at + 1).startswith(")"):
        return False
    letters = normalize(found.word(at))
    if not found.word(at).isupper() or not 2 <= len(letters) <= 8:
        return False
    spelt = [one for one in range(at) if found.kinds[one] & CAPITAL]
    initials = "".join(normalize(found.word(one))[:1] for one in spelt)
    return initials.endswith(letters) and spelt[-len(letters)] <= 3
