import pytest
import torch

from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.folding import Weights, decoder_norms, fold

KINDS = [ReLU(), TopK(k=3), BatchTopK(k=3), JumpReLU()]
OPTIONS = [{}, {"d_write": 4}, {"d_write": 9, "skip": True}, {"apply_b_dec_to_input": True}]


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
@pytest.mark.parametrize("options", OPTIONS, ids=["sae", "transcoder", "skip", "b_dec"])
def test_both_forms_give_equal_outputs(make_dictionary, sparsity, options):
    dictionary = make_dictionary(sparsity, **options)
    folded = dictionary.fold()
    x = torch.randn(50, 6, dtype=torch.float64)
    torch.testing.assert_close(folded(x), dictionary(x))
    torch.testing.assert_close(decoder_norms(folded.W_dec), torch.ones(20, dtype=torch.float64))
    assert folded.scale_in == folded.scale_out == 1
    # The same latents fire, and each folded one is its old value times norm / scale_out.
    factor = decoder_norms(dictionary.W_dec) / dictionary.scale_out
    torch.testing.assert_close(folded.encode(x), dictionary.encode(x) * factor)


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_folding_twice_is_folding_once(make_dictionary, sparsity):
    once = make_dictionary(sparsity, d_write=4).fold()
    twice = once.fold()
    assert twice.config == once.config
    for name, tensor in once.state_dict().items():
        torch.testing.assert_close(twice.state_dict()[name], tensor)


def test_folding_leaves_the_original_alone(make_dictionary):
    dictionary = make_dictionary(JumpReLU())
    before = {name: t.clone() for name, t in dictionary.state_dict().items()}
    dictionary.fold().W_enc.fill_(7.0)
    assert all(torch.equal(t, before[name]) for name, t in dictionary.state_dict().items())


def test_folding_by_hand():
    # scale_in = 2, scale_out = 0.5, one latent with decoder row (3, 4) of norm 5. The row in raw
    # units is 4 * (3, 4) of norm 20, so W_enc * 20, b_enc * 20 / 2, row (0.6, 0.8), b_dec / 0.5;
    # a latent's threshold is multiplied by 20 / 2, the scalar one of scores divided by 0.5.
    weights = Weights(
        W_enc=torch.tensor([[1.0, 2.0, 3.0]]),
        b_enc=torch.tensor([0.5]),
        W_dec=torch.tensor([[3.0, 4.0]]),
        b_dec=torch.tensor([1.0, -1.0]),
        W_skip=torch.ones(2, 3),
        scale_in=torch.tensor(2.0),
        scale_out=torch.tensor(0.5),
        threshold=torch.tensor([0.3]),
    )
    folded = fold(weights, apply_b_dec_to_input=False)
    assert folded.W_enc.tolist() == [[20.0, 40.0, 60.0]]
    assert folded.b_enc.tolist() == [5.0]
    torch.testing.assert_close(folded.W_dec, torch.tensor([[0.6, 0.8]]))
    assert folded.b_dec.tolist() == [2.0, -2.0]
    assert folded.W_skip.tolist() == [[4.0] * 3] * 2
    torch.testing.assert_close(folded.threshold, torch.tensor([3.0]))
    scalar = fold(weights._replace(threshold=torch.tensor(0.3)), apply_b_dec_to_input=False)
    torch.testing.assert_close(scalar.threshold, torch.tensor([0.6]))


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_a_decoder_row_of_zeros_never_fires_once_folded(make_dictionary, sparsity):
    dictionary = make_dictionary(sparsity)
    dictionary.W_dec[3] = 0
    folded = dictionary.fold()
    x = torch.randn(50, 6, dtype=torch.float64)
    torch.testing.assert_close(folded(x), dictionary(x))
    assert folded.encode(x)[:, 3].sum() == 0


def test_a_choice_by_pre_activation_alone_survives_folding(make_dictionary):
    plain = make_dictionary(TopK(k=3, weight_by_decoder_norm=False), d_write=4)
    weighted = make_dictionary(TopK(k=3), d_write=4)
    folded = plain.fold()
    x = torch.randn(50, 6, dtype=torch.float64)
    torch.testing.assert_close(folded(x), plain(x))
    torch.testing.assert_close(folded.encode(x), plain.encode(x) / plain.scale_in)
    assert not torch.equal(plain.encode(x) > 0, weighted.encode(x) > 0)
