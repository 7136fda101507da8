"""A tiny GGUF file, written by the gguf package, against the weights it was written from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers

from lmscope.core.errors import ModelError
from lmscope.models import conversion
from lmscope.models.loading import load_pretrained

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

WIDTH, HIDDEN, HEADS, LAYERS = 32, 64, 2, 1


def vocabulary() -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "ĠĠ"]


def write_gguf(path: Path, weights: dict[str, np.ndarray], quantise: bool) -> None:
    """A llama of one layer; matrices as Q8_0 when `quantise`, else float32."""
    kind = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(7 if quantise else 0)
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = vocabulary()
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, value in weights.items():
        if quantise and value.ndim == 2:
            packed = gguf.quants.quantize(value, kind.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=kind.Q8_0)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    square, up = (WIDTH, WIDTH), (HIDDEN, WIDTH)
    shapes = {
        "token_embd.weight": (len(vocabulary()), WIDTH),
        "output.weight": (len(vocabulary()), WIDTH),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": square,
        "blk.0.attn_v.weight": square,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_gate.weight": up,
        "blk.0.ffn_up.weight": up,
        "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "cache"))


def test_plain_weights_keep_their_format_and_values(tmp_path, capsys):
    weights = random_weights()
    write_gguf(tmp_path / "tiny.gguf", weights, quantise=False)
    state = load_pretrained(str(tmp_path / "tiny.gguf"), device="cpu").hf.state_dict()
    assert capsys.readouterr().err == "Converting tiny.gguf once; this can take a minute.\n"
    for ours, theirs in (
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ):
        assert torch.equal(state[ours], torch.from_numpy(weights[theirs]))


def test_quantised_weights_become_bfloat16_of_the_dequantised_values(tmp_path):
    weights = random_weights()
    write_gguf(tmp_path / "tiny.gguf", weights, quantise=True)
    loaded = load_pretrained(str(tmp_path / "tiny.gguf"), device="cpu")
    kind = gguf.GGMLQuantizationType.Q8_0
    packed = gguf.quants.quantize(weights["blk.0.ffn_up.weight"], kind)
    expected = torch.from_numpy(gguf.quants.dequantize(packed, kind)).bfloat16()
    assert torch.equal(loaded.hf.state_dict()["model.layers.0.mlp.up_proj.weight"], expected)
    assert loaded.hf.dtype == torch.bfloat16


def test_converted_tokenizer_round_trips_with_its_special_tokens(tmp_path, capsys):
    write_gguf(tmp_path / "tiny.gguf", random_weights(), quantise=False)
    tokenizer = load_pretrained(str(tmp_path / "tiny.gguf"), device="cpu").tokenizer
    capsys.readouterr()
    text = "a  12 wörld\n\n\tx"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id] == [1, 2, 2]
    assert tokenizer.unk_token_id == 0
    assert 1 not in tokenizer.encode(text)
    assert tokenizer.encode("<|im_end|>") == [2]
    assert tokenizer.chat_template
    # Digits stand alone, so the two blanks before them are one token; GPT-2's rule gives Ġ, Ġ1.
    assert tokenizer.tokenize("a  1") == ["a", "ĠĠ", "1"]
    load_pretrained(str(tmp_path / "tiny.gguf"), device="cpu")
    assert capsys.readouterr().err == ""  # converted once


def test_damaged_gguf_is_one_sentence(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(ModelError, match=r"'bad\.gguf' cannot be converted") as caught:
        load_pretrained(str(tmp_path / "bad.gguf"), device="cpu")
    assert "\n" not in str(caught.value)


def test_missing_gguf_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "x.gguf").touch()
    monkeypatch.setattr(conversion.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'lmscope\[gguf\]'"):
        load_pretrained(str(tmp_path / "x.gguf"), device="cpu")


def test_smollm_split_differs_from_the_default_one():
    ours = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    default = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert ours.pre_tokenize_str("a  1") != default.pre_tokenize_str("a  1")
