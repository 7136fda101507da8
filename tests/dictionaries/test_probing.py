"""Which latents fire on a text, against the dense latents of the same positions."""

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.dictionaries.config import JumpReLU, TopK
from lmscope.dictionaries.probing import probe
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature

POST = Site("resid_post", 3)
TEXT = "The quick brown fox jumps"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return miniature("llama", num_hidden_layers=5)


@pytest.fixture
def sae(make_dictionary):
    return make_dictionary(TopK(k=4), d_read=32, n_latents=40, dtype=torch.float32)


def dense(model, dictionary, text):
    """Latents of every position but the first, by the plain formula; zeros there."""
    latents = dictionary.encode(model.read(model.batch(text), [POST])[POST])[0]
    latents[0] = 0
    return latents.numpy()


@pytest.mark.parametrize("sparsity", [TopK(k=4), JumpReLU()], ids=["topk", "jumprelu"])
def test_a_probe_holds_every_firing(model, make_dictionary, sparsity) -> None:
    dictionary = make_dictionary(sparsity, d_read=32, n_latents=40, dtype=torch.float32)
    found, expected = probe(model, dictionary, TEXT), dense(model, dictionary, TEXT)
    assert len(found.latent) == (expected > 0).sum() > 0
    for latent in range(40):
        np.testing.assert_allclose(found.activations(latent), expected[:, latent], rtol=1e-5)


def test_tokens_are_those_that_the_model_reads(model, sae) -> None:
    found = probe(model, sae, "fox")
    assert found.tokens[0] == model.bos_id
    assert found.texts == ("<bos>", "f", "o", "x")
    assert found.counts.tolist() == [False, True, True, True]


def test_latents_are_ranked_as_asked(model, sae) -> None:
    found, expected = probe(model, sae, TEXT), dense(model, sae, TEXT)
    columns = {"max": expected.max(0), "sum": expected.sum(0), "tokens": (expected > 0).sum(0)}
    for by, values in columns.items():
        ranked = [one.latent for one in found.ranked(by=by)]
        assert set(ranked) == set(np.flatnonzero(values).tolist())
        assert [float(values[latent]) for latent in ranked] == pytest.approx(
            sorted(values[values > 0], reverse=True), rel=1e-5
        )
    best = found.ranked(1)[0]
    assert best.peak == int(expected[:, best.latent].argmax())
    assert best.n_tokens == int((expected[:, best.latent] > 0).sum())


def test_one_position_sorts_by_its_own_activations(model, sae) -> None:
    found, expected = probe(model, sae, TEXT), dense(model, sae, TEXT)
    position = 6
    order = [i for i in np.argsort(-expected[position], kind="stable") if expected[position, i] > 0]
    assert [one.latent for one in found.ranked(position=position)] == order
    assert list(found.at(position)) == order
    assert found.at(0) == {}


def test_latents_can_be_left_out(model, sae) -> None:
    found = probe(model, sae, TEXT)
    first, second = found.ranked(2)
    assert found.ranked(1, without=[first.latent]) == (second,)


def test_outliers_do_not_count(model, sae) -> None:
    norms = model.read(model.batch(TEXT), [POST])[POST][0].norm(dim=-1)
    limit = float(norms[1:].median())
    found = probe(model, sae, TEXT, exclusion=Exclusion({POST: limit}, ratio=1.0))
    assert found.counts.tolist() == [False, *(norms[1:] <= limit).tolist()]
    assert set(found.position.tolist()) <= set(np.flatnonzero(found.counts).tolist())


def test_a_strip_shades_the_text_by_one_latent(model, sae) -> None:
    found = probe(model, sae, TEXT)
    best = found.ranked(1)[0]
    strip = found.strip(best.latent)
    assert "".join(strip.tokens) == f"<bos>{TEXT}"
    assert max(strip.values) == pytest.approx(best.max)
    assert "<table" in found._repr_html_()
    assert "http" not in found._repr_html_()


def test_the_mapping_holds_each_token_with_its_strongest_latents(model, sae) -> None:
    found = probe(model, sae, TEXT)
    shown = found.to_mapping(2)
    assert [one["token"] for one in shown["tokens"]] == list(found.tokens)
    assert all(len(one["latents"]) <= 2 for one in shown["tokens"])
    assert shown["tokens"][5]["latents"][0]["latent"] == next(iter(found.at(5)))
    assert len(shown["latents"]) == 2


def test_a_position_that_is_not_there_is_refused(model, sae) -> None:
    with pytest.raises(DataError, match="no position 9: the text has 4 tokens, 0 to 3"):
        probe(model, sae, "fox").at(9)


def test_no_text_is_refused(model, sae) -> None:
    with pytest.raises(DataError, match="no text to read"):
        probe(model, sae, "")


def test_more_text_than_positions_is_refused(sae) -> None:
    model = miniature("llama", num_hidden_layers=5, max_position_embeddings=8)
    with pytest.raises(DataError, match="give less text"):
        probe(model, sae, TEXT)


def test_a_dictionary_of_another_width_is_refused(model, make_dictionary) -> None:
    narrow = make_dictionary(TopK(k=4), d_read=16, n_latents=40, dtype=torch.float32)
    with pytest.raises(ModelError, match="with 16 coordinates"):
        probe(model, narrow, TEXT)
