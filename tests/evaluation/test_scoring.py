from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError, RecipeError, SiteError
from lmscope.core.site import Site
from lmscope.evaluation.losses import CleanPass, ask, resume_site
from lmscope.evaluation.rows import spread, text_rows
from lmscope.evaluation.scoring import (
    ScoringOptions,
    ce_recovered,
    mean_ce,
    mean_kl,
    score_edits,
    spliced,
)
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, Resamples
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature

POST = Site("resid_post", 1)
QUICK = BootstrapOptions(n_resamples=20)


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    mask: np.ndarray
    documents: np.ndarray
    index: np.ndarray


class ArrayContexts:
    """Six contexts of 12 tokens: a document changes at position 7 (after BOS), the last is padded."""

    context_length = 12

    def __init__(self, model, n=6, bos=True):
        rng = np.random.default_rng(0)
        shape = (n, self.context_length)
        self.tokens = rng.integers(20, 60, size=shape).astype(np.int32)
        self.mask = np.ones(shape, dtype=bool)
        self.documents = np.zeros(shape, dtype=np.int32)
        self.documents[:, 7:] = 1
        self.documents[1, 4:7] = 2  # a document that begins without BOS
        if bos:
            self.tokens[:, 7] = model.bos_id
            self.tokens[0, 0] = model.bos_id
        self.mask[-1, 9:] = False
        self.documents[-1, 9:] = -1

    def __len__(self):
        return len(self.tokens)

    def rows(self, indices, /):
        i = np.asarray(indices)
        return Rows(self.tokens[i], self.mask[i], self.documents[i], i)


@pytest.fixture(scope="module")
def llama():
    return miniature("llama")


def _double(x, at):
    return 2 * x


def _same(x, at):
    return x


def _counted(model, contexts, row):
    """By hand: kept input (not first, not special), then text of the same document."""
    for p in range(1, contexts.context_length - 1):
        now, after = contexts.tokens[row, p], contexts.tokens[row, p + 1]
        if not contexts.mask[row, p + 1] or now in model.special_ids or after in model.special_ids:
            continue
        if contexts.documents[row, p] == contexts.documents[row, p + 1]:
            yield p


def test_causal_losses_equal_a_naive_loop(llama):
    contexts = ArrayContexts(llama)
    keep_all = Exclusion()
    options = ScoringOptions(batch_contexts=4, bootstrap=QUICK)
    scores = score_edits(
        llama, contexts, {"double": {POST: _double}}, exclusion=keep_all, options=options
    )

    tokens, mask = torch.tensor(contexts.tokens).long(), torch.tensor(contexts.mask)
    batch = Batch(tokens=tokens, mask=mask)
    keep = keep_all.keep_tokens(tokens, mask, llama.special_ids)

    def edit(x, at):
        return torch.where(keep[..., None], 2 * x, x)

    clean = llama(batch).logits.double().log_softmax(-1)
    with llama.edit({POST: edit}):
        edited = llama(batch).logits.double().log_softmax(-1)
    ce_clean = ce = kl = n = 0.0
    for row in range(6):
        for p in _counted(llama, contexts, row):
            after = contexts.tokens[row, p + 1]
            ce_clean -= float(clean[row, p, after])
            ce -= float(edited[row, p, after])
            kl += float((clean[row, p].exp() * (clean[row, p] - edited[row, p])).sum())
            n += 1
    # A full row counts inputs 1..5 (6 predicts the BOS of another document) and 8..10: 8. Row 1
    # counts 7: input 3 would predict another document. Row 5 counts 1..5 only.
    assert n == 4 * 8 + 7 + 5
    resamples = scores.resamples()
    assert resamples.total("n")[0] == n
    assert mean_ce(resamples, "clean").value == pytest.approx(ce_clean / n, rel=1e-5)
    assert mean_ce(resamples, "double").value == pytest.approx(ce / n, rel=1e-5)
    assert mean_kl(resamples, "double").value == pytest.approx(kl / n, rel=1e-4)
    assert mean_kl(resamples, "double").value > 0.01


