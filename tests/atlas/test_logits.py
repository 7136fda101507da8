import numpy as np
import pytest
import torch

from lmscope.atlas.logits import final_scale, has_logit_effects, logit_effects
from lmscope.core.errors import DataError
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature

FAMILIES = ["llama", "gpt2", "gemma2", "gpt_neox", "mamba", "bert"]
N = 12


def dictionary(site: str, d_write: int = 32, scale_out: float = 1.0) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    config = DictionaryConfig(
        n_latents=N,
        d_read=4,
        d_write=d_write,
        reads=["resid_post@0"],
        writes=[site],
        sparsity=ReLU(),
        normalisation="none",
    )
    tensors = {
        "W_enc": torch.zeros(N, 4),
        "b_enc": torch.zeros(N),
        "W_dec": torch.randn(N, d_write, generator=generator),
        "b_dec": torch.zeros(d_write),
        "scale_in": torch.tensor(1.0),
        "scale_out": torch.tensor(scale_out),
    }
    return Dictionary.from_tensors(config, tensors)


def batches(model) -> list[Batch]:
    text = ["the cat sat on the mat", "a dog", "nine green bottles hanging on the wall"]
    return [model.batch(text[:2]), model.batch(text[2:])]


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_the_mean_change_of_logits_with_the_final_norm_frozen(family):
    """Against one position after another: the stream is changed, the norm's own size is kept."""
    model, subject = (
        miniature(family),
        dictionary("mlp_out@1" if family != "mamba" else "resid_post@1"),
    )
    exclusion, last = Exclusion(), f"resid_post@{model.n_layers - 1}"
    has_norm = "final" in model.family.norms
    total, n = torch.zeros(N, model.d_vocab, dtype=torch.float64), 0
    for batch in batches(model):
        keep = exclusion.keep_tokens(batch.tokens, batch.text_mask(), model.special_ids)
        (stream,) = model.read(batch, [last]).values()
        for x in stream[keep].double():
            for latent, d in enumerate(subject.W_dec.double()):
                total[latent] += (
                    change(model, x, d) if has_norm else d
                ) @ model.weights.W_U.double()
            n += 1
    scale = final_scale(model, batches(model), exclusion)
    found = logit_effects(model, subject, scale, 3)
    mean = (total / n).numpy()
    order = np.argsort(-mean, axis=1, kind="stable")
    assert found.top.ids.tolist() == order[:, :3].tolist()
    assert found.bottom.ids.tolist() == order[:, :-4:-1].tolist()
    best = np.take_along_axis(mean, order[:, :3], axis=1)
    assert np.allclose(found.top.values, best, rtol=1e-5)


def change(model, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """What the frozen norm makes of x + d, less what it makes of x."""
    norm = model.weights.norm("final")
    centred = x - x.mean() if norm.style.kind == "layer" else x
    size = (centred.pow(2).mean() + norm.eps).sqrt()

    def frozen(stream: torch.Tensor) -> torch.Tensor:
        value = stream - stream.mean() if norm.style.kind == "layer" else stream
        return value / size * norm.gain.double()

    return frozen(x + d) - frozen(x)


def test_a_dictionary_that_writes_behind_the_norm_needs_none():
    model, subject = miniature("llama"), dictionary("final")
    found = logit_effects(model, subject, 123.0, 2)
    effects = (subject.W_dec @ model.weights.W_U).numpy()
    assert found.top.ids[:, 0].tolist() == effects.argmax(axis=1).tolist()
    assert np.allclose(found.top.values[:, 0], effects.max(axis=1), rtol=1e-5)


def test_effects_are_of_one_unit_in_the_dictionarys_own_scale():
    model = miniature("llama")
    one = logit_effects(model, dictionary("resid_post@1"), 1.0, 2)
    half = logit_effects(model, dictionary("resid_post@1", scale_out=2.0), 1.0, 2)
    assert np.array_equal(one.top.ids, half.top.ids)
    assert np.allclose(one.top.values, 2 * half.top.values)


def test_a_part_of_the_latents_gets_the_same():
    model, subject = miniature("gpt2"), dictionary("resid_post@1")
    whole = logit_effects(model, subject, 0.5, 4)
    part = logit_effects(model, subject, 0.5, 4, range(5, 9))
    for latent in range(5, 9):
        assert part.top.row(latent) == whole.top.row(latent)
        assert part.bottom.row(latent) == whole.bottom.row(latent)


def test_a_site_that_is_not_added_to_the_stream_has_no_effects():
    model = miniature("llama")
    for subject in (dictionary("mlp_hidden@1", 48), dictionary("z@1"), dictionary("mlp_in@1")):
        assert not has_logit_effects(model, subject)
        found = logit_effects(model, subject, 1.0, 3)
        assert (found.top.row(0), found.bottom.row(N - 1)) == ((), ())
    assert has_logit_effects(model, dictionary("attn_out@1"))


def test_a_text_in_which_nothing_counts_cannot_be_measured():
    model = miniature("llama")
    tokens = torch.full((1, 4), model.bos_id)
    with pytest.raises(DataError, match="final norm cannot be measured"):
        final_scale(
            model, [Batch(tokens=tokens, mask=torch.ones(1, 4, dtype=torch.bool))], Exclusion()
        )
