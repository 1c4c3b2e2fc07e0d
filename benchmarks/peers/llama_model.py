"""A Llama of a wanted size with random weights and our tokenizer, as llama.cpp reads it.

Weights are Q8_0: eight bits and a half each, as near to our eight bits as llama.cpp has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import sentencepiece as spm
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer

Matrix = npt.NDArray[np.float32]

_CONTEXT = 32768
_NORM_EPS = 1e-5
# Features that steer the text: see `_embedding`.
_WORD, _OTHER, _STEERING_GAIN = 0.3, 0.03, 60.0


@dataclass(frozen=True, kw_only=True)
class LlamaShape:
    """Tied embedding of `width`; `heads` of `width / heads`; a SwiGLU layer of `inner`."""

    width: int
    layers: int
    heads: int
    inner: int

    def parameters(self, vocab_size: int) -> int:
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return vocab_size * self.width + self.layers * layer + self.width


def write_llama(path: Path, shape: LlamaShape, checkpoint: Checkpoint, seed: int = 0) -> None:
    """A GGUF file of `shape`, whose tokenizer and chat template are those of the checkpoint."""
    writer = GGUFWriter(path, "llama")
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(_NORM_EPS)
    writer.add_vocab_size(checkpoint.tokenizer.vocab_size)
    _add_tokenizer(writer, checkpoint.tokenizer)
    if checkpoint.chat_template is not None:
        writer.add_chat_template(jinja_template(checkpoint))
    _add_weights(writer, shape, checkpoint.tokenizer, seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def jinja_template(checkpoint: Checkpoint) -> str:
    """The checkpoint's chat template in llama.cpp's language: the same control tokens.

    Trimmed, as the space before a first word comes with the word's own token.
    """
    assert checkpoint.chat_template is not None
    end, roles = checkpoint.chat_template["end_of_turn"], checkpoint.chat_template["roles"]
    turns = "".join(
        f"{{% if message.role == '{role}' %}}{piece}{{% endif %}}" for role, piece in roles.items()
    )
    return (
        f"{{% for message in messages %}}{turns}{{{{ message.content | trim }}}}{end}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{roles['assistant']}{{% endif %}}"
    )


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    """A unigram vocabulary: llama.cpp knows that kind by the name of T5."""
    processor = spm.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    ids = list(range(tokenizer.vocab_size))
    writer.add_tokenizer_model("t5")
    writer.add_token_list(processor.id_to_piece(ids))
    writer.add_token_scores(processor.get_score(ids))
    writer.add_token_types([_token_type(processor, token_id) for token_id in ids])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(False)
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_unk_token_id(processor.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _token_type(processor: spm.SentencePieceProcessor, token_id: int) -> TokenType:
    if processor.is_unknown(token_id):
        return TokenType.UNKNOWN
    if processor.is_control(token_id):
        return TokenType.CONTROL
    return TokenType.BYTE if processor.is_byte(token_id) else TokenType.NORMAL


def _add_weights(writer: GGUFWriter, shape: LlamaShape, tokenizer: Tokenizer, seed: int) -> None:
    draw = np.random.default_rng(seed)

    def matrix(outputs: int, inputs: int) -> Matrix:
        return draw.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)

    width, inner, ones = shape.width, shape.inner, np.ones(shape.width, np.float32)
    _add_matrix(writer, "token_embd", _embedding(draw, width, tokenizer))
    last = ones.copy()
    last[0] = _STEERING_GAIN
    writer.add_tensor("output_norm.weight", last)
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        matrices = {
            **{f"attn_{name}": matrix(width, width) for name in ("q", "k", "v", "output")},
            **{f"ffn_{name}": matrix(inner, width) for name in ("gate", "up")},
            "ffn_down": matrix(width, inner),
        }
        for name in ("attn_output", "ffn_down"):
            matrices[name][0] = 0  # the steering feature passes through
        for name, values in matrices.items():
            _add_matrix(writer, f"blk.{layer}.{name}", values)


def _embedding(draw: np.random.Generator, width: int, tokenizer: Tokenizer) -> Matrix:
    """Random, but for one feature, which makes the text one of whole words.

    No layer writes that feature, the last norm makes much of it, and the softmax shares the matrix:
    so tokens that begin a word always win over bytes, controls and word parts. Such a text is cut
    into the same tokens when it comes back as a chat's history, as a trained model's mostly is; a
    text of random pieces would be cut anew, and llama-server would have to read again what it has
    in its cache.
    """
    values = draw.normal(0, 0.1, (tokenizer.vocab_size, width)).astype(np.float32)
    begins_word = [
        tokenizer.token_bytes(k).startswith(b" ") and not tokenizer.is_control(k)
        for k in range(tokenizer.vocab_size)
    ]
    values[:, 0] = np.where(begins_word, _WORD, _OTHER)
    return values


def _add_matrix(writer: GGUFWriter, name: str, values: Matrix) -> None:
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
