# mypy: disable-error-code="import-not-found,import-untyped"
"""Make the model that the test server serves: real in form, random in content.

No weights can be downloaded where the tests run, so a two-layer Qwen3 gets random weights and a
byte-level BPE of 2,048 tokens (it counts more tokens than tiktoken does, which is what budgets must
survive). Its words are noise, its protocol is vLLM's own. The same inputs give the same bytes.
Run by build.py inside the server's environment: `python tiny_model.py OUT [CORPUS.jsonl]`.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

# One thread: the merges that training finds must not depend on how the text was split.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SEED = 20240607
VOCABULARY = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Qwen's own splitting rule, and enough of the two words to make each one token: vLLM serves
# /v1/systemone (labelled questions) only where every label is one token after the chat prompt, and
# answers 501 elsewhere.
LABELS = "yes\nno\n" * 2000
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# As Qwen3 does it: thinking switched off puts an empty thought into the prompt, so that a test can
# tell from the prompt's token count whether chat_template_kwargs arrived.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


def texts(corpus: Path | None) -> Iterator[str]:
    """Yield the strings of a JSON-lines corpus, or Python's own manual where there is none."""
    yield LABELS
    if corpus is None:
        yield from (topics[name] for name in sorted(topics))
        return
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            yield from (value for value in json.loads(line).values() if isinstance(value, str))


def make_tokenizer(corpus: Path | None) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE and give it the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus), trainer=trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Make the network; its context is long, so that --max-model-len alone sets the limit."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(SEED)
    return Qwen3ForCausalLM(config).eval()


def main(out: Path, corpus: Path | None) -> None:
    """Write the model folder."""
    tokenizer = make_tokenizer(corpus)
    if len(tokenizer) != VOCABULARY:
        raise SystemExit(f"the corpus gives only {len(tokenizer)} tokens, not {VOCABULARY}")
    tokenizer.save_pretrained(out)
    make_model(tokenizer).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
