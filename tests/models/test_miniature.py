import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.models.miniature import character_tokenizer, hash_weights, miniature
from lmscope.models.norms import RMS_NORM
from lmscope.models.registry import known_families


def test_a_seed_names_the_weights():
    assert miniature("gemma2").weights_hash == miniature("gemma2").weights_hash
    assert miniature("gemma2").weights_hash != miniature("gemma2", seed=1).weights_hash


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    miniature("bert", seed=3)
    assert torch.equal(torch.rand(1), expected)


def test_one_changed_weight_changes_the_hash():
    model = miniature("gpt2")
    model.weights.W_E[0, 0] += 1.0
    assert hash_weights(model.hf) != model.weights_hash


@pytest.mark.parametrize("family", sorted(known_families()))
def test_gains_and_biases_are_not_neutral(family: str):
    vectors = [w for w in miniature(family).hf.parameters() if w.dim() == 1]
    assert vectors
    for weight in vectors:
        assert (weight - weight.mean()).abs().max() > 0.05


def test_sizes_can_be_set():
    model = miniature("llama", num_hidden_layers=2, hidden_size=16)
    assert (model.n_layers, model.d_model) == (2, 16)
    assert model.family.norm is RMS_NORM


def test_an_unknown_family_names_near_ones():
    with pytest.raises(ModelError, match="Did you mean llama"):
        miniature("lama")


def test_the_tokenizer_gives_the_text_back():
    text = "To be, or not\nto be? {} ~"
    tokenizer = character_tokenizer()
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    encoder = character_tokenizer(encoder=True)
    ids = encoder.encode(text)
    assert (ids[0], ids[-1]) == (encoder.cls_token_id, encoder.sep_token_id)
    assert encoder.decode(ids, skip_special_tokens=True) == text
