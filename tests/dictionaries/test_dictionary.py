import pytest
import torch

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary

KINDS = [ReLU(), TopK(k=3), BatchTopK(k=3), JumpReLU()]


def loop_forward(dictionary, x):
    """The definition, one number at a time; latents and output of one token."""
    c, F, W, V = dictionary.config, dictionary.config.n_latents, dictionary.W_enc, dictionary.W_dec
    scaled = [v * dictionary.scale_in.item() for v in x.tolist()]
    shift = dictionary.b_dec.tolist() if c.apply_b_dec_to_input else [0.0] * c.d_read
    pre = [
        sum(W[i, j].item() * (scaled[j] - shift[j]) for j in range(c.d_read))
        + dictionary.b_enc[i].item()
        for i in range(F)
    ]
    score = [max(p, 0.0) * sum(v * v for v in V[i].tolist()) ** 0.5 for i, p in enumerate(pre)]
    match c.sparsity:
        case ReLU():
            kept = list(range(F))
        case TopK():
            kept = sorted(range(F), key=lambda i: -score[i])[: c.sparsity.k]
        case BatchTopK():
            kept = [i for i in range(F) if score[i] > dictionary.threshold.item()]
        case JumpReLU():
            kept = [i for i in range(F) if pre[i] > dictionary.threshold[i].item()]
    latents = [max(pre[i], 0.0) if i in kept else 0.0 for i in range(F)]
    output = [
        sum(latents[i] * V[i, j].item() for i in range(F)) + dictionary.b_dec[j].item()
        for j in range(c.d_write)
    ]
    if dictionary.W_skip is not None:
        for j in range(c.d_write):
            output[j] += sum(dictionary.W_skip[j, i].item() * scaled[i] for i in range(c.d_read))
    return latents, [value / dictionary.scale_out.item() for value in output]


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
@pytest.mark.parametrize(
    "options",
    [{}, {"d_write": 4}, {"d_write": 9, "skip": True}, {"apply_b_dec_to_input": True}],
    ids=["sae", "transcoder", "skip", "b_dec"],
)
def test_encode_and_forward_equal_a_loop(make_dictionary, sparsity, options):
    dictionary = make_dictionary(sparsity, **options)
    x = torch.randn(4, 6, dtype=torch.float64)
    latents, output = dictionary.encode(x), dictionary(x)
    for token in range(4):
        expected_latents, expected_output = loop_forward(dictionary, x[token])
        torch.testing.assert_close(latents[token].tolist(), expected_latents)
        torch.testing.assert_close(output[token].tolist(), expected_output)


def test_reconstruction_by_hand():
    # Reads 2 * (1, 2) = (2, 4); pre = (2, 4, -2); score with norms (1, 3, 1): latent 1 is kept
    # with value 4 and writes 4 * (0, 3) + (1, 1) = (1, 13), divided by 2.
    config = {"reads": ["mlp_out@0"], "writes": ["mlp_out@0"], "d_read": 2, "d_write": 2}
    config |= {"n_latents": 3, "sparsity": {"kind": "topk", "k": 1}}
    dictionary = Dictionary.from_tensors(
        DictionaryConfig.from_mapping(config),
        {
            "W_enc": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
            "b_enc": torch.zeros(3),
            "W_dec": torch.tensor([[1.0, 0.0], [0.0, 3.0], [1.0, 0.0]]),
            "b_dec": torch.ones(2),
            "scale_in": torch.tensor(2.0),
            "scale_out": torch.tensor(2.0),
        },
    )
    x = torch.tensor([[1.0, 2.0]])
    assert dictionary.encode(x).tolist() == [[0.0, 4.0, 0.0]]
    assert dictionary(x).tolist() == [[0.5, 6.5]]


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_leading_axes_do_not_matter(make_dictionary, sparsity):
    dictionary = make_dictionary(sparsity, d_write=4)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(dictionary(x).view(6, 4), dictionary(x.view(6, 6)))
    torch.testing.assert_close(dictionary(x[0, 0]), dictionary(x)[0, 0])
    assert dictionary.encode_sparse(x).values.shape[:2] == (2, 3)
    assert dictionary(x[:0]).shape == (0, 3, 4)


def test_an_answer_has_the_dtype_of_its_input(make_dictionary):
    dictionary = make_dictionary(TopK(k=2), dtype=torch.float32)
    assert dictionary(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert dictionary.encode(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("sparsity", KINDS, ids=lambda s: s.kind)
def test_gradients_flow_to_the_input(make_dictionary, sparsity):
    dictionary = make_dictionary(sparsity, d_write=4, skip=True)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(dictionary, (x,), eps=1e-7)


def test_no_token_depends_on_another_at_inference(make_dictionary):
    dictionary = make_dictionary(BatchTopK(k=3))
    x = torch.randn(5, 6, dtype=torch.float64)
    alone = torch.cat([dictionary.encode(row[None]) for row in x])
    torch.testing.assert_close(dictionary.encode(x), alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_enc": None}, "lack 'b_enc'"),
        ({"extra": torch.zeros(1)}, "hold 'extra'"),
        ({"W_enc": torch.zeros(6, 20)}, r"'W_enc' has shape \[6, 20\].*\[20, 6\]"),
        ({"b_dec": torch.zeros(6, dtype=torch.int64)}, "'b_dec' is torch.int64"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make_dictionary, make_config, change, message):
    tensors = {**make_dictionary(TopK(k=2)).state_dict(), **change}
    tensors = {name: t for name, t in tensors.items() if t is not None}
    with pytest.raises(ArtifactError, match=message):
        Dictionary.from_tensors(make_config(TopK(k=2)), tensors)


def test_a_notebook_shows_what_a_dictionary_is(make_dictionary):
    html = make_dictionary(TopK(k=3), d_write=4, model="<b>tiny</b>")._repr_html_()
    assert "transcoder" in html
    assert "topk 3" in html
    assert "&lt;b&gt;tiny" in html
    assert "<b>" not in html
    assert "<script" not in html
    assert "http" not in html