def test_position_sums_add_up_to_the_whole(llama):
    scores = score_edits(llama, ArrayContexts(llama), {"d": {POST: _double}}, exclusion=Exclusion())
    assert scores.edges == (0, 1, 2, 4, 8)
    resamples = scores.resamples()
    by_bucket = sum(resamples.total("ce/d", b) for b in range(5))
    assert np.allclose(by_bucket, resamples.total("ce/d"))
    assert resamples.total("n", 0)[0] == 0  # position 0 never counts


def test_an_identity_edit_costs_exactly_nothing(llama):
    scores = score_edits(
        llama, ArrayContexts(llama), {"same": {POST: _same}}, exclusion=Exclusion()
    )
    assert np.array_equal(scores.sums.columns["ce/same"], scores.sums.columns["ce/clean"])
    assert not scores.sums.columns["kl/same"].any()


def test_scores_do_not_depend_on_the_batch_size(llama):
    def at(size):
        options = ScoringOptions(batch_contexts=size, bootstrap=QUICK)
        return score_edits(
            llama,
            ArrayContexts(llama),
            {"d": {POST: _double}},
            exclusion=Exclusion(),
            options=options,
        ).sums.columns["ce/d"]

    assert np.allclose(at(1), at(6), rtol=1e-5)


@pytest.mark.parametrize(
    ("edited", "start"),
    [
        ("resid_post@1", "resid_post@1"),
        ("mlp_out@1", "resid_pre@1"),
        ("attn_out@2", "resid_pre@2"),
        ("resid_mid@1", "resid_pre@1"),
        ("final", "resid_pre@2"),
        ("resid_pre@0", None),
        ("embed", None),
    ],
)
def test_runs_resume_right_below_the_edit_and_give_what_a_full_run_gives(llama, edited, start):
    site = Site.parse(edited)
    found = resume_site(llama, [site])
    assert (None if found is None else str(found)) == start
    (rows,) = text_rows(ArrayContexts(llama), None, 6, 100)
    keep = Exclusion().keep_tokens(rows.tokens, rows.batch.mask, llama.special_ids)
    question = ask(llama, rows, keep, 0.15, 0)
    full = CleanPass(llama, question, None).losses({site: _double})
    if found is not None:
        value = llama.read(rows.batch, [found])[found]
        resumed = CleanPass(llama, question, (found, value)).losses({site: _double})
        assert torch.equal(full.ce, resumed.ce)
        assert torch.equal(full.kl, resumed.kl)


def test_the_resume_site_lies_below_the_lowest_of_several_edits(llama):
    assert resume_site(llama, [Site("resid_post", 2), Site("mlp_out", 1)]) == Site("resid_pre", 1)
    assert resume_site(llama, []) is None


def test_a_splice_leaves_excluded_positions_bit_clean(llama):
    contexts = ArrayContexts(llama)
    (rows,) = text_rows(contexts, None, 6, 100)
    clean = llama.read(rows.batch, [POST])[POST]
    keep = Exclusion().keep_tokens(rows.tokens, rows.batch.mask, llama.special_ids)
    norms = clean.norm(dim=-1)
    limit = float(norms[keep].median())
    exclusion = Exclusion({POST: limit}, ratio=1.0)  # half of the kept positions are outliers
    with llama.edit({POST: spliced(_double, keep, exclusion)}):
        edited = llama.read(rows.batch, [POST])[POST]
    acts = keep & (norms <= limit)
    assert 0 < acts.sum() < keep.sum()
    assert torch.equal(edited[~acts], clean[~acts])
    assert torch.equal(edited[acts], 2 * clean[acts])


def test_an_attention_pattern_cannot_be_spliced(llama):
    with pytest.raises(SiteError, match="each pair of positions"):
        score_edits(
            llama, ArrayContexts(llama), {"p": {Site("pattern", 1): _same}}, exclusion=Exclusion()
        )


