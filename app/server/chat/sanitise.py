r"""Sanitiser of Markdown that is shown to users: no HTML, no images, only links that are allowed.

Documents and models write the text of an answer, and chat front ends render it. What would become
markup there is broken by a space, so that every Markdown dialect shows it as text:

    <tag>           < tag>              HTML, comments, autolinks
    ![a](b), ![a][b]  ! [a]…            images
    [a](b)          [a] (b)             links, unless `b` is an allowed address
    [a]: b          [a] : b             definitions: without them no [a][b] is a link
    &#60; \/          & #60; \ /             what a renderer would decode to one of the above

An address in the text (`https://…`, `www.…`, `mailto:…`) that is not allowed is left out, for
renderers make a link of it, and its path can carry what was read to a stranger.

No rule looks across white space, so a text is sanitised piece by piece, cut behind any white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hoptrail.app.text import shown

LEFT_OUT = "(link left out)"

_ADDRESS = r"(?:[a-z][a-z0-9+.-]{0,30}://|www\.(?=\w)|mailto:|xmpp:)"
_TRAILING = ".,;:!?'\")]}*_~>…”’"
_RULES = re.compile(
    rf"(?P<link>\]\((?P<target>https?://[^\s()<>\[\]\\&]+)\))"
    rf"|(?P<pair>\]\(|\]:|!\[)"
    rf"|(?P<tag><(?=[a-z/!?]))"
    rf"|(?P<entity>&(?=\#?[a-z0-9]{{1,40}};))"
    rf"|(?P<escape>\\(?=[:/.@]))"
    rf"|(?P<address>{_ADDRESS}[^ \t\n<]*)",
    re.IGNORECASE,
)
_FOUND = re.compile(r"https?://[^\s<>\[\]\"\\]+", re.IGNORECASE)
_CUT = " \t\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedLinks:
    """The addresses that a text may link to.

    Attributes:
        exact: these.
        beginnings: those that begin with one of these; each ends its host with `/`.
    """

    exact: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, quotes: Iterable[str], beginnings: Iterable[str] = ()) -> AllowedLinks:
        """Those that stand in quotes, and those of an allowlist."""
        found = {
            one.group().rstrip(_TRAILING) for quote in quotes for one in _FOUND.finditer(quote)
        }
        return cls(exact=frozenset(found), beginnings=tuple(map(_with_path, beginnings)))

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and (
            address in self.exact or address.startswith(self.beginnings)
        )


NOTHING = AllowedLinks()


def sanitised(text: str, allowed: AllowedLinks = NOTHING) -> str:
    """The text without anything that a renderer of Markdown makes a foreign link, image or tag."""

    def safe(found: re.Match[str]) -> str:
        whole, kind = found.group(), found.lastgroup
        if kind in ("link", "target"):
            return whole if found["target"] in allowed else f"] {LEFT_OUT}"
        if kind == "pair":
            return f"{whole[0]} {whole[1]}"
        if kind == "address":
            bare = whole.rstrip(_TRAILING)
            tail = _RULES.sub(safe, whole[len(bare) :])
            return (bare if bare in allowed else LEFT_OUT) + tail
        return f"{whole} "

    return _RULES.sub(safe, shown(text.replace("\r", "")))


class Sanitiser:
    """Sanitises a text that comes in pieces; how it is cut changes nothing.

    What may still become part of a link or tag, which is all behind the last white space, is held
    back until more comes.
    """

    def __init__(self, allowed: AllowedLinks = NOTHING) -> None:
        self._allowed = allowed
        self._held = ""

    def feed(self, piece: str) -> str:
        """Takes a piece in and returns the text that can be shown now."""
        self._held += piece
        cut = 1 + max(self._held.rfind(one) for one in _CUT)
        ready, self._held = self._held[:cut], self._held[cut:]
        return sanitised(ready, self._allowed)

    def end(self) -> str:
        """The rest of the text."""
        rest, self._held = self._held, ""
        return sanitised(rest, self._allowed)


def _with_path(beginning: str) -> str:
    """An address whose host cannot go on: `https://a.org` is the beginning of `https://a.org.b`."""
    return beginning if beginning.count("/") > 2 else f"{beginning}/"
