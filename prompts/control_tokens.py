"""Control tokens of chat templates in text that is data: broken up before a prompt, and restored.

A server's tokenizer turns the text `<|im_start|>` into the token that begins a turn, wherever it
stands; a document that holds it could begin a turn of its own. One hyphen behind the first
character (`<-|im_start|>`) makes it ordinary text. What has hyphens there already gets one more, so
that restoring is exact.

The forms are those of the templates of Qwen, Llama, Mistral, Gemma, DeepSeek, gpt-oss and their
kin. Everything that begins `<|` is broken up, whatever its name.
"""

from __future__ import annotations

import re

# A tokenizer may fold wide forms into the usual ones.
_ANGLES = "<\N{FULLWIDTH LESS-THAN SIGN}\N{SMALL LESS-THAN SIGN}"
_BARS = "|\N{FULLWIDTH VERTICAL LINE}\N{HALFWIDTH FORMS LIGHT VERTICAL}"

_TAGS = (
    # Turns and sequences
    r"s|bos|eos|pad|unk|mask|cls|sep|sop|eop|eod|eot|PAD|UNK|CLS|SEP|MASK|EOT|EOD",
    r"[A-Z]{1,32}_TOKEN|seed:\w{1,32}|(?:start|begin|end)_\w{1,64}",
    # Thoughts and tools
    r"(?:\w{1,32}:)?(?:think|thinking|thoughts?|reasoning)|tools?|tool_\w{1,32}|function_\w{1,32}",
    # Media, filling in, and places kept free
    r"image\w{0,32}|\w{1,32}_soft_token|2mass|fim_\w{1,32}|PRE|MID|SUF|FILL_ME",
    r"unused\d{1,9}|SPECIAL_\d{1,9}|extra_id_\d{1,9}|reserved_\w{1,64}",
)
_BRACKETS = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w{1,32}|ARGS|CALL_ID|THINK|MODEL_SETTINGS",
    r"IMG\w{0,32}|(?:BEGIN_)?AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX|REF|control_\d{1,9}",
    r"BOS|EOS|PAD|UNK|EOT|EOD|CLS|SEP|[gs]?MASK|multimodal|@BOS@",
)
_ANGLED = rf"(?:[{_BARS}]|/?\w{{1,64}}[{_BARS}]>|/?(?:{'|'.join(_TAGS)})>|</?SYS>>)"
_BRACKETED = rf"/?(?:{'|'.join(_BRACKETS)})\]"

_WHOLE = re.compile(rf"[{_ANGLES}](?=-*{_ANGLED})|\[(?=-*{_BRACKETED})")
_BROKEN = re.compile(rf"([{_ANGLES}])-(?=-*{_ANGLED})|(\[)-(?=-*{_BRACKETED})")


def broken_up(text: str) -> str:
    """The text without a control token; `restored` gives the text back exactly."""
    return _WHOLE.sub(r"\g<0>-", text)


def restored(text: str) -> str:
    """The text with the control tokens that `broken_up` broke, as a model may quote them."""
    return _BROKEN.sub(r"\1\2", text)
