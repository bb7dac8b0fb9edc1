"""The text of an answer, told word by word while the reply that holds it is being written."""

from __future__ import annotations

import re

from pydantic_core import from_json

from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.llm.delimiters import Fence
from hoptrail.agents.roles import DeltaListener

_LONGEST = 20_000
"""Characters of a reply after which nothing more is told of it before its end: each piece has the
whole reply so far parsed again, and no reply that fits `AnswerForm` is near that."""


class Teller:
    """Tells a listener what stands in a reply's field "answer" so far; a reply may turn out void.

    Words are told whole and one by one: so the fence's word is hidden before any of it is out, and
    a replay, which has each reply at once, tells the same pieces.

    Args:
        fence: whose word is not to be told.
        on_delta: the listener.
    """

    def __init__(self, fence: Fence, on_delta: DeltaListener) -> None:
        self._fence = fence
        self._on_delta = on_delta
        self._reply = self._told = ""

    def hear(self, piece: str | None) -> None:
        """Takes in a further piece of the reply's JSON; None: all of it so far is void."""
        if piece is None:
            self._reply = ""
            self.tell("")
        elif len(self._reply) < _LONGEST:
            self._reply += piece
            self._tell_words()

    def tell(self, text: str) -> None:
        """Brings the listener to this text, by what it lacks or from the beginning."""
        restart = not text.startswith(self._told)
        rest = text if restart else text[len(self._told) :]
        self._told = text
        if rest or restart:
            self._on_delta(AnswerDelta(text=rest, restart=restart))

    def _tell_words(self) -> None:
        # As bytes: of a str with lone surrogates it says that it is none.
        written = self._reply.encode("utf-8", "surrogatepass")
        try:
            found = from_json(written, allow_partial="trailing-strings")
        except ValueError:
            return  # no JSON, or not yet: the answer is told when the reply has been read
        answer = found.get("answer") if isinstance(found, dict) else None
        if isinstance(answer, str):
            text = self._fence.hide(answer).lstrip()
            for word in re.finditer(r"\S+(?=\s)", text):
                if word.end() > len(self._told):
                    self.tell(text[: word.end()])
