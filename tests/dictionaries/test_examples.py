from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.examples import ExampleOptions, telling_latents
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature

POST = Site("resid_post", 0)
OPTIONS = ExampleOptions(
    batch_contexts=5, n_ranked=4, n_shown=2, window=3, min_density=0.0, max_density=1.0
)


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    mask: np.ndarray
    documents: np.ndarray
    index: np.ndarray


class ArrayContexts:
    context_length = 10

    def __init__(self, n=12):
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(20, 32, size=(n, 10)).astype(np.int32)
        self.documents = np.repeat(np.arange(n)[:, None] // 2, 10, axis=1)
        self.mask = np.ones((n, 10), dtype=bool)
        self.mask[-1, 6:] = False

    def __len__(self):
        return len(self.tokens)

    def rows(self, indices, /):
        i = np.asarray(indices)
        return Rows(self.tokens[i], self.mask[i], self.documents[i], i)


@pytest.fixture(scope="module")
def setting():
    model = miniature("llama")
    config = DictionaryConfig(
        reads=(str(POST),), writes=(str(POST),), d_read=32, d_write=32, n_latents=24,
        sparsity=TopK(k=3),
    )  # fmt: skip
    dictionary = Dictionary(config).requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    dictionary.W_enc.copy_(torch.randn(24, 32, generator=draws))
    dictionary.W_dec.copy_(dictionary.W_enc)
    return model, dictionary, ArrayContexts(), Exclusion({POST: 1e6})


def _dense(model, dictionary, contexts):
    """Latents [context, position, latent]; 0 at positions that do not count."""
    batch = Batch(tokens=torch.tensor(contexts.tokens).long(), mask=torch.tensor(contexts.mask))
    latents = dictionary.encode(model.read(batch, [POST])[POST])
    keep = torch.tensor(contexts.mask)
    keep[:, 0] = False
    return latents * keep[..., None]


def _naive(dense, contexts, latent, n_ranked=4):
    """Score and peaks of one latent from the whole table of latents."""
    peaks = []
    for context in range(len(contexts)):
        value, position = max((float(v), -p) for p, v in enumerate(dense[context, :, latent]))
        if value > 0:
            peaks.append((value, context, -position))
    peaks = sorted(peaks, key=lambda peak: (-peak[0], peak[1]))[:n_ranked]
    tokens = Counter(int(contexts.tokens[c, p]) for _, c, p in peaks)
    documents = {int(contexts.documents[c, p]) for _, c, p in peaks}
    evenness = sum(v for v, _, _ in peaks) / n_ranked / peaks[0][0]
    share = tokens.most_common(1)[0][1] / len(peaks)
    return len(documents) / n_ranked * share * evenness, peaks


def test_scores_and_examples_equal_those_from_the_whole_table(setting):
    model, dictionary, contexts, exclusion = setting
    found = telling_latents(model, dictionary, contexts, exclusion=exclusion, n=24, options=OPTIONS)
    dense = _dense(model, dictionary, contexts)
    assert len(found) > 3
    for item in found:
        score, peaks = _naive(dense, contexts, item.latent)
        assert item.score == pytest.approx(score, rel=1e-5)
        assert [e.context for e in item.examples] == [c for _, c, _ in peaks[:2]]
        for example, (value, context, position) in zip(item.examples, peaks, strict=False):
            assert example.position + example.peak == position
            assert example.activations[example.peak] == pytest.approx(value, rel=1e-5)
            stretch = slice(example.position, example.position + len(example.tokens))
            assert list(example.tokens) == contexts.tokens[context, stretch].tolist()
            expected = dense[context, stretch, item.latent]
            assert torch.allclose(torch.tensor(example.activations), expected, atol=1e-5)
            assert len(example.tokens) <= 7
            assert contexts.mask[context, stretch].all()


def test_the_best_comes_first_and_peak_tokens_do_not_repeat(setting):
    model, dictionary, contexts, exclusion = setting
    found = telling_latents(model, dictionary, contexts, exclusion=exclusion, n=24, options=OPTIONS)
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert len({item.peak_token for item in found}) == len(found)
    dense = _dense(model, dictionary, contexts)
    best = max(_naive(dense, contexts, i)[0] for i in range(24) if (dense[..., i] > 0).any())
    assert scores[0] == pytest.approx(best, rel=1e-5)


def test_latents_outside_the_range_of_densities_are_left_out(setting):
    model, dictionary, contexts, exclusion = setting
    options = OPTIONS.model_copy(update={"min_density": 0.05, "max_density": 0.2})
    found = telling_latents(model, dictionary, contexts, exclusion=exclusion, n=24, options=options)
    frequency = (_dense(model, dictionary, contexts) > 0).sum((0, 1)) / (11 * 9 + 5)
    assert found
    for item in found:
        assert item.density == pytest.approx(float(frequency[item.latent]))
        assert 0.05 <= item.density <= 0.2


def test_batches_of_another_size_give_the_same(setting):
    model, dictionary, contexts, exclusion = setting

    def at(size):
        options = OPTIONS.model_copy(update={"batch_contexts": size})
        found = telling_latents(
            model, dictionary, contexts, exclusion=exclusion, n=5, options=options
        )
        return [(item.latent, [e.context for e in item.examples]) for item in found]

    assert at(1) == at(12)
