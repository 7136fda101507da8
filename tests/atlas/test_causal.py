"""The causal check: a planted latent keeps its promise, a wrong promise is not kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lmscope.atlas.causal import CausalOptions, check_change, check_record, silent_rows
from lmscope.atlas.record import LatentRecord, Weighted
from lmscope.atlas.text import CorpusDocument
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.steering import (
    Steering,
    ablate,
    clamp,
    decoder_rows,
    random_directions,
)
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.batch import Batch
from lmscope.models.generate import GenerationOptions, generate, token_batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature

SITE = Site("resid_post", 1)
LATENT = 5
N_CONTEXTS, LENGTH = 6, 24
OPTIONS = CausalOptions(
    n_tokens=12,
    n_directions=4,
    n_generated=6,
    n_prompt=4,
    n_generated_directions=2,
    batch_contexts=3,
    bootstrap=BootstrapOptions(n_resamples=100),
)


class LetterCorpus:
    """Random letters, in contexts of 24."""

    digest = "letters"
    context_length = LENGTH
    n_contexts = N_CONTEXTS

    def __init__(self) -> None:
        self.ids = np.random.default_rng(0).integers(20, 80, N_CONTEXTS * LENGTH).astype(np.int32)

    def tokens(self, start: int, length: int) -> np.ndarray:
        return self.ids[start : start + length]

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])

    def document(self, start: int) -> CorpusDocument | None:
        return None


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return miniature("llama")


@pytest.fixture(scope="module")
def corpus() -> LetterCorpus:
    return LetterCorpus()


@pytest.fixture(scope="module")
def sae(model, corpus) -> Dictionary:
    """Random rows; that of latent 5 is the direction that raises token 40 on the way to the logits.

    It is the gradient of the token's log-probability at the site, so the model's own layers above the
    site take part in it.
    """
    config = DictionaryConfig(
        reads=(str(SITE),), writes=(str(SITE),), d_read=32, d_write=32, n_latents=24,
        sparsity=TopK(k=3),
    )  # fmt: skip
    rows = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    batch = token_batch(
        model, [[model.bos_id, *corpus.tokens(i * LENGTH, LENGTH).tolist()] for i in range(6)]
    )
    nudge = torch.zeros(32, requires_grad=True)
    with model.edit({SITE: lambda x, at: x + nudge}):
        log_probs = model(batch).logits.log_softmax(-1)
    log_probs[:, 1:, 40].mean().backward()
    rows[LATENT] = nudge.grad
    rows = torch.nn.functional.normalize(rows)
    state = Dictionary(config).state_dict()
    return Dictionary.from_tensors(config, state | {"W_dec": rows, "W_enc": rows})


RECORD = LatentRecord(
    latent=LATENT, n_fired=9, density=0.1, mean=1.0, max=4.0, histogram=(), n_stretches=3,
    n_documents=1, document_share=1.0, groups=(), silent=(0, 12, 24, 60, 84, 120), tokens=(),
    peak_tokens=(Weighted(33, 9.0),), top_logits=(Weighted(40, 3.0),), bottom_logits=(),
    neighbours=(), coactive=(),
)  # fmt: skip


def record(**changes) -> LatentRecord:
    return replace(RECORD, **changes)


def test_a_planted_promise_is_kept_beyond_every_random_direction(model, sae, corpus) -> None:
    found = check_record(model, sae, record(), corpus, options=OPTIONS)
    assert found.change == clamp(LATENT, 4.0)
    kept = found.log_prob["top_logits"]
    assert kept.is_raised
    assert not kept.is_lowered
    assert (kept.n_at_least, kept.n_directions) == (0, 4)
    assert kept.steered.value > kept.clean.value
    assert found.kl.clean.value == 0 < found.kl.steered.value


def test_pushing_the_other_way_lowers_the_promised_token(model, sae, corpus) -> None:
    rows = silent_rows(model, record(), corpus, 12)
    found = check_change(
        model, sae, clamp(LATENT, -4.0), rows, {"token": [40]}, options=OPTIONS
    ).log_prob["token"]
    assert found.is_lowered
    assert not found.is_raised
    assert found.n_at_least == 4


def test_figures_are_the_means_that_a_plain_loop_finds(model, sae, corpus) -> None:
    promised = {"pair": (40, 33), "other": (50,)}
    found = check_record(model, sae, record(), corpus, promised=promised, options=OPTIONS)
    rows = silent_rows(model, record(), corpus, 12)
    directions = [random_directions(decoder_rows(sae, [found.change]), 0, i) for i in range(4)]
    sums = {(name, arm): 0.0 for name in promised for arm in ("clean", "steered", "control")}
    kl = n = 0.0
    for row in rows:
        batch = Batch(tokens=torch.tensor([row]))
        clean = model(batch).logits[0].log_softmax(-1)
        n += len(row) - 1
        arms = [("clean", None, 1.0), ("steered", Steering(model, sae, [found.change]), 1.0)]
        for d in directions:
            arms.append(("control", Steering(model, sae, [found.change], directions=d), 1 / 4))
        for arm, steering, weight in arms:
            with model.edit({} if steering is None else steering.edits(batch)):
                log_probs = model(batch).logits[0].log_softmax(-1)
            for name, tokens in promised.items():
                chance = sum(log_probs[1:, t].exp() for t in tokens)
                sums[name, arm] += weight * float(torch.log(chance).sum())
            if arm == "steered":
                kl += float((clean.exp() * (clean - log_probs))[1:].sum())
    for name in promised:
        contrast = found.log_prob[name]
        for arm in ("clean", "steered", "control"):
            assert getattr(contrast, arm).value == pytest.approx(sums[name, arm] / n, rel=1e-4)
        difference = (sums[name, "steered"] - sums[name, "control"]) / n
        assert contrast.difference.value == pytest.approx(difference, rel=1e-3, abs=1e-4)
    assert found.kl.steered.value == pytest.approx(kl / n, rel=1e-3)


def test_generated_text_is_counted(model, sae, corpus) -> None:
    promised = {"wide": tuple(range(30, 60))}
    found = check_record(model, sae, record(), corpus, promised=promised, options=OPTIONS)
    prompts = [row[:5] for row in silent_rows(model, record(), corpus, 12)]
    how = GenerationOptions(n_tokens=6, temperature=1.0, stop_at_end=False)
    hits = fires = 0
    for one in generate(
        model, token_batch(model, prompts), how, Steering(model, sae, [found.change]).edits
    ):
        hits += sum(30 <= token < 60 for token in one.tokens)
        text = Batch(tokens=torch.tensor([one.prompt + one.tokens]))
        latents = sae.encode(model.read(text, [SITE])[SITE])[0, -6:, LATENT]
        fires += int((latents > 0).sum())
    assert found.written["wide"].steered.value == pytest.approx(hits / 36)
    assert found.fires is not None
    assert found.fires.steered.value == pytest.approx(fires / 36)


def test_nothing_is_generated_when_none_is_wanted(model, sae, corpus) -> None:
    options = OPTIONS.model_copy(update={"n_generated": 0})
    found = check_record(model, sae, record(), corpus, options=options)
    assert found.written == {}
    assert found.fires is None
    assert found.to_mapping()["fires"] is None


def test_equal_checks_are_equal(model, sae, corpus) -> None:
    first, again = (
        check_record(model, sae, record(), corpus, options=OPTIONS).to_mapping() for _ in range(2)
    )
    assert first == again
    assert set(first["log_prob"]) == {"top_logits", "peak_tokens"}


def test_ablating_where_it_is_silent_changes_nothing(model, sae, corpus) -> None:
    rows = silent_rows(model, record(), corpus, 12)
    batch = token_batch(model, rows)
    fires = sae.encode(model.read(batch, [SITE])[SITE])[..., LATENT] > 0
    still = [row for row, one in zip(rows, fires, strict=True) if not bool(one[1:].any())]
    assert len(still) >= 2
    found = check_change(model, sae, ablate(LATENT), still, {"token": [40]}, options=OPTIONS)
    assert found.kl.steered.value == 0
    assert found.log_prob["token"].difference.value == 0


def test_stretches_end_with_their_context(model, corpus) -> None:
    rows = silent_rows(model, record(silent=(0, 20)), corpus, 12)
    assert [len(row) for row in rows] == [13, 5]
    assert rows[1] == [model.bos_id, *corpus.ids[20:24].tolist()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_fired": 0}, "never fired"),
        ({"silent": ()}, "no stretch of text in which it is silent"),
        ({"top_logits": (), "peak_tokens": ()}, "Nothing is promised of latent 5"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(model, sae, corpus, changes, message) -> None:
    with pytest.raises(DataError, match=message):
        check_record(model, sae, record(**changes), corpus, options=OPTIONS)
