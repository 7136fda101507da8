"""Circuits of real models on real prompts: nothing is lost, whatever is replaced.

LMSCOPE_E2E_DICTIONARIES may name folders of dictionaries of SmolLM2, with the system's path separator between them.
"""

import os
from pathlib import Path

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.edges import flow_edges
from lmscope.circuits.frozen import freeze
from lmscope.circuits.replacement import Replacement
from lmscope.circuits.scores import ScoreTarget, score_pairs
from lmscope.circuits.targets import LogitTarget
from lmscope.core.errors import ModelError
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.store import is_stored

pytestmark = pytest.mark.e2e
PROMPTS = (
    "The capital of France is",
    "When Mary and John went to the store, John gave a drink to",
    "def add(a, b):\n    return (a +",
)
NAMES = ("smollm2-135m-instruct-q4", "gemma3-270m-q4")


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    if not is_stored(request.param):
        pytest.skip(f"`lmscope models get {request.param}` has not been run")
    return LanguageModel.load(request.param, dtype="float32")


def dictionaries_of(model):
    """At most one for each written site: transcoders before SAEs."""
    folders = os.environ.get("LMSCOPE_E2E_DICTIONARIES", "")
    if not folders or "smollm2" not in model.name:
        return []
    paths = [p for folder in folders.split(os.pathsep) for p in sorted(Path(folder).iterdir())]
    found = [Dictionary.load(path) for path in paths]
    found.sort(key=lambda one: not one.config.is_transcoder)
    chosen = {}
    for one in found:
        chosen.setdefault(one.config.write_site, one)
    return list(chosen.values())


@pytest.fixture(scope="module", params=["gates", "half_rule"])
def replacement(request, model):
    return Replacement(model, dictionaries_of(model), ReplacementOptions(mlp=request.param))


def ids_of(model, text):
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = model.tokenizer.bos_token_id
    return ids if bos is None else [bos, *ids]


def uncapped(model, logits):
    cap = model.weights.logit_softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_ledger_holds_and_the_logits_are_the_models(model, replacement, prompt):
    ids = ids_of(model, prompt)
    frozen = freeze(replacement, ids)
    real = model(Batch(tokens=torch.tensor([ids]))).logits[0, -1]
    spread = float(real.max() - real.min())
    mine = uncapped(model, frozen.logits(-1))
    assert float((mine - real).abs().max()) < 1e-4 * spread
    first, second = real.topk(2).indices.tolist()
    assert int(mine.argmax()) == first
    for threshold in (0.0, 0.01, 0.1):
        options = TraceOptions(threshold=threshold)
        found = attribute(frozen, LogitTarget(first, against=second), options)
        print(repr(prompt), threshold, found.n_kept, found.ledger.residual, found.ledger.tolerance)
        assert abs(found.ledger.residual) <= found.ledger.tolerance
        assert abs(found.ledger.residual) < 1e-5 * found.ledger.sizes


def test_flows_carry_the_target(model, replacement):
    frozen = freeze(replacement, ids_of(model, PROMPTS[1]))
    first, second = frozen.logits(-1).topk(2).indices.tolist()
    found = attribute(frozen, LogitTarget(first, against=second), TraceOptions(threshold=0.05))
    edges = flow_edges(found)
    out = torch.zeros(len(edges.node)).index_add_(0, edges.source, edges.flow)
    expected = torch.tensor(
        [
            float(found.sites[site].attribution[node])
            for site, node in zip(edges.sites, edges.node.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(out, expected, atol=1e-6 * found.ledger.sizes, rtol=1e-4)


def test_scores_are_sums_of_pairs(model, replacement):
    ids = ids_of(model, PROMPTS[1])
    frozen = freeze(replacement, ids)
    for layer in (0, model.n_layers // 2, model.n_layers - 1):
        pairs = score_pairs(frozen, layer, 1, -1, len(ids) - 3)
        values = model.read(Batch(tokens=torch.tensor([ids])), [f"scores@{layer}"])
        (real,) = values.values()
        assert pairs.value == pytest.approx(float(real[0, 1, -1, len(ids) - 3]), rel=1e-3, abs=1e-3)
        found = attribute(frozen, ScoreTarget(layer, 1, -1, len(ids) - 3))
        assert abs(found.ledger.residual) <= found.ledger.tolerance


def test_an_encoder_is_refused():
    if not is_stored("minilm-l6"):
        pytest.skip("`lmscope models get minilm-l6` has not been run")
    with pytest.raises(ModelError, match="is an encoder"):
        Replacement(LanguageModel.load("minilm-l6"))
