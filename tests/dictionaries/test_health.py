from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError, SiteError
from lmscope.core.site import Site
from lmscope.dictionaries.baselines import fit_baselines
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import HealthOptions, measure_health
from lmscope.dictionaries.report import HealthReport
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature

POST = Site("resid_post", 1)
IN, OUT = Site("mlp_in", 1), Site("mlp_out", 1)
QUICK = HealthOptions(bootstrap=BootstrapOptions(n_resamples=30), batch_contexts=3)


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    mask: np.ndarray
    documents: np.ndarray
    index: np.ndarray


class ArrayContexts:
    """Contexts of 16 tokens; each begins with BOS, and so does a second document at 9.

    A causal model's text is drawn from the model itself, so that ablating it costs something.
    """

    def __init__(self, model, n=8, length=16, seed=0):
        self.context_length = length
        rng = np.random.default_rng(seed)
        self.tokens = rng.integers(20, 60, size=(n, length)).astype(np.int32)
        self.documents = np.zeros((n, length), dtype=np.int32)
        self.documents[:, 9:] = 1
        self.mask = np.ones((n, length), dtype=bool)
        if model.is_causal:
            self._draw(model, torch.Generator().manual_seed(seed))

    def _draw(self, model, draws):
        self.tokens[:, 0] = self.tokens[:, 9] = model.bos_id
        for p in set(range(1, self.context_length)) - {9}:
            seen = torch.tensor(self.tokens[:, :p]).long()
            chances = model(Batch(tokens=seen)).logits[:, -1, 20:60].softmax(-1)
            self.tokens[:, p] = 20 + chances.multinomial(1, generator=draws)[:, 0].numpy()

    def __len__(self):
        return len(self.tokens)

    def rows(self, indices, /):
        i = np.asarray(indices)
        return Rows(self.tokens[i], self.mask[i], self.documents[i], i)

    def batch(self):
        return Batch(tokens=torch.tensor(self.tokens).long(), mask=torch.tensor(self.mask))


def make_dictionary(reads=POST, writes=POST, width=32, n_latents=48, k=6, seed=0):
    config = DictionaryConfig(
        reads=(str(reads),), writes=(str(writes),), d_read=width, d_write=width,
        n_latents=n_latents, sparsity=TopK(k=k),
    )  # fmt: skip
    dictionary = Dictionary(config).requires_grad_(False)
    draws = torch.Generator().manual_seed(seed)
    dictionary.W_dec.copy_(
        torch.nn.functional.normalize(torch.randn(n_latents, width, generator=draws))
    )
    dictionary.W_enc.copy_(dictionary.W_dec)
    dictionary.W_enc[-5:] = 0  # never positive: five dead latents
    dictionary.b_enc[-5:] = -1
    return dictionary


def exclude(model, contexts, sites, ratio=10.0):
    values = model.read(contexts.batch(), list(sites))
    return Exclusion({s: float(v.norm(dim=-1).median()) for s, v in values.items()}, ratio)


def activations(model, contexts, exclusion, sites):
    batch = contexts.batch()
    keep = exclusion.keep_tokens(batch.tokens, batch.mask, model.special_ids)
    return {site: value[keep] for site, value in model.read(batch, list(sites)).items()}


@pytest.fixture(scope="module")
def llama():
    return miniature("llama")


@pytest.fixture(scope="module")
def measured(llama):
    contexts, dictionary = ArrayContexts(llama), make_dictionary()
    exclusion = exclude(llama, contexts, [POST])
    training = ArrayContexts(llama, seed=1)
    batches = [activations(llama, training, exclusion, [POST])]
    baselines = fit_baselines(dictionary, batches, exclusion=exclusion)
    health = measure_health(
        llama, dictionary, contexts, exclusion=exclusion, baselines=baselines, options=QUICK
    )
    return contexts, dictionary, exclusion, baselines, health


def test_sparsity_and_reconstruction_equal_a_naive_loop(llama, measured):
    contexts, dictionary, exclusion, _, (report, latents) = measured
    y = activations(llama, contexts, exclusion, [POST])[POST]
    l0, errors, spread, fired = [], [], [], np.zeros(48)
    for token in y:
        code = dictionary.encode(token[None])[0]
        l0.append(int((code != 0).sum()))
        fired += (code != 0).numpy()
        errors.append(float((dictionary(token[None])[0] - token).double().square().sum()))
        spread.append(float((token.double() - y.double().mean(0)).square().sum()))
    assert report.subject.n_tokens == len(y) == 8 * 14
    assert report.sparsity.l0.value == pytest.approx(np.mean(l0))
    assert report.reconstruction.explained_variance_centred.value == pytest.approx(
        1 - sum(errors) / sum(spread), rel=1e-4
    )
    assert report.reconstruction.mse.value == pytest.approx(np.mean(errors), rel=1e-4)
    assert np.array_equal(latents.n_fired.numpy(), fired)
    assert report.sparsity.n_dead == (fired == 0).sum() >= 5
    assert report.sparsity.dead_fraction == report.sparsity.n_dead / 48
    assert report.sparsity.n_dense == (fired / len(y) > 0.1).sum()
    assert sum(report.sparsity.frequency_histogram.counts) == 48 - report.sparsity.n_dead
    assert sum(report.sparsity.l0_histogram.counts) == len(y)


