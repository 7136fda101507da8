"""Real dictionaries on a real (miniature) model: together equals alone, resumed equals unbroken."""

import random

import pytest
import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.stream import ActivationStream
from lmscope.core.site import Site
from lmscope.dictionaries.config import (
    AuxK,
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    ObjectiveConfig,
    TopK,
)
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature
from lmscope.text.corpus import Corpus
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import TrainingConfig
from lmscope.training.loop import fit

STEPS = 60
RESIDUAL, MLP = "resid_post@1", "mlp_out@1"
STREAM = StreamConfig(
    batch_tokens=32, block_contexts=4, forward_contexts=2, calibration_tokens=300, passes=3
)
CONFIGS = {
    "topk": (RESIDUAL, RESIDUAL, TopK(k=4), ObjectiveConfig(dead_after_tokens=300)),
    "batchtopk": (
        MLP,
        MLP,
        BatchTopK(k=4),
        ObjectiveConfig(auxiliary=AuxK(), dead_after_tokens=300),
    ),
    "jumprelu": (RESIDUAL, MLP, JumpReLU(), ObjectiveConfig(unit_norm_decoder=True)),
}


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


@pytest.fixture(scope="module")
def contexts(model):
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=200)) for _ in range(12)]
    corpus = Corpus.from_texts(texts)
    return corpus.contexts(model.tokenizer, 16, bos_id=model.bos_id)


@pytest.fixture
def start(model, contexts):
    def start(names, state=None):
        sites = [Site.parse(RESIDUAL), Site.parse(MLP)]
        stream = ActivationStream(model, contexts, sites, options=STREAM, seed=5)
        if state is not None:
            stream.load_state(state)
        calibration = stream.calibration
        exclusion = Exclusion({site: found.median_norm for site, found in calibration.items()})
        objectives = []
        for name in names:
            reads, writes, sparsity, options = CONFIGS[name]
            config = DictionaryConfig(
                reads=(reads,),
                writes=(writes,),
                d_read=32,
                d_write=32,
                n_latents=64,
                sparsity=sparsity,
            )
            objectives.append(
                DictionaryObjective.start(
                    config,
                    options,
                    calibration,
                    n_steps=STEPS,
                    seed=5,
                    name=name,
                    inlier=exclusion.inlier,
                )
            )
        return objectives, stream

    return start


def weights(objective):
    everything = {**objective.dictionary.state_dict(), **objective.state()["buffers"]}
    return {**everything, "since": objective.tokens_since_fired}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("names", [["topk"], ["topk", "batchtopk", "jumprelu"]])
def test_resumed_dictionaries_equal_unbroken_ones_each_alone(
    tmp_path, start, recorder, stop_after, names
):
    options = TrainingConfig(steps=STEPS)

    def train(objectives, stream, **more):
        return fit(objectives, stream, options, listener=recorder, **{"checkpoints": None, **more})

    checkpoints = Checkpoints(tmp_path)
    half, stream = start(names)
    outcome = train(half, stream, checkpoints=checkpoints, stop=stop_after(30, recorder))
    assert (outcome.steps, outcome.interrupted) == (30, True)

    saved = checkpoints.latest()
    rest, stream = start(names, saved.shared["stream"])
    assert train(rest, stream, resume=saved).steps == STEPS

    for i, name in enumerate(names):
        (alone,), stream = start([name])
        train([alone], stream)
        assert equal(weights(alone), weights(rest[i]))
        assert not equal(weights(alone), weights(half[i]))
