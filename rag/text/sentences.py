"""Sentence splitting with Punkt, with no download: the models ship inside llama-index-core.

nltk reads model files only below its own data path and runs each regular expression under a
wall-clock limit of five seconds, which a suspended laptop exceeds. We decode the four files
ourselves and give Punkt the same patterns compiled by `re`: same sentences, 1.9 times faster.
Time stays bounded because Punkt never sees more than `_WINDOW` characters at once, each look
settles at least an eighth of them, and it does not see what has an end every few characters.

Punkt: Kiss and Strunk, "Unsupervised Multilingual Sentence Boundary Detection", Computational
Linguistics 32(4), 2006.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.tokens import LOADING, static_folder

Span = tuple[int, int]
"""Half-open range of characters."""

_WINDOW = 10_000
"""Characters that Punkt gets at once."""

_DENSE, _DENSE_FROM = 6, 200
"""An end of sentence in so many characters, in so long a text: no prose, as "1. 2. 3. …" is not.
Punkt takes a hundred times longer for an end than for a character; such a text is one sentence."""

_END = re.compile(r"[.?!][\"'”’)\]]?\s")

_PARAGRAPH_BREAK = re.compile(r"(?>\r\n|\n|\r)[^\S\r\n]*+(?>\r\n|\n|\r)\s*+|[\f\u2029]\s*+")
"""A blank line, a form feed or a paragraph separator, with the white space that follows."""

_MORE_ABBREVIATIONS = frozenset(
    "al approx blvd ca capt cf cmdr dept e.g ed eds eq esq fig figs gov hon i.e ibid mt pp pres "  # noqa: SIM905
    "rev sgt supt univ viz vol vols".split()
)
"""English ones that the newspaper text on which nltk's model was trained lacks."""


def sentences(text: str, language: str = "english") -> list[Span]:
    """Returns the sentences of `text` as character spans, in order, without their white space.

    What lies between two spans is white space or nothing. A blank line, a form feed and a
    paragraph separator always end a sentence; inside a paragraph Punkt decides.

    Raises:
        SettingsError: there is no Punkt model for `language` (see `sentence_languages`).
    """
    splitter = _splitter(language)
    return [
        span
        for start, end in _paragraphs(text)
        for span in _paragraph_sentences(splitter, text, start, end)
    ]


@cache
def sentence_languages() -> tuple[str, ...]:
    """Returns the languages that `sentences` knows, in alphabetical order."""
    folder = static_folder("nltk_cache") / "tokenizers" / "punkt_tab"
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


def stripped(text: str, start: int, end: int) -> Span | None:
    """Returns the span without white space at its ends; None if it has nothing else."""
    part = text[start:end]
    kept = part.strip()
    if not kept:
        return None
    start += len(part) - len(part.lstrip())
    return start, start + len(kept)


def _paragraphs(text: str) -> Iterator[Span]:
    start = 0
    for found in _PARAGRAPH_BREAK.finditer(text):
        if span := stripped(text, start, found.start()):
            yield span
        start = found.end()
    if span := stripped(text, start, len(text)):
        yield span


def _paragraph_sentences(splitter: Any, text: str, start: int, end: int) -> Iterator[Span]:  # noqa: ANN401
    """Splits one paragraph window by window; the last sentence of a window begins the next."""
    while start < end:
        stop = min(end, start + _WINDOW)
        piece = text[start:stop]
        marks = [start]
        if not _is_dense(piece):
            marks = [start + first for first, _ in splitter.span_tokenize(piece)]
        if stop == end:
            marks.append(end)
        elif marks[-1] - start < _WINDOW // 8:  # or a long sentence would be split again and again
            space = max(piece.rfind(" "), piece.rfind("\n"))
            marks.append(start + space if start + space > marks[-1] else stop)
        for first, last in pairwise(marks):
            if span := stripped(text, first, last):
                yield span
        start = marks[-1]


def _is_dense(piece: str) -> bool:
    return len(piece) >= _DENSE_FROM and len(_END.findall(piece)) > len(piece) // _DENSE


class _Contexts(dict[str, int]):
    """Punkt's orthographic contexts: 0 for an unknown word, which is not remembered.

    nltk uses a defaultdict here, so that each unknown word of a corpus stays in memory.
    """

    def __missing__(self, word: str) -> int:
        return 0


def _splitter(language: str) -> Any:  # noqa: ANN401
    with LOADING:
        return _load_splitter(language)


@cache
def _load_splitter(language: str) -> Any:  # noqa: ANN401
    """Returns a PunktSentenceTokenizer (nltk has no types)."""
    if language not in sentence_languages():
        raise SettingsError(
            f"There are no sentence rules for the language {language!r}. Choose one of: "
            f"{', '.join(sentence_languages())}."
        )
    from nltk.tabdata import PunktDecoder  # noqa: PLC0415  (lazily: nltk loads in 0.5 s)
    from nltk.tokenize import punkt  # noqa: PLC0415

    folder = static_folder("nltk_cache") / "tokenizers" / "punkt_tab" / language
    decoder, parameters = PunktDecoder(), punkt.PunktParameters()
    with (folder / "collocations.tab").open(encoding="utf-8") as lines:
        parameters.collocations = set(decoder.tab2tups(lines))
    with (folder / "sent_starters.txt").open(encoding="utf-8") as lines:
        parameters.sent_starters = decoder.txt2set(lines)
    with (folder / "abbrev_types.txt").open(encoding="utf-8") as lines:
        parameters.abbrev_types = decoder.txt2set(lines)
    with (folder / "ortho_context.tab").open(encoding="utf-8") as lines:
        parameters.ortho_context = _Contexts(decoder.tab2intdict(lines))
    if language == "english":
        parameters.abbrev_types |= _MORE_ABBREVIATIONS
    return punkt.PunktSentenceTokenizer(
        parameters, lang_vars=_plain_variables(punkt), token_cls=_plain_tokens(punkt)
    )


def _plain_variables(punkt: Any) -> Any:  # noqa: ANN401
    original = punkt.PunktLanguageVars()
    context, words = _plain(original.period_context_re()), _plain(original._word_tokenizer_re())
    overrides = {
        "__slots__": (),
        "period_context_re": lambda _self: context,
        "word_tokenize": lambda _self, text: words.findall(text),
        "re_boundary_realignment": _plain(original.re_boundary_realignment),
    }
    return type("PlainVariables", (punkt.PunktLanguageVars,), overrides)()


def _plain_tokens(punkt: Any) -> Any:  # noqa: ANN401
    patterns = {
        name: _plain(value)
        for name, value in vars(punkt.PunktToken).items()
        if name.startswith("_RE_")
    }
    return type("PlainToken", (punkt.PunktToken,), {"__slots__": (), **patterns})


def _plain(pattern: Any) -> re.Pattern[str]:  # noqa: ANN401
    """Compiles the source of nltk's timed pattern (the `regex` library) with the stdlib's `re`."""
    return re.compile(pattern.pattern, pattern.flags & (re.MULTILINE | re.VERBOSE | re.UNICODE))
