"""The pass over a frozen corpus finds what each dictionary says, position by position, however it is shared."""

import numpy as np
import pytest
import torch

from lmscope.atlas.census import (
    CensusPass,
    PassSizes,
    find_firings,
    median_norms,
    sample_batches,
)
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.shards import ShardReader
from lmscope.core.errors import DataError, ModelError
from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.running import Silent
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature
from lmscope.text.corpus import Corpus

LENGTH, N_LATENTS = 16, 48
RESIDUAL, MLP_IN, MLP_OUT = "resid_post@1", "mlp_in@2", "mlp_out@2"


def made(sparsity, reads=RESIDUAL, writes=RESIDUAL, dtype=torch.float32) -> Dictionary:
    draws = generator(5, "dictionary", sparsity.kind)
    config = DictionaryConfig(
        reads=(reads,),
        writes=(writes,),
        d_read=32,
        d_write=32,
        n_latents=N_LATENTS,
        sparsity=sparsity,
        apply_b_dec_to_input=reads == writes,
    )
    dictionary = Dictionary(config)
    state = {
        name: torch.randn(tensor.shape, generator=draws).abs()
        if name in ("threshold", "scale_in", "scale_out")
        else torch.randn(tensor.shape, generator=draws)
        for name, tensor in dictionary.state_dict().items()
    }
    return Dictionary.from_tensors(config, {n: t.to(dtype) for n, t in state.items()})


DICTIONARIES = {
    "topk": made(TopK(k=5)),
    "transcoder": made(JumpReLU(), MLP_IN, MLP_OUT),
    "batchtopk": made(BatchTopK(k=4)),
    "relu": made(ReLU()),
}


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


@pytest.fixture(scope="module")
def corpus(model, tmp_path_factory):
    texts = ["the quick brown fox " * n for n in (1, 7, 3)] + ["jumps over it" * 5]
    contexts = Corpus.from_texts(texts).contexts(model.tokenizer, LENGTH, bos_id=model.bos_id)
    return FrozenCorpus.freeze(tmp_path_factory.mktemp("corpus"), contexts, model.tokenizer)


@pytest.fixture(scope="module")
def exclusion(model, corpus):
    sites = [Site.parse(site) for site in (RESIDUAL, MLP_IN, MLP_OUT)]
    medians = median_norms(model, sites, all_of(model, corpus))
    return Exclusion(medians, ratio=1.2)  # so that some positions are outliers


def all_of(model, corpus):
    return sample_batches(model, corpus, n_tokens=10_000, batch_contexts=1)


def a_pass(model, corpus, exclusion, folder, names=tuple(DICTIONARIES), sizes=(2, 6)):
    dictionaries = {name: DICTIONARIES[name] for name in names}
    return CensusPass(model, dictionaries, corpus, exclusion, folder, PassSizes(*sizes))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", DICTIONARIES)
def test_shards_hold_what_the_dictionary_says_of_every_position_that_counts(
    model, corpus, exclusion, tmp_path, name
):
    a_pass(model, corpus, exclusion, tmp_path, [name]).spill(Silent())
    reader = ShardReader(tmp_path / name)
    dictionary = DICTIONARIES[name]
    dense = np.zeros((corpus.n_contexts * LENGTH, N_LATENTS), dtype=np.float32)
    counted = np.zeros(corpus.n_contexts * LENGTH, dtype=bool)
    read, write = dictionary.config.read_site, dictionary.config.write_site
    for context in range(corpus.n_contexts):
        rows = corpus.rows(context, 1)
        tokens, mask = torch.tensor(rows.tokens).long(), torch.tensor(rows.mask)
        found = model.read(Batch(tokens=tokens, mask=mask), [read, write])
        for place in range(1, LENGTH):
            if not rows.mask[0, place] or int(tokens[0, place]) in model.special_ids:
                continue
            norms = {site: found[site][0, place].norm() for site in (read, write)}
            if any(norms[s] > 1.2 * exclusion.median_norm[s] for s in norms):
                continue
            counted[context * LENGTH + place] = True
            dense[context * LENGTH + place] = dictionary.encode(found[read][0, place]).numpy()
    assert 0 < counted.sum() < (corpus.n_contexts * (LENGTH - 1))
    np.testing.assert_array_equal(reader.counted().ravel(), counted)
    found = reader.firings(0, N_LATENTS)
    again = np.zeros_like(dense)
    again[found.position, found.latent] = found.value
    assert (again > 0).sum() == len(found.value) > 0
    np.testing.assert_array_equal(again > 0, dense > 0)
    np.testing.assert_allclose(again, dense, rtol=1e-4, atol=1e-5)


def test_one_forward_pass_serves_all_dictionaries(model, corpus, exclusion, tmp_path, monkeypatch):
    batches, read = [], type(model).read

    def counting(self, batch, sites):
        batches.append((batch.shape, tuple(map(str, sites))))
        return read(self, batch, sites)

    monkeypatch.setattr(type(model), "read", counting)
    a_pass(model, corpus, exclusion, tmp_path).spill(Silent())
    assert sum(shape[0] for shape, _ in batches) == corpus.n_contexts
    assert {sites for _, sites in batches} == {(RESIDUAL, MLP_IN, MLP_OUT)}


