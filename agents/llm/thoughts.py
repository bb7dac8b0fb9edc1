"""Thoughts in a reply's text: where they end, for servers that do not separate them.

Servers without a reasoning parser leave a model's thoughts in front of its reply, between markers
of its chat template. A template may open them itself, so only the end is sure to be there.
"""

from __future__ import annotations

import re

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
