"""What every kind of sparsity must do; a kind added to `Sparsity` is picked up by itself."""

from typing import get_args

import pytest
import torch

from lmscope.dictionaries.config import DictionaryConfig, Sparsity
from lmscope.dictionaries.dictionary import Dictionary

KINDS = get_args(get_args(Sparsity)[0])


@pytest.fixture(params=KINDS, ids=lambda kind: kind.model_fields["kind"].default)
def sparsity(request):
    small = {"k": 3} if "k" in request.param.model_fields else {}
    return request.param(**small)


@pytest.fixture(params=["sae", "transcoder"])
def dictionary(request, sparsity):
    write = ("resid_post@1", 5) if request.param == "sae" else ("mlp_out@1", 7)
    config = DictionaryConfig(
        reads=("resid_post@1",),
        writes=write[:1],
        d_read=5,
        d_write=write[1],
        n_latents=16,
        sparsity=sparsity,
    )
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in Dictionary(config).state_dict().items()
    }
    tensors["scale_in"] = torch.tensor(3.0, dtype=torch.float64)
    tensors["scale_out"] = torch.tensor(3.0 if request.param == "sae" else 0.2, dtype=torch.float64)
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs() + 0.1
    return Dictionary.from_tensors(config, tensors)


@pytest.fixture
def x():
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_every_kind_has_a_test_here():
    assert {kind.model_fields["kind"].default for kind in KINDS} >= {
        "relu",
        "topk",
        "batchtopk",
        "jumprelu",
    }


def test_latents_are_not_negative_and_sparser_than_dense(dictionary, x):
    latents = dictionary.encode(x)
    assert (latents >= 0).all()
    assert 0 < (latents > 0).sum() < latents.numel()


def test_a_kept_value_is_its_pre_activation(dictionary, x):
    latents, pre = dictionary.encode(x), dictionary.pre_activations(x)
    assert torch.equal(latents, torch.where(latents > 0, pre, 0.0))


def test_the_gradient_of_kept_values_is_exact(dictionary, x):
    x.requires_grad_()
    latents = dictionary.encode(x)
    weight = torch.randn(latents.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((latents * weight).sum(), x)
    kept = weight * (latents > 0)
    torch.testing.assert_close(gradient, kept @ dictionary.W_enc * dictionary.scale_in)


def test_sparse_and_dense_encoding_agree(dictionary, x):
    indices, values = dictionary.encode_sparse(x)
    dense = torch.zeros(40, 16, dtype=torch.float64).scatter_add(1, indices, values)
    torch.testing.assert_close(dense, dictionary.encode(x))
    torch.testing.assert_close(
        dictionary.decode(dictionary.encode_sparse(x)), dictionary.decode(dictionary.encode(x))
    )
    torch.testing.assert_close(dictionary(x), dictionary.decode(dictionary.encode(x)))


def test_no_token_depends_on_another(dictionary, x):
    alone = torch.cat([dictionary.encode(row[None]) for row in x])
    torch.testing.assert_close(alone, dictionary.encode(x))


def test_the_folded_form_gives_equal_outputs(dictionary, x):
    folded = dictionary.fold()
    torch.testing.assert_close(folded(x), dictionary(x))
    assert torch.equal(folded.encode(x) > 0, dictionary.encode(x) > 0)
    torch.testing.assert_close(folded.W_dec.norm(dim=1), torch.ones(16, dtype=torch.float64))


def test_saving_and_loading_changes_no_bit(dictionary, x, tmp_path):
    for name, form in (("training", dictionary), ("folded", dictionary.fold())):
        form.save(tmp_path / name)
        loaded = Dictionary.load(tmp_path / name)
        assert loaded.config == form.config
        assert torch.equal(loaded(x), form(x))
        assert all(
            torch.equal(loaded.state_dict()[key], value) for key, value in form.state_dict().items()
        )