def test_alone_together_shared_and_resumed_give_equal_bytes(model, corpus, exclusion, tmp_path):
    a_pass(model, corpus, exclusion, tmp_path / "whole").spill(Silent())
    whole = contents(tmp_path / "whole")
    assert len(whole) > 2 * len(DICTIONARIES)
    for rank in (1, 0, 2):
        shared = a_pass(model, corpus, exclusion, tmp_path / "shared")
        shared.spill(Silent(), rank=rank, n_ranks=3)
    assert contents(tmp_path / "shared") == whole
    for name in DICTIONARIES:
        a_pass(model, corpus, exclusion, tmp_path / "alone", [name]).spill(Silent())
    assert contents(tmp_path / "alone") == whole


def test_shards_that_are_there_are_not_computed_again(
    model, corpus, exclusion, tmp_path, monkeypatch
):
    one = a_pass(model, corpus, exclusion, tmp_path)
    one.spill(Silent())
    whole = contents(tmp_path)
    lost = sorted(one.shards_of("relu").iterdir())[1]
    lost.unlink()
    rows = []
    read = type(model).read
    monkeypatch.setattr(
        type(model),
        "read",
        lambda self, batch, sites: (
            rows.append(batch.row_ids().tolist()) or read(self, batch, sites)
        ),
    )
    a_pass(model, corpus, exclusion, tmp_path).spill(Silent())
    assert [number for part in rows for number in part] == list(range(6, 12))
    assert contents(tmp_path) == whole


def test_a_stop_between_forward_passes_leaves_whole_shards_only(model, corpus, exclusion, tmp_path):
    calls = []

    def pause():
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_pass(model, corpus, exclusion, tmp_path).spill(Silent(), pause=pause)
    assert len(contents(tmp_path)) == len(DICTIONARIES)
    a_pass(model, corpus, exclusion, tmp_path).spill(Silent())
    assert ShardReader(tmp_path / "topk").n_contexts == corpus.n_contexts


def test_figures_say_what_the_pass_took(model, corpus, exclusion, tmp_path):
    one = a_pass(model, corpus, exclusion, tmp_path)
    one.spill(Silent())
    figures = one.figures.to_mapping()
    assert figures["n_tokens"] == corpus.config.n_tokens
    assert figures["tokens_per_s"] > 0
    assert figures["time_of_forward"] > 1


def test_dictionaries_of_another_width_are_refused(model, corpus, exclusion, tmp_path):
    config = DICTIONARIES["topk"].config.model_copy(update={"d_read": 24, "d_write": 24})
    sizes = PassSizes(2, 6)
    with pytest.raises(ModelError, match="reads 'resid_post@1' with 24 coordinates"):
        CensusPass(model, {"other": Dictionary(config)}, corpus, exclusion, tmp_path, sizes)


def test_activations_that_are_not_finite_are_refused(model, corpus, tmp_path):
    broken = miniature("llama")
    broken.hf.model.layers[0].mlp.down_proj.weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite"):
        median_norms(broken, [Site.parse(RESIDUAL)], all_of(broken, corpus))


def test_the_median_norm_is_that_of_the_positions_that_count(model, corpus):
    site = Site.parse(RESIDUAL)
    norms = []
    for batch in all_of(model, corpus):
        keep = batch.mask.clone()
        keep[:, 0] = False
        keep &= batch.tokens != model.bos_id
        norms.append(model.read(batch, [site])[site][keep].norm(dim=-1))
    wanted = torch.cat(norms).median()
    found = median_norms(model, [site], all_of(model, corpus))
    assert found == {site: pytest.approx(float(wanted), rel=1e-5)}


@pytest.mark.parametrize(
    ("n_tokens", "wanted"),
    [(1, [0]), (4 * LENGTH, [0, 8]), (6 * LENGTH, [0, 6, 12]), (10_000, list(range(0, 18, 2)))],
)
def test_sampled_batches_lie_at_even_distances(model, corpus, n_tokens, wanted):
    batches = list(sample_batches(model, corpus, n_tokens=n_tokens, batch_contexts=2))
    assert corpus.n_contexts == 19
    assert [batch.row_ids().tolist() for batch in batches] == [[i, i + 1] for i in wanted]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["topk", "relu"])
def test_firings_of_no_token_are_none(name, dtype):
    dictionary = made(DICTIONARIES[name].config.sparsity, dtype=dtype)
    assert [len(part) for part in find_firings(dictionary, torch.zeros(0, 32))] == [0, 0, 0]


def test_half_precision_topk_fires_as_encode_says():
    dictionary = made(TopK(k=5), dtype=torch.bfloat16)
    x = torch.randn(30, 32, generator=generator(1, "x"))
    found = find_firings(dictionary, x)
    dense = np.zeros((30, N_LATENTS), dtype=np.float32)
    dense[found.token, found.latent] = found.value
    np.testing.assert_array_equal(dense, dictionary.encode(x).float().numpy())
