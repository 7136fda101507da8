from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.core.site import Site
from lmscope.dictionaries.baselines import fit_baselines
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import Examination, HealthOptions
from lmscope.dictionaries.transfer import FIGURES, Weights, measured, transfer_report
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature

EMBED = Site("embed")
KNOWN, UNKNOWN = range(20, 40), range(40, 60)
BOOTSTRAP = BootstrapOptions(n_resamples=40)


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    mask: np.ndarray
    documents: np.ndarray
    index: np.ndarray


class Text:
    """One stream of tokens cut into contexts; known ones before position `turn` of each 64, others after."""

    def __init__(self, length, turn, n_tokens=1024):
        draws = np.random.default_rng(0)
        position = np.arange(n_tokens) % 64
        tokens = np.where(
            position < turn, draws.choice(KNOWN, n_tokens), draws.choice(UNKNOWN, n_tokens)
        )
        self.tokens = tokens.reshape(-1, length)
        self.context_length = length

    def __len__(self):
        return len(self.tokens)

    def rows(self, indices, /):
        i = np.asarray(indices)
        tokens = self.tokens[i]
        return Rows(tokens, np.ones_like(tokens, dtype=bool), np.zeros_like(tokens), i)


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


@pytest.fixture(scope="module")
def knows_some(model):
    """A dictionary with one latent for each known token: exact on those and wrong on all others."""
    vectors = model.hf.get_input_embeddings().weight[list(KNOWN)].float()
    config = DictionaryConfig(
        reads=("embed",), writes=("embed",), d_read=32, d_write=32, n_latents=20, sparsity=ReLU(),
        model="its own", model_hash="0" * 64,
    )  # fmt: skip
    dictionary = Dictionary(config).requires_grad_(False)
    dictionary.W_dec.copy_(vectors)
    dictionary.W_enc.copy_(torch.linalg.pinv(vectors).T)
    return dictionary


def measure(model, dictionary, text, scored=0):
    options = HealthOptions(bootstrap=BOOTSTRAP, batch_contexts=4, scored_contexts=scored)
    exclusion = Exclusion({EMBED: 1e9})
    tokens = torch.tensor(Text(64, turn=32).tokens)
    values = model.hf.get_input_embeddings().weight[tokens].flatten(0, 1).float()
    baselines = fit_baselines(
        dictionary, [{EMBED: values}], exclusion=exclusion, n_tokens=512, seed=0
    )
    examination = Examination(model, dictionary, text, exclusion, baselines, options)
    examination.go()
    return measured(examination, "text", is_packed=True)


def report(*conditions):
    return transfer_report(
        "planted", Weights(model="a"), conditions, within_documents=False, options=BOOTSTRAP, seed=0
    )


def test_a_dictionary_that_is_wrong_from_a_position_on_is_found_wrong_there_only(model, knows_some):
    home = measure(model, knows_some, Text(16, turn=16))
    long = measure(model, knows_some, Text(64, turn=16))
    row = report(home, long).rows[1]
    assert [(p.first, p.last) for p in row.positions] == [
        (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 63),
    ]  # fmt: skip
    for position in row.positions:
        error = position.normalised_mse
        assert (error.high < 1e-8) if position.first < 16 else (error.low > 0.1), position


def test_an_error_by_position_is_compared_with_the_whole_of_home(model, knows_some):
    """Half of home is unknown, the last half of each long context is: there the error is doubled."""
    home = measure(model, knows_some, Text(16, turn=32))
    row = report(home, measure(model, knows_some, Text(64, turn=32))).rows[1]
    known, unknown = row.positions[-2:]
    assert known.mse_over_home.value < 1e-8
    assert unknown.mse_over_home.low < 2 < unknown.mse_over_home.high
    assert unknown.mse_over_home.paired
    assert row.mse_over_home.low < 1.05
    assert row.mse_over_home.high > 0.95


def test_the_rows_hold_the_figures_of_the_health_report(model, knows_some):
    home = measure(model, knows_some, Text(16, turn=32), scored=64)
    row = report(home, home).rows[0]
    health = home.report
    assert set(row.figures) <= set(FIGURES)
    assert row.figures["explained_variance_centred"] == (
        health.reconstruction.explained_variance_centred
    )
    assert row.figures["normalised_mse"] == health.reconstruction.normalised_mse
    assert row.figures["l0"] == health.sparsity.l0
    assert row.figures.get("ce_recovered_zero") == health.loss.ce_recovered_zero
    assert row.figures.get("ce_recovered_mean") == health.loss.ce_recovered_mean
    assert row.figures["kl"] == health.loss.kl
    increase = health.loss.ce.value - health.ablation.ce_clean.value
    assert row.figures["ce_increase"].value == pytest.approx(increase)
    assert row.differences == {}
    assert row.mse_over_home is None


def test_a_condition_compared_with_itself_differs_by_nothing(model, knows_some):
    home = measure(model, knows_some, Text(16, turn=32), scored=64)
    row = report(home, home).rows[1]
    assert set(row.differences) == set(row.figures) >= {"normalised_mse", "l0", "kl"}
    for name, contrast in row.differences.items():
        assert contrast.value == 0
        if row.figures[name].low is not None:
            assert contrast.low == contrast.high == 0
    assert row.mse_over_home.value == row.mse_over_home.low == row.mse_over_home.high == 1


def test_every_difference_is_here_minus_home(model, knows_some):
    home = measure(model, knows_some, Text(16, turn=32), scored=64)
    row = report(home, measure(model, knows_some, Text(64, turn=32), scored=64)).rows[1]
    at_home = report(home).rows[0]
    for name, contrast in row.differences.items():
        difference = row.figures[name].value - at_home.figures[name].value
        assert contrast.value == pytest.approx(difference, abs=1e-9), name
        assert contrast.paired
        assert contrast.n == 16, "stretches of 64 tokens"


def test_other_weights_than_those_trained_on_are_named(model, knows_some):
    (note,) = (
        n
        for n in measure(model, knows_some, Text(16, turn=32)).report.notes
        if n.startswith("Trained")
    )
    assert note == (
        "Trained on 'its own' (weights 000000000000), measured on 'miniature-llama' "
        f"(weights {model.weights_hash[:12]})."
    )
