"""Writes a Llama model folder as one GGUF file, so that llama.cpp can serve the small model.

    python -m scripts.write_gguf inference/small_model small_model.gguf

llama.cpp cuts text by rules that it knows by name. `bloom` comes closest to the small model's: it
keeps a space and a word with its hyphens together. Where it leaves more in one piece, no merge of
the small model's tokenizer spans it; but it parts a full stop from a quotation mark before it,
which the small model has one token for.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

CUTS = "bloom"
Matrix = npt.NDArray[np.float32]


def write_gguf(folder: Path, target: Path, *, quantised: bool = False, cuts: str = CUTS) -> None:
    """Write weights in float32, or matrices in Q8_0 where they are `quantised`; `cuts` names llama.cpp's rule.

    Raises ValueError for what is not a Llama with a byte-level tokenizer.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["model_type"] != "llama" or config["rope_parameters"]["rope_type"] != "default":
        raise ValueError(f"{folder} is no Llama with plain rotary angles")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name(folder.resolve().name)
    _add_sizes(writer, config)
    _add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text("utf-8")), config, cuts)
    for name, weights in tensors(load_file(folder / "model.safetensors"), config).items():
        kind = gguf.GGMLQuantizationType.Q8_0 if quantised and weights.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(state: dict[str, Matrix], config: dict[str, Any]) -> dict[str, Matrix]:
    """The weights under llama.cpp's names, rows of queries and keys in the order that its rotary angles want."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    found = {}
    for key, weights in state.items():
        name = names.get_name(key, try_suffixes=(".weight",))
        if name is None:
            raise ValueError(f"llama.cpp has no name for {key}")
        part = name.split(".")[-2]
        found[name] = _interleaved(weights, heads[part]) if part in heads else weights.astype(np.float32)
    return found


def _interleaved(weights: Matrix, heads: int) -> Matrix:
    """Halves of a head row by row in turns: llama.cpp turns neighbours, transformers turns halves."""
    halves = weights.astype(np.float32).reshape(heads, 2, -1, weights.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))


def _add_sizes(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any], cuts: str) -> None:
    model = tokenizer["model"]
    if model["type"] != "BPE" or tokenizer["decoder"]["type"] != "ByteLevel":
        raise ValueError("the tokenizer is not byte-level BPE")
    known = {number: token for token, number in model["vocab"].items()}
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    unused = {number: f"[PAD{number}]" for number in range(config["vocab_size"])}
    kinds = [
        gguf.TokenType.CONTROL
        if number in special
        else gguf.TokenType.NORMAL
        if number in known
        else gguf.TokenType.UNUSED
        for number in unused
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cuts)
    writer.add_token_list([{**unused, **known, **special}[number] for number in unused])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(value=True)


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write a Llama model folder as one GGUF file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--quantised", action="store_true", help="matrices in Q8_0 instead of float32")
    arguments = parser.parse_args()
    write_gguf(arguments.folder, arguments.target, quantised=arguments.quantised)


if __name__ == "__main__":
    main()
