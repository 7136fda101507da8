"""Steering, against the same changes made by hand."""

import dataclasses

import pytest
import torch

from lmscope.core.errors import ModelError, RecipeError, SiteError
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.steering import (
    LatentChange,
    Steering,
    ablate,
    activate,
    clamp,
    decoder_rows,
    random_directions,
)
from lmscope.models.batch import Batch
from lmscope.models.edit import At
from lmscope.models.exclusion import Exclusion
from lmscope.models.generate import GenerationOptions, generate, prompt_batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature

POST = Site("resid_post", 3)
TEXT = ["The quick brown fox", "jumps"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return miniature("llama", num_hidden_layers=5)


@pytest.fixture
def sae(make_dictionary) -> Dictionary:
    return make_dictionary(TopK(k=4), d_read=32, n_latents=40, dtype=torch.float32)


@pytest.fixture
def transcoder(make_dictionary) -> Dictionary:
    """Reads mlp_in@3 and writes mlp_out@3."""
    found = make_dictionary(TopK(k=4), d_read=32, d_write=32, n_latents=40, dtype=torch.float32)
    found.config = found.config.model_copy(update={"reads": ("mlp_in@3",)})
    return found


def read(model, batch, sites, steering=None):
    edits = {} if steering is None else steering.edits(batch)
    with model.edit(edits):
        return model.read(batch, sites)


def at_post(batch):
    return At(POST, batch.absolute_positions(), batch.text_mask(), batch.row_ids(), 0)


def keep_of(model, batch):
    return Exclusion().keep_tokens(batch.tokens, batch.text_mask(), model.special_ids)


@pytest.mark.parametrize(
    "change", [activate(7, 0.0), activate(7, -0.0)], ids=["zero", "negative zero"]
)
@pytest.mark.parametrize("kind", ["sae", "transcoder"])
def test_strength_zero_is_bit_equal_to_no_edit(model, change, kind, request) -> None:
    dictionary = request.getfixturevalue(kind)
    batch = model.batch(TEXT)
    clean = model(batch).logits
    steering = Steering(model, dictionary, [change])
    with model.edit(steering.edits(batch)):
        assert torch.equal(model(batch).logits.view(torch.int32), clean.view(torch.int32))


def test_values_that_do_not_change_keep_their_bits_even_of_a_negative_zero(model, sae) -> None:
    batch = model.batch(TEXT)
    x = torch.zeros(2, batch.shape[1], 32).neg()
    (edit,) = Steering(model, sae, [activate(7, 0.0)]).edits(batch).values()
    assert bool(torch.signbit(edit(x, at_post(batch))).all())


def test_clamping_to_the_own_activation_is_bit_equal_to_no_edit(model, sae) -> None:
    batch = model.batch("The quick brown fox")
    x = model.read(batch, [POST])[POST]
    latents = sae.encode_sparse(x)
    place, latent = 5, int(latents.indices[0, 5, 0])
    own = float((latents.values[0, 5] * (latents.indices[0, 5] == latent)).sum())
    assert own > 0
    steered = read(model, batch, [POST], Steering(model, sae, [clamp(latent, own)]))[POST]
    assert torch.equal(steered[0, place], x[0, place])
    assert not torch.equal(steered[0, 1:], x[0, 1:])


def test_activate_adds_the_raw_decoder_row_at_positions_that_count(model, sae) -> None:
    batch = model.batch(TEXT)
    x = model.read(batch, [POST])[POST]
    steered = read(model, batch, [POST], Steering(model, sae, [activate(7, 3.0)]))[POST]
    keep = keep_of(model, batch)
    # The dictionary's own scale is 2.5 (conftest): a row counts 1 / 2.5 of itself in raw units.
    torch.testing.assert_close(steered[keep], x[keep] + 3.0 * sae.W_dec[7] / 2.5)
    assert torch.equal(steered[~keep], x[~keep])
    assert not bool(keep[:, 0].any())


@pytest.mark.parametrize("sparsity", [TopK(k=4), BatchTopK(k=4), JumpReLU(), ReLU()], ids=str)
@pytest.mark.parametrize("target", [0.0, 5.0])
def test_clamping_changes_the_reconstruction_only(model, make_dictionary, sparsity, target) -> None:
    sae = make_dictionary(sparsity, d_read=32, n_latents=40, dtype=torch.float32)
    batch = model.batch("The quick brown fox")
    x = model.read(batch, [POST])[POST]
    latents = sae.encode(x)
    latent = int((latents[0, 1:] > 0).sum(0).argmax())
    change = clamp(latent, target) if target else ablate(latent)
    steered = read(model, batch, [POST], Steering(model, sae, [change]))[POST]
    moved = latents.clone()
    moved[..., latent] = target
    error = x - sae.decode(latents)
    torch.testing.assert_close(
        steered[:, 1:], (sae.decode(moved) + error)[:, 1:], atol=1e-5, rtol=1e-4
    )
    assert not torch.allclose(steered[:, 1:], x[:, 1:], atol=1e-3)


def test_several_latents_change_together(model, sae) -> None:
    batch = model.batch("The quick brown fox")
    x = model.read(batch, [POST])[POST]
    latents = sae.encode(x)
    changes = [clamp(3, 2.0), activate(5, -1.0), ablate(9)]
    steered = read(model, batch, [POST], Steering(model, sae, changes))[POST]
    moved = latents.clone()
    moved[..., 3], moved[..., 9] = 2.0, 0.0
    moved[..., 5] -= 1.0
    expected = x + sae.decode(moved) - sae.decode(latents)
    torch.testing.assert_close(steered[:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-4)


def test_a_transcoder_reads_there_and_acts_here(model, transcoder) -> None:
    read_site, write_site = Site("mlp_in", 3), Site("mlp_out", 3)
    batch = model.batch("The quick brown fox")
    clean = model.read(batch, [read_site, write_site])
    current = transcoder.encode(clean[read_site])[..., 7]
    steered = read(model, batch, [write_site], Steering(model, transcoder, [clamp(7, 4.0)]))
    row = transcoder.W_dec[7] / transcoder.scale_out
    expected = clean[write_site] + (4.0 - current)[..., None] * row
    torch.testing.assert_close(steered[write_site][:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-4)
    assert torch.equal(steered[write_site][:, 0], clean[write_site][:, 0])


def test_outliers_and_special_tokens_stay_clean(model, sae) -> None:
    batch = prompt_batch(model, "abcdefgh")
    assert batch.tokens is not None
    batch.tokens[0, 4] = model.tokenizer.eos_token_id
    x = model.read(batch, [POST])[POST]
    norms = x[0].norm(dim=-1)
    limit = float(norms[[1, 2, 3, 5, 6, 7, 8]].sort().values[-2])  # one of them lies above
    exclusion = Exclusion({POST: limit}, ratio=1.0)
    steering = Steering(model, sae, [activate(7, 3.0)], exclusion=exclusion)
    moved = (read(model, batch, [POST], steering)[POST] != x).any(-1)[0]
    assert moved.tolist() == [bool(i not in (0, 4) and norms[i] <= limit) for i in range(9)]
    assert int(moved.sum()) == 6


@pytest.mark.parametrize(("where", "expected"), [("all", 1 + 3), ("prompt", 1), ("generated", 3)])
def test_where_says_which_passes_are_steered(model, sae, where, expected) -> None:
    steering = Steering(model, sae, [activate(7, 3.0)], where=where)
    n_moved = 0

    def watched(batch):
        def count(x, at):
            nonlocal n_moved
            (edit,) = steering.edits(batch).values()
            out = edit(x, at)
            n_moved += int(bool((out != x).any()))
            return out

        return {POST: count}

    options = GenerationOptions(n_tokens=4, stop_at_end=False)
    (found,) = generate(model, prompt_batch(model, "fox"), options, watched)
    assert model.special_ids.isdisjoint(found.tokens)  # those would stay clean
    assert n_moved == expected


def test_generation_under_steering_equals_reading_the_whole_text_anew(model, sae) -> None:
    steering = Steering(model, sae, [clamp(7, 9.0), activate(3, 2.0)])
    options = GenerationOptions(n_tokens=8, stop_at_end=False)
    (found,) = generate(model, prompt_batch(model, "abc"), options, steering.edits)
    row = list(found.prompt)
    for token in found.tokens:
        batch = Batch(tokens=torch.tensor([row]))
        with model.edit(steering.edits(batch)):
            assert int(model(batch).logits[0, -1].argmax()) == token
        row.append(token)
        if token in model.special_ids:  # from here on a fresh pass would see it as one more of them
            break
    (clean,) = generate(model, prompt_batch(model, "abc"), options)
    assert clean.tokens != found.tokens


def test_directions_stand_in_for_the_rows(model, sae) -> None:
    batch = model.batch("The quick brown fox")
    x = model.read(batch, [POST])[POST]
    direction = torch.ones(1, 32)
    steering = Steering(model, sae, [activate(7, 2.0)], directions=direction)
    steered = read(model, batch, [POST], steering)[POST]
    torch.testing.assert_close(steered[:, 1:], x[:, 1:] + 2.0)


def test_random_directions_are_as_long_as_their_rows_and_point_elsewhere(sae) -> None:
    rows = decoder_rows(sae, [activate(7, 1.0), activate(3, 1.0)])
    first, again = random_directions(rows, 0), random_directions(rows, 0)
    torch.testing.assert_close(first.norm(dim=-1), rows.norm(dim=-1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, random_directions(rows, 0, 1))
    cosines = torch.nn.functional.cosine_similarity(first, rows)
    assert float(cosines.abs().max()) < 0.7  # five standard deviations at width 32 are 0.88


def test_edits_keep_the_gradient(model, sae) -> None:
    batch = model.batch("abc")
    steering = Steering(model, sae, [activate(7, 2.0)])
    (edit,) = steering.edits(batch).values()
    x = model.read(batch, [POST])[POST].requires_grad_(True)
    edit(x, at_post(batch)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "nothing to steer"),
        ([clamp(40, 1.0)], "no latent 40: the dictionary has 40, numbered 0 to 39"),
        ([clamp(-1, 1.0)], "no latent -1"),
        ([clamp(3, 1.0), ablate(3)], "Latent 3 is changed twice"),
        ([clamp(3, float("nan"))], "cannot get the value nan"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(model, sae, changes, message) -> None:
    with pytest.raises(RecipeError, match=message):
        Steering(model, sae, changes)


def test_a_dictionary_that_does_not_fit_is_refused(sae) -> None:
    with pytest.raises(ModelError, match="with 32 coordinates"):
        Steering(miniature("llama", num_hidden_layers=5, hidden_size=48), sae, [ablate(3)])


def test_a_dictionary_that_writes_before_it_reads_is_refused(model, sae) -> None:
    sae.config = sae.config.model_copy(update={"writes": ("resid_post@1",)})
    with pytest.raises(SiteError, match="computed before"):
        Steering(model, sae, [ablate(3)])


def test_a_batch_of_embeds_is_refused(model, sae) -> None:
    with pytest.raises(RecipeError, match="no tokens"):
        Steering(model, sae, [ablate(3)]).edits(Batch(embeds=torch.zeros(1, 3, 32)))


def test_changes_read_aloud() -> None:
    assert str(clamp(17, 8.0)) == "clamp 17 8"
    assert str(ablate(3)) == "ablate 3"
    assert dataclasses.asdict(activate(2, 1.5)) == {"latent": 2, "kind": "add", "value": 1.5}
    assert LatentChange(1, "ablate") == ablate(1)