def _naive_ce(model, contexts, exclusion, site, replace):
    batch = contexts.batch()
    keep = exclusion.keep_tokens(batch.tokens, batch.mask, model.special_ids)

    def edit(x, at):
        return torch.where(keep[..., None], replace(x), x)

    with model.edit({site: edit}):
        logits = model(batch).logits.double().log_softmax(-1)
    total, n = 0.0, 0
    for row in range(len(contexts)):
        for p in range(1, contexts.context_length - 1):
            if p in (8, 9):  # predicts the next document's BOS; is that BOS
                continue
            total -= float(logits[row, p, contexts.tokens[row, p + 1]])
            n += 1
    return total / n


def test_losses_equal_naive_full_runs(llama, measured):
    contexts, dictionary, exclusion, baselines, (report, _) = measured
    arms = {
        "clean": lambda x: x,
        "own": dictionary,
        "zero": torch.zeros_like,
        "mean": lambda x: baselines.mean.expand_as(x),
        "pca": lambda x: baselines.pca(x.flatten(0, 1)).view_as(x),
        "random": lambda x: baselines.random(x.flatten(0, 1)).view_as(x),
    }
    ce = {name: _naive_ce(llama, contexts, exclusion, POST, fn) for name, fn in arms.items()}
    found = {
        "clean": report.ablation.ce_clean,
        "own": report.loss.ce,
        "zero": report.ablation.ce_zero,
        "mean": report.ablation.ce_mean,
        "pca": report.baselines["pca"].loss.ce,
        "random": report.baselines["random"].loss.ce,
    }
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(ce, rel=1e-5)
    assert report.subject.n_scored_tokens == 8 * 12
    expected = (ce["mean"] - ce["own"]) / (ce["mean"] - ce["clean"])
    assert report.loss.ce_recovered_mean.value == pytest.approx(expected, rel=1e-4)
    expected = (ce["zero"] - ce["own"]) / (ce["zero"] - ce["clean"])
    assert report.loss.ce_recovered_zero.value == pytest.approx(expected, rel=1e-4)


def test_the_identity_costs_exactly_nothing(measured):
    report = measured[-1].report
    identity = report.baselines["identity"]
    assert identity.reconstruction.explained_variance_centred.value == 1
    assert identity.loss.ce == report.ablation.ce_clean
    assert identity.loss.kl.value == identity.loss.kl.high == 0
    for recovered in (identity.loss.ce_recovered_zero, identity.loss.ce_recovered_mean):
        assert recovered.value == recovered.low == recovered.high == 1


def test_baselines_have_as_many_active_as_the_dictionary(measured):
    report = measured[-1].report
    assert report.baselines["pca"].n_active == report.baselines["random"].n_active == 6
    assert (
        report.baselines["pca"].reconstruction.explained_variance_centred.value
        > report.baselines["random"].reconstruction.explained_variance_centred.value
    )


def test_positions_add_up_to_the_whole(measured):
    report = measured[-1].report
    assert [(p.first, p.last) for p in report.positions] == [(1, 1), (2, 3), (4, 7), (8, 15)]
    assert [p.n_tokens for p in report.positions] == [8, 16, 32, 56]
    mean = sum(p.n_tokens * p.reconstruction.mse.value for p in report.positions) / 112
    assert mean == pytest.approx(report.reconstruction.mse.value)
    assert all(p.loss.ce is not None and p.ce_clean is not None for p in report.positions)


def test_every_headline_figure_has_an_interval_around_it(measured):
    headline = measured[-1].report.headline()
    assert headline["dead_fraction"] > 0
    for name in ("l0", "explained_variance_centred", "pca_explained_variance_centred"):
        low, high = headline[f"{name}_interval"]
        assert low <= headline[name] <= high


