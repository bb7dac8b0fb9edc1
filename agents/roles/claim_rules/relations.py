"""Who did what to whom, and when: names and years of a claim against those of its quotes.

Rules for plain sentences, and silent where they do not apply: an active or passive verb with a
name before and behind it, "by NAME", and years beside events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hoptrail.agents.roles.claim_rules.coverage import claimed_names, content_terms, said, term
from hoptrail.agents.roles.claim_rules.negation import clauses
from hoptrail.agents.roles.claim_rules.quantities import quantities
from hoptrail.rag.entities.surface import casefolded, surface_words
from hoptrail.rag.text.sentences import sentences

_IRREGULAR = frozenset(
    """built wrote written led drew drawn gave given bought sold taught won found left kept held
    took taken made brought met saw seen sent paid told beat beaten had sang sung put said knew
    known wore lent hit cut succession""".split()  # noqa: SIM905
)
_BE = frozenset("is are was were be been being".split())  # noqa: SIM905
_PREPOSITIONS = frozenset(
    "by to from in at on of for with under after into over near through before between".split()  # noqa: SIM905
)
_SUBJECTS = frozenset("he she it they".split())  # noqa: SIM905
_TOKEN = re.compile(r"§(\d+)§|[^\W\d_]+|[,;:.()]")
_WINDOW = 9
"""Tokens between a verb and a name that belongs to it."""
_UNIQUE = frozenset("first last only chief second third".split())  # noqa: SIM905
_IS = re.compile(
    r"^(?P<who>.+?)\s+(?:is|was|were|became)\s+(?:the|a|an|its|his|her|their)\s+(?P<what>.+)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A name's part in an event: whether it acts, or is acted on."""

    event: str
    name: str
    acts: bool
    by: bool = False
    """Named by "by": the only one who acts."""


def swapped_name(claim: str, quotes: Sequence[tuple[str, str]]) -> str:
    """The name that the claim gives another part than its quotes do; empty where there is none.

    Args:
        claim: its text.
        quotes: title and text of each.
    """
    theirs = [part for title, quote in quotes for part in parts(quote, title)]
    for mine in parts(claim, ""):
        same = [part for part in theirs if part.event == mine.event]
        about = [part for part in same if _alike(part.name, mine.name)]
        if about and all(part.acts != mine.acts for part in about):
            return mine.name
        others = [part for part in same if part.by]
        titled = any(_alike(mine.name, title) for title, _ in quotes if title)
        if mine.acts and others and not about and not titled:
            return mine.name
    return _other_holder(claim, [quote for _, quote in quotes], [title for title, _ in quotes])


@lru_cache(maxsize=2048)
def parts(text: str, title: str) -> tuple[Part, ...]:
    """The parts of names in the events of a text; "he", "she" and "it" are the title's subject."""
    return tuple(
        part
        for start, end in sentences(text)
        for part in _parts_of_sentence(text[start:end], title)
    )


def _parts_of_sentence(sentence: str, title: str) -> Iterator[Part]:
    names = sorted(claimed_names(sentence), key=len, reverse=True)
    marked = sentence
    for number, name in enumerate(names):
        pattern = r"\s+".join(map(re.escape, name.split()))
        marked = re.sub(rf"(?<!\w){pattern}(?!\w)", f"§{number}§", marked)
    tokens = [
        (names[int(match[1])], True) if match[1] else (match.group().lower(), False)
        for match in _TOKEN.finditer(marked)
    ]
    words = [word for word, _ in tokens]
    for place, (word, is_name) in enumerate(tokens):
        if is_name:
            continue
        if _is_verb(word):
            yield from _parts_of_verb(tokens, place, title)
        elif words[place + 1 : place + 2] == ["by"] and word not in _BE:
            for name in _row(tokens, place + 2):
                yield Part(event=term(casefolded(word)), name=name, acts=True, by=True)
    yield from _parts_of_copula(tokens)


def _parts_of_copula(tokens: Sequence[tuple[str, bool]]) -> Iterator[Part]:
    """The makers in "The music … is by NAME": the first noun is what they made."""
    words = [word for word, _ in tokens]
    for place in range(len(words) - 2):
        if words[place] in _BE and words[place + 1] == "by":
            nouns = [w for w, named in tokens[:place] if not named and content_terms(w)]
            for name in _row(tokens, place + 2) if nouns else ():
                yield Part(event=term(casefolded(nouns[0])), name=name, acts=True, by=True)


def _parts_of_verb(tokens: Sequence[tuple[str, bool]], place: int, title: str) -> Iterator[Part]:
    event = term(casefolded(tokens[place][0]))
    before = _subject(tokens, place, title)
    preposition, behind = _object(tokens, place)
    passive = any(word in _BE for word, _ in tokens[max(0, place - 3) : place])
    bare = not passive and before == "" and preposition == "by"
    if preposition == "by" and (passive or bare or behind):
        for name in behind:
            yield Part(event=event, name=name, acts=True, by=True)
        if before and passive:
            yield Part(event=event, name=before, acts=False)
        return
    if passive and preposition != "to":
        return
    follows = tokens[place + 1][0] if place + 1 < len(tokens) else "."
    has_object = behind or (follows not in _PREPOSITIONS and follows[0].isalpha())
    if before and has_object and tokens[place][0] != "succession":
        yield Part(event=event, name=before, acts=True)
    if preposition in ("", "to"):
        for name in behind:
            yield Part(event=event, name=name, acts=False)


