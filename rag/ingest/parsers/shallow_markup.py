"""Bounds of what HTML markup may ask of the library that builds its tree.

Building a tree takes time by the depth of each element, by the square of an element's attributes,
and each paragraph takes up anew all formatting elements that are open.
"""

from __future__ import annotations

import re
from collections import Counter

_DEEPEST = 512
"""Levels of elements, as in browsers: a tag deeper down is passed over, its text is kept."""

_MOST_FORMATTING = 16
"""Open formatting elements; further ones are passed over: each paragraph would take them all up."""

_MOST_ATTRIBUTES = 1000

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*>?")
_CLOSED_BY_OTHERS = frozenset(
    "p li dt dd tr td th option optgroup thead tbody tfoot caption colgroup html head body rt rp "  # noqa: SIM905
    "area base br col embed hr img input link meta param source track wbr".split()
)
"""Elements without an end tag, or whose end tag may be left out."""

_FORMATTING = frozenset(
    "a b big code em font i nobr s small strike strong tt u".split()  # noqa: SIM905
)
_FOREIGN = frozenset(("svg", "math"))
_TEXTS_OF_FOREIGN = frozenset(("title", "desc", "mi", "mo", "mn", "ms", "mtext"))
_NOT_FOREIGN = frozenset(
    "b big blockquote body br center code dd div dl dt em embed font foreignobject h1 h2 h3 h4 h5 "  # noqa: SIM905
    "h6 head hr i img li listing menu meta nobr ol p pre ruby s small span strong strike sub sup "
    "table tt u ul var annotation".split()
)
"""Elements that end a drawing or a formula, or begin HTML inside it."""


def shallow(markup: str) -> str:
    """The markup without the tags that go beyond a bound, and without attributes by the thousand.

    An end tag that closes nothing, which browsers ignore, is left out as well.
    """
    return _TAG.sub(_Filter().kept, markup)


class _Filter:
    """Counts the open elements tag by tag; never too few, so that no bound is passed."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._depth = self._formatting = 0
        self._foreign = self._foreign_text = False
        """Inside a drawing or formula, where "/>" closes an element; inside a text of one."""

    def kept(self, tag: re.Match[str]) -> str:
        """What is put in the place of a tag."""
        name = tag[2].lower()
        if tag[1]:
            return self._end(tag[0], name)
        whole = tag[0]
        if len(whole) > _MOST_ATTRIBUTES and len(whole.split()) > _MOST_ATTRIBUTES:
            whole = f"<{name}>"
        closes_itself = self._foreign and whole.endswith("/>") and name not in _NOT_FOREIGN
        self._enter_foreign(name)
        if name in _CLOSED_BY_OTHERS or closes_itself:
            return whole
        is_formatting = name in _FORMATTING
        if self._depth >= _DEEPEST or (is_formatting and self._formatting >= _MOST_FORMATTING):
            return " "
        self._open[name] += 1
        self._depth += 1
        self._formatting += is_formatting
        return whole

    def _end(self, whole: str, name: str) -> str:
        if self._foreign_text and name in _TEXTS_OF_FOREIGN:
            self._foreign, self._foreign_text = True, False
        elif name in _FOREIGN:
            self._foreign = self._foreign_text = False
        if name in _CLOSED_BY_OTHERS:
            return whole
        if not self._open[name]:
            return ""
        self._open[name] -= 1
        self._depth -= 1
        self._formatting -= name in _FORMATTING
        return whole

    def _enter_foreign(self, name: str) -> None:
        if name in _FOREIGN:
            self._foreign, self._foreign_text = True, False
        elif name in _NOT_FOREIGN or self._foreign_text:
            self._foreign = self._foreign_text = False
        elif self._foreign and name in _TEXTS_OF_FOREIGN:
            self._foreign, self._foreign_text = False, True