def test_a_report_survives_json_and_gives_a_table(measured):
    report = measured[-1].report
    assert HealthReport.from_mapping(report.to_mapping()) == report
    table = report.table()
    assert [row[0] for row in table.rows] == ["dictionary", "pca", "random", "identity"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_same_measurement_gives_the_same_report(llama, measured):
    contexts, dictionary, exclusion, baselines, (report, _) = measured
    again = measure_health(
        llama, dictionary, contexts, exclusion=exclusion, baselines=baselines, options=QUICK
    ).report
    assert again.to_mapping() == report.to_mapping()


def test_excluded_positions_are_counted_by_reason_and_change_no_figure(llama):
    contexts, dictionary = ArrayContexts(llama), make_dictionary()
    norms = activations(llama, contexts, Exclusion(), [POST])[POST].norm(dim=-1)
    limit = float(norms.median())
    exclusion = Exclusion({POST: limit}, ratio=1.0)
    options = QUICK.model_copy(update={"scored_contexts": 0})
    report = measure_health(
        llama, dictionary, contexts, exclusion=exclusion, options=options
    ).report
    n_outliers = int((norms > limit).sum())
    assert report.excluded.n_first == 8  # the BOS at position 0 counts once
    assert report.excluded.n_special == 8  # the BOS at position 9
    assert report.excluded.n_outliers == n_outliers == 56
    assert report.subject.n_tokens == 8 * 16 - 8 - 8 - 56
    assert report.loss is None
    assert "scored_contexts is 0" in report.notes[0]
    assert "mean" not in report.baselines


def test_a_transcoder_is_measured_and_ablated_where_it_writes(llama):
    contexts, dictionary = ArrayContexts(llama), make_dictionary(IN, OUT)
    exclusion = exclude(llama, contexts, [IN, OUT])
    report = measure_health(llama, dictionary, contexts, exclusion=exclusion, options=QUICK).report
    values = activations(llama, contexts, exclusion, [IN, OUT])
    y, guess = values[OUT], dictionary(values[IN])
    expected = 1 - (y - guess).square().sum() / y.square().sum()
    assert report.reconstruction.explained_variance_uncentred.value == pytest.approx(
        float(expected), rel=1e-4
    )
    zero = _naive_ce(llama, contexts, exclusion, OUT, torch.zeros_like)
    assert report.ablation.ce_zero.value == pytest.approx(zero, rel=1e-5)
    read = {}

    def splice(x):
        return dictionary(read["x"])

    batch = contexts.batch()
    read["x"] = llama.read(batch, [IN])[IN]
    assert report.loss.ce.value == pytest.approx(
        _naive_ce(llama, contexts, exclusion, OUT, splice), rel=1e-5
    )
    assert report.baselines["identity"].loss.kl.value == 0


def test_the_loss_may_be_measured_on_fewer_contexts(llama):
    contexts, dictionary = ArrayContexts(llama), make_dictionary()
    exclusion = exclude(llama, contexts, [POST])
    options = QUICK.model_copy(update={"scored_contexts": 2, "batch_contexts": 2})
    report = measure_health(
        llama, dictionary, contexts, exclusion=exclusion, options=options
    ).report
    assert report.subject.n_scored_tokens == 2 * 12
    assert report.loss.ce.n == 2
    assert report.sparsity.l0.n == 8


def test_a_masked_model_is_scored_on_hidden_tokens():
    bert = miniature("bert")
    contexts, dictionary = ArrayContexts(bert), make_dictionary()
    exclusion = exclude(bert, contexts, [POST])
    report = measure_health(bert, dictionary, contexts, exclusion=exclusion, options=QUICK).report
    assert 5 < report.subject.n_scored_tokens < 40
    assert report.baselines["identity"].loss.kl.value == 0
    assert report.loss.kl.value > 0


def test_a_model_without_a_head_gets_a_report_without_losses():
    bert = miniature("bert")
    headless = LanguageModel(bert.hf.base_model, bert.tokenizer, name="minilm", weights_hash="0")
    contexts, dictionary = ArrayContexts(bert), make_dictionary()
    exclusion = exclude(bert, contexts, [POST])
    report = measure_health(
        headless, dictionary, contexts, exclusion=exclusion, options=QUICK
    ).report
    assert report.loss is None
    assert "no language-model head" in report.notes[0]
    assert report.sparsity.l0.value == 6


def test_a_longer_context_is_measured_alike(llama):
    contexts, dictionary = ArrayContexts(llama, n=2, length=40), make_dictionary()
    exclusion = exclude(llama, contexts, [POST])
    report = measure_health(llama, dictionary, contexts, exclusion=exclusion, options=QUICK).report
    assert report.positions[-1].last == 39


def test_a_dictionary_of_another_shape_is_refused(llama):
    contexts = ArrayContexts(llama)
    narrow = make_dictionary(width=16)
    with pytest.raises(ModelError, match="16 coordinates"):
        measure_health(llama, narrow, contexts, exclusion=Exclusion({POST: 1.0}))
    deep = make_dictionary(Site("resid_post", 30), Site("resid_post", 30))
    with pytest.raises(SiteError, match="no site"):
        measure_health(llama, deep, contexts, exclusion=Exclusion({POST: 1.0}))


def test_text_without_a_token_that_counts_is_refused(llama):
    contexts = ArrayContexts(llama)
    with pytest.raises(DataError, match="Not one token"):
        measure_health(
            llama, make_dictionary(), contexts, exclusion=Exclusion({POST: 1e-9}), options=QUICK
        )
