"""Attention scores by kinds of writers, against the pairs one by one."""

import pytest
import torch

from lmscope.circuits.config import ReplacementOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.ledger import LedgerError
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.score_groups import KINDS, score_groups, written_by_kind
from lmscope.circuits.scores import score_pairs
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature

KIND_OF = {"token": "token", "position": "position", "feature": "feature", "constant": "constant"}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def run(request, tokens, make_mixed):
    dictionaries = make_mixed(stream=request.param == "llama")
    options = ReplacementOptions(dtype="float64")
    return freeze(Replacement(miniature(request.param), dictionaries, options), tokens)


@pytest.mark.parametrize(("layer", "head", "query"), [(0, 1, 3), (1, 0, 6), (2, 3, -1)])
def test_groups_are_the_pairs_of_each_score_put_together(run, layer, head, query):
    found = score_groups(run, layer, head, query)
    for key in range(found.scores.shape[0]):
        single = score_pairs(run, layer, head, query, key)
        expected = torch.zeros_like(found.pairs[..., 0])
        for i, at_query in enumerate(single.queries):
            for j, at_key in enumerate(single.keys):
                row = KINDS.index(KIND_OF.get(at_query.kind, "other"))
                column = KINDS.index(KIND_OF.get(at_key.kind, "other"))
                expected[row, column] += single.pairs[i, j]
        assert torch.allclose(found.pairs[..., key], expected, atol=1e-10)
        assert float(found.scores[key]) == pytest.approx(single.value, abs=1e-10)


def test_scores_are_those_of_the_model(run):
    model = run.replacement.model
    real = model.read(Batch(tokens=run.tokens[None]), ["scores@1"])[Site("scores", 1)][0, 2, 5, :6]
    assert torch.allclose(score_groups(run, 1, 2, 5).scores, real.double(), atol=1e-4)


def test_positions_write_nothing_in_a_model_that_turns_instead(run):
    found = score_groups(run, 0, 0, 4)
    turns = run.pos_embed is None
    assert (found.of("position", "position").abs().max() == 0) == turns
    assert (found.of("token", "token").abs().max() > 0).item()


def test_what_does_not_sum_to_the_scores_is_refused(run):
    written = written_by_kind(run, 1)
    found = score_groups(run, 1, 0, 4, written)
    assert torch.allclose(found.pairs.sum((0, 1)), found.scores, atol=1e-10)
    with pytest.raises(LedgerError, match="Pairs by kind miss scores"):
        score_groups(run, 1, 0, 4, written * 1.01)
