"""What the training loop asks of every Objective; a sparsity that is added is picked up by itself."""

import random
from typing import get_args

import pytest
import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import RecipeError
from lmscope.core.site import Site
from lmscope.dictionaries.config import AuxK, DictionaryConfig, ObjectiveConfig, Sparsity
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature
from lmscope.runs.signals import StopSignal
from lmscope.text.corpus import Corpus
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import TrainingConfig
from lmscope.training.loop import fit
from lmscope.training.objective import Objective

STEPS, TOKENS = 12, 64
RESIDUAL, MLP = "resid_post@1", "mlp_out@1"
DICTIONARIES = {
    f"{kind.model_fields['kind'].default}-{shape}": (kind, shape)
    for kind in get_args(get_args(Sparsity)[0])
    for shape in ("sae", "transcoder")
}
"""Objectives by name: each sparsity reading and writing one site, or two."""


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


@pytest.fixture(scope="module")
def contexts(model):
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=200)) for _ in range(20)]
    return Corpus.from_texts(texts).contexts(model.tokenizer, 16, bos_id=model.bos_id)


@pytest.fixture
def start(model, contexts):
    """`start(*names, batch_tokens=...)`: new objectives and the stream that they share."""

    def start(*names, batch_tokens=TOKENS):
        options = StreamConfig(
            batch_tokens=batch_tokens, block_contexts=4, forward_contexts=2, calibration_tokens=300
        )
        sites = [Site.parse(RESIDUAL), Site.parse(MLP)]
        stream = ActivationStream(model, contexts, sites, options=options, seed=5)
        norms = {site: found.median_norm for site, found in stream.calibration.items()}
        objectives = [
            DictionaryObjective.start(
                _config(*DICTIONARIES[name]),
                ObjectiveConfig(auxiliary=AuxK(), dead_after_tokens=200),
                stream.calibration,
                n_steps=STEPS,
                seed=5,
                name=name,
                inlier=Exclusion(norms).inlier,
            )
            for name in names
        ]
        return objectives, stream

    return start


def _config(kind, shape):
    small = {"k": 4} if "k" in kind.model_fields else {}
    return DictionaryConfig(
        reads=(RESIDUAL,),
        writes=(RESIDUAL if shape == "sae" else MLP,),
        d_read=32,
        d_write=32,
        n_latents=48,
        sparsity=kind(**small),
    )


class Quiet:
    """Hears nothing; asks to stop after a number of steps."""

    def __init__(self, stop=None, at=None):
        self.stop, self.at = stop, at

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        pass

    def on_progress(self, phase, done, total, fields):
        if done == self.at:
            self.stop.request()


def train(objectives, stream, *, accumulate=1, checkpoints=None, resume=None, stop_at=None):
    options = TrainingConfig(steps=STEPS, accumulate=accumulate)
    stop = StopSignal()
    listener = Quiet(stop, stop_at)
    return fit(
        objectives,
        stream,
        options,
        checkpoints=checkpoints,
        listener=listener,
        stop=stop,
        resume=resume,
        seed=5,
    )


def everything(objective):
    """All that the objective holds, as tensors by name."""
    state = objective.state()
    parameters = [group.parameters for group in objective.parameter_groups()]
    return {
        **{name: p.detach() for group in parameters for name, p in group.items()},
        **{f"state.{name}": value for name, value in _flat(state)},
    }


def _flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", torch.as_tensor(value)


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", DICTIONARIES)
def test_it_is_an_objective_and_training_moves_every_parameter(start, name):
    (objective,), stream = start(name)
    assert isinstance(objective, Objective)
    before = {k: v.clone() for k, v in everything(objective).items()}
    train([objective], stream)
    after = everything(objective)
    assert all(
        not torch.equal(after[key], before[key]) for key in before if not key.startswith("state.")
    )


@pytest.mark.parametrize("name", DICTIONARIES)
def test_four_micro_batches_equal_one_batch_unless_rows_are_coupled(start, name):
    (whole,), stream = start(name)
    (cut,), short = start(name, batch_tokens=TOKENS // 4)
    if whole.batch_coupled:
        with pytest.raises(RecipeError, match="accumulate"):
            train([cut], short, accumulate=4)
        return
    # One batch of the long stream holds other tokens than four of the short one: cut it by hand.
    train([whole], stream)
    _, again = start(name)
    train([cut], Quarters(again), accumulate=4)
    for key, value in everything(whole).items():
        torch.testing.assert_close(everything(cut)[key], value, rtol=1e-3, atol=1e-4)


class Quarters:
    """A stream whose batches are the quarters of another one's."""

    def __init__(self, stream):
        self.stream, self.parts = stream, []

    @property
    def total_batches(self):
        return 4 * self.stream.total_batches

    def __iter__(self):
        return self

    def __next__(self):
        if not self.parts:
            values = next(self.stream).values
            cut = {site: value.chunk(4) for site, value in values.items()}
            self.parts = [Part({site: c[i] for site, c in cut.items()}) for i in range(4)]
        return self.parts.pop(0)

    def state(self):
        return self.stream.state()

    def load_state(self, state):
        self.stream.load_state(state)


class Part:
    def __init__(self, values):
        self.values = values


@pytest.mark.parametrize("name", DICTIONARIES)
def test_going_on_from_a_checkpoint_changes_no_bit(start, tmp_path, name):
    (whole,), stream = start(name)
    train([whole], stream)
    (half,), stream = start(name)
    checkpoints = Checkpoints(tmp_path)
    assert train([half], stream, checkpoints=checkpoints, stop_at=5).steps == 5
    (rest,), stream = start(name)
    assert train([rest], stream, resume=checkpoints.latest()).steps == STEPS
    assert same(everything(rest), everything(whole))
    assert not same(everything(half), everything(whole))


def test_all_together_equal_each_alone(start):
    together, stream = start(*DICTIONARIES)
    train(together, stream)
    for objective in together:
        (alone,), stream = start(objective.name)
        train([alone], stream)
        assert same(everything(alone), everything(objective)), objective.name
