"""Control tokens of chat templates are broken up in every prompt, and restored exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.prompts import SHIPPED

from hoptrail.prompts.control_tokens import broken_up, restored
from hoptrail.prompts.loader import load

TOKENS = {
    "qwen": "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|vision_start|> "
    "<|image_pad|> <tool_call> </tool_call> <tool_response> </tool_response> <think> </think> "
    "<|fim_prefix|> <|repo_name|> <tools> </tools>",
    "llama": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>> <|begin_of_text|> <|end_of_text|> "
    "<|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|> <|header_start|> "
    "<|eot|> <|reserved_special_token_7|> <|finetune_right_pad_id|> <PRE> <SUF> <MID> <EOT>",
    "mistral": "<s> </s> <unk> <pad> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] "
    "[TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CONTENT] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] "
    "[IMG] [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [ARGS] [CALL_ID] [THINK] [/THINK] "
    "[AUDIO] [BEGIN_AUDIO] [TRANSCRIBE] [MODEL_SETTINGS] [/MODEL_SETTINGS] [control_8] "
    "<SPECIAL_20>",
    "gemma": "<bos> <eos> <pad> <unk> <mask> <start_of_turn> <end_of_turn> <start_of_image> "
    "<end_of_image> <image_soft_token> <audio_soft_token> <unused42> <2mass> [@BOS@] [multimodal] "
    "<|turn> <turn|> <|channel> <channel|> <|tool_call> <tool_call|> <|think|>",
    "deepseek": "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜> "
    "<｜tool▁calls▁begin｜> <｜tool▁call▁end｜> <｜fim▁hole｜> <think> </think> <|EOT|> <|User|>",
    "gpt-oss": "<|start|> <|end|> <|message|> <|channel|> <|return|> <|call|> <|constrain|> "
    "<|startoftext|> <|endoftext|> <|endofprompt|> <|reserved_200017|>",
    "others": "<|START_OF_TURN_TOKEN|> <BOS_TOKEN> <EOS_TOKEN> [gMASK] <sop> <eop> [CLS] [SEP] "
    "<|user|> <|assistant|> <|system|> <seed:bos> <seed:think> </seed:think>",
}  # fmt: skip
"""The special tokens of each family's templates, and those of other servers' models."""


@pytest.mark.parametrize("token", sorted({t for line in TOKENS.values() for t in line.split()}))
def test_no_token_of_a_template_is_left_whole(token: str) -> None:
    text = f"a{token}b{token}{token} <{token}> [{token}] {token[:-1]}{token}"
    assert token not in broken_up(text)
    assert restored(broken_up(text)) == text


def test_a_token_that_is_broken_up_already_comes_back_as_it_was() -> None:
    assert broken_up("<-|im_start|>") == "<--|im_start|>"
    assert restored(broken_up("<-|im_start|> and [--INST]")) == "<-|im_start|> and [--INST]"


def test_a_token_that_a_model_quotes_whole_stays() -> None:
    assert restored("<|im_start|> [INST]") == "<|im_start|> [INST]"


def test_ordinary_text_is_not_touched() -> None:
    text = "If a < b, see [1], [NASA], <div class='s'>, <p>, List<String> and 3 <- x."
    assert broken_up(text) == text


PIECES = (
    "<",
    "-",
    "|",
    ">",
    "[",
    "]",
    "/",
    "s",
    "INST",
    "im",
    "＜",
    "｜",
    "SYS",
    "<|eot_id|>",
    " ",
)


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_whatever_is_broken_up_comes_back(text: str) -> None:
    assert restored(broken_up(text)) == text


@pytest.mark.parametrize("name", SHIPPED)
def test_every_input_of_every_prompt_is_broken_up(name: str) -> None:
    prompt = load(name)
    every = " ".join(TOKENS.values())
    said = "\n".join(
        text for _, text in prompt.render(**dict.fromkeys(prompt.inputs, every)).messages
    )
    assert [token for token in every.split() if token in said] == []
    assert said.count(broken_up(every)) == len(prompt.inputs)