def test_masked_models_guess_hidden_tokens_which_are_the_same_in_every_batch_size():
    bert = miniature("bert")
    contexts = ArrayContexts(bert, bos=False)

    def hidden(size):
        found = []
        for rows in text_rows(contexts, None, size, 100):
            keep = Exclusion().keep_tokens(rows.tokens, rows.batch.mask, bert.special_ids)
            question = ask(bert, rows, keep, 0.3, 5)
            assert torch.equal(question.targets, rows.tokens)
            assert (question.batch.tokens[question.counted] == bert.tokenizer.mask_token_id).all()
            assert torch.equal(
                question.batch.tokens[~question.counted], rows.tokens[~question.counted]
            )
            assert not (question.counted & ~keep).any()
            found.append(question.counted)
        return torch.cat(found)

    assert torch.equal(hidden(1), hidden(6))
    assert 5 < hidden(6).sum() < 40
    scores = score_edits(bert, contexts, {"d": {POST: _double}}, exclusion=Exclusion())
    assert mean_kl(scores.resamples(), "d").value > 0


def test_a_model_without_a_head_is_refused():
    bert = miniature("bert")
    headless = LanguageModel(
        bert.hf.base_model, bert.tokenizer, name="headless", weights_hash=bert.weights_hash
    )
    with pytest.raises(ModelError, match="no language-model head"):
        score_edits(headless, ArrayContexts(bert, bos=False), {}, exclusion=Exclusion())


def test_an_arm_called_clean_is_refused(llama):
    with pytest.raises(RecipeError, match="another name"):
        score_edits(llama, ArrayContexts(llama), {"clean": {}}, exclusion=Exclusion())


class _Empty(ArrayContexts):
    def __len__(self):
        return 0


def test_no_contexts_are_refused(llama):
    with pytest.raises(DataError, match="at least one context"):
        score_edits(llama, _Empty(llama), {}, exclusion=Exclusion())


def test_the_recovered_share_is_worked_out_by_hand():
    # Two contexts of 1 and 3 tokens. Sums: clean 2 + 6 = 8, zero 10 + 30 = 40, arm 3 + 13 = 16.
    # (40 - 16) / (40 - 8) = 0.75; the mean of the contexts' own shares (7/8, 17/24) would be 0.79.
    sums = ContextSums(2)
    sums.columns = {
        "n": np.array([[1.0], [3.0]]),
        "ce/clean": np.array([[2.0], [6.0]]),
        "ce/zero": np.array([[10.0], [30.0]]),
        "ce/arm": np.array([[3.0], [13.0]]),
    }
    resamples = Resamples(sums, BootstrapOptions(n_resamples=50), 0)
    assert ce_recovered(resamples, "arm", "zero").value == 0.75
    assert ce_recovered(resamples, "clean", "zero").value == 1
    assert ce_recovered(resamples, "zero", "zero").value == 0
    assert mean_ce(resamples, "arm").value == 4
    low, high = (
        ce_recovered(resamples, "arm", "zero").low,
        ce_recovered(resamples, "arm", "zero").high,
    )
    assert (low, high) == (17 / 24, 7 / 8)


def test_nothing_is_recovered_from_an_ablation_that_costs_nothing():
    sums = ContextSums(1)
    sums.columns = {name: np.ones((1, 1)) for name in ("n", "ce/clean", "ce/zero", "ce/arm")}
    assert ce_recovered(Resamples(sums, QUICK, 0), "arm", "zero") is None


def test_contexts_are_taken_at_even_distances_and_grouped_into_units(llama):
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 5).tolist() == [0, 1, 2]
    units = torch.cat([rows.unit for rows in text_rows(ArrayContexts(llama), None, 4, 3)])
    assert units.tolist() == [0, 0, 1, 1, 2, 2]
    rows = torch.cat([rows.batch.rows for rows in text_rows(ArrayContexts(llama), 3, 2, 100)])
    assert rows.tolist() == [0, 2, 4]