def _subject(tokens: Sequence[tuple[str, bool]], place: int, title: str) -> str:
    """The nearest name before a verb, or the title where a pronoun is nearer."""
    for word, is_name in reversed(tokens[max(0, place - _WINDOW) : place]):
        if is_name:
            return word
        if word in _SUBJECTS:
            return title
        if word in (";", ".", ":") or _is_verb(word):
            return ""
    return ""


def _is_verb(word: str) -> bool:
    return word.endswith("ed") or word in _IRREGULAR


def _object(tokens: Sequence[tuple[str, bool]], place: int) -> tuple[str, tuple[str, ...]]:
    """The preposition behind a verb, empty for none, and the names that it or the verb governs."""
    preposition = ""
    for here in range(place + 1, min(len(tokens), place + _WINDOW)):
        word, is_name = tokens[here]
        if is_name:
            return preposition, _row(tokens, here)
        if word == "by":
            preposition = "by"
        elif word in _PREPOSITIONS and preposition != "by":
            preposition = word
        elif word in (";", ".", ":") or word in _BE or _is_verb(word):
            break
    return preposition, ()


def _row(tokens: Sequence[tuple[str, bool]], place: int) -> tuple[str, ...]:
    """The first name at a place, or within a few words, and those that "and" or "," join to it."""
    while place < len(tokens) and not tokens[place][1]:
        if tokens[place][0] in (";", ".", ":"):
            return ()
        place += 1
    found = []
    while place < len(tokens) and (tokens[place][1] or tokens[place][0] in ("and", ",", "the")):
        if tokens[place][1]:
            found.append(tokens[place][0])
        place += 1
    return tuple(found)


def _alike(one: str, other: str) -> bool:
    mine, theirs = set(surface_words(one)), set(surface_words(other))
    return mine <= theirs or theirs <= mine


def _other_holder(claim: str, quotes: Sequence[str], titles: Sequence[str]) -> str:
    """The name of whom a claim calls the first, last or only one where its quotes name another."""
    match = _IS.match(claim.strip().rstrip("."))
    if match is None:
        return ""
    names = claimed_names(match["who"])
    what = frozenset(content_terms(match["what"])) | {
        word for word in surface_words(match["what"]) if word in _UNIQUE
    }
    unique = _UNIQUE & set(surface_words(match["what"]))
    if not names or not unique or any(_alike(names[0], title) for title in titles if title):
        return ""
    core = {term(w) for n in claimed_names(match["what"]) for w in surface_words(n)}
    wanted = what - core
    for quote in quotes:
        pieces = clauses(quote)
        for place, piece in enumerate(pieces):
            have = content_terms(piece) | set(surface_words(piece))
            if wanted and all(word in have for word in wanted):
                holders = claimed_names(" ; ".join(pieces[place : place + 2]))
                near = " ".join(pieces[max(0, place - 1) : place + 2])
                if holders and not any(_alike(names[0], name) for name in claimed_names(near)):
                    return names[0]
    return ""


def moved_year(claim: str, quotes: Sequence[tuple[str, str]]) -> str:
    """The year that the claim gives another event than its quotes do; empty where there is none."""
    titled = {word for title, _ in quotes for word in content_terms(title)}
    pieces = [piece for _, quote in quotes for piece in _dated(quote)]
    whole = [quote[start:end] for _, quote in quotes for start, end in sentences(quote)]
    for mine in clauses(claim):
        for year in _years(mine):
            words = frozenset(content_terms(mine)) - titled
            if not words or any(year in _years(title) for title, _ in quotes):
                continue
            here = [piece for piece in pieces if year in _years(piece)]
            if not here or _most(words, here):
                continue
            elsewhere = [p for p in pieces if _years(p) and year not in _years(p)]
            there = [s for s in whole if year in _years(s)]
            apart = [s for s in whole if year not in _years(s)]
            if _most(words, elsewhere) or (not _most(words, there) and _most(words, apart) > 1):
                return year
    return ""


def _most(words: frozenset[str], pieces: Sequence[str]) -> int:
    """Most of the words that one of the pieces has."""
    return max((sum(said(w, content_terms(p)) for w in words) for p in pieces), default=0)


@lru_cache(maxsize=4096)
def _years(text: str) -> tuple[str, ...]:
    return tuple(quantity.text for quantity in quantities(text) if quantity.is_year)


def _dated(quote: str) -> list[str]:
    """The clauses of a quote, each year with its words.

    A clause without words of its own goes with the next ("In March 1903, …"), a bare number with
    the one before ("NAME (1899)").
    """
    made: list[str] = []
    opening = ""
    for piece in clauses(quote):
        if content_terms(piece):
            made.append(f"{opening} {piece}".strip())
            opening = ""
        elif made and not any(map(str.isalpha, piece)):
            made[-1] += f" {piece}"
        else:
            opening = f"{opening} {piece}".strip()
    if opening and made:
        made[-1] += f" {opening}"
    return made
