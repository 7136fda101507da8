"""Trains five kinds of dictionaries on a miniature: started alone or, several times over, by torchrun.

python worker.py FOLDER LATENT SITE STEPS [kill]
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import torch

from lmscope.activations.config import StreamConfig
from lmscope.activations.sharing import Sharing
from lmscope.activations.stream import ActivationStream
from lmscope.core.processes import joined
from lmscope.core.site import Site
from lmscope.core.tensor_files import write_tensors
from lmscope.dictionaries.config import (
    AuxK,
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    KAnnealing,
    ObjectiveConfig,
    ReLU,
    TopK,
)
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.models.exclusion import Exclusion
from lmscope.models.miniature import miniature
from lmscope.text.corpus import Corpus
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import CheckpointConfig, TrainingConfig
from lmscope.training.loop import fit

TOTAL_STEPS = 24
RESIDUAL, MLP = "resid_post@1", "mlp_out@1"
ANNEALED = KAnnealing(fraction=0.5)
SOON_DEAD = {"auxiliary": AuxK(), "dead_after_tokens": 100}
KINDS = {
    "topk": (RESIDUAL, RESIDUAL, TopK(k=4, annealing=ANNEALED), ObjectiveConfig(**SOON_DEAD)),
    "batchtopk": (MLP, MLP, BatchTopK(k=4), ObjectiveConfig(**SOON_DEAD)),
    "jumprelu": (
        RESIDUAL,
        RESIDUAL,
        JumpReLU(target_l0=5.0),
        ObjectiveConfig(unit_norm_decoder=True),
    ),
    "relu": (RESIDUAL, RESIDUAL, ReLU(), ObjectiveConfig(reconstruction="mean")),
    "transcoder": (RESIDUAL, MLP, TopK(k=3), ObjectiveConfig(reconstruction="batch_norm")),
}
STREAM = StreamConfig(
    batch_tokens=32, block_contexts=4, forward_contexts=2, calibration_tokens=300, passes=2
)


class Metrics:
    """Keeps what the loop tells."""

    def __init__(self):
        self.rows = []

    def on_event(self, event, fields):
        pass

    def on_metrics(self, step, metrics):
        self.rows.append({"step": step, **metrics})

    def on_progress(self, phase, done, total, fields):
        pass


class StopAfter:
    def __init__(self, stream, steps):
        self.stream, self.steps = stream, steps

    @property
    def requested(self):
        return self.stream.n_batches >= self.steps


def config_of(name):
    read, write, sparsity, _ = KINDS[name]
    return DictionaryConfig(
        reads=(read,),
        writes=(write,),
        d_read=32,
        d_write=32,
        n_latents=40,
        sparsity=sparsity,
        skip=read != write,
        apply_b_dec_to_input=read == write,
    )


def main(folder, latent, site, steps, kill_at):
    torch.set_num_threads(1)
    model = miniature("llama")
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=200)) for _ in range(12)]
    contexts = Corpus.from_texts(texts).contexts(model.tokenizer, 16, bos_id=model.bos_id)
    with joined(latent=latent, site=site) as processes:
        sites = [Site.parse(RESIDUAL), Site.parse(MLP)]
        names = list(KINDS)
        wanted = [
            sorted({Site.parse(s) for name in names[i::site] for s in KINDS[name][:2]})
            for i in range(site)
        ]
        stream = ActivationStream(
            model, contexts, sites, options=STREAM, seed=3, sharing=Sharing(processes, wanted)
        )
        # In double precision nothing but a mistake can make the losses differ.
        torch.set_default_dtype(torch.float64)
        calibration = stream.calibration
        exclusion = Exclusion({s: c.median_norm for s, c in calibration.items()}, ratio=1.05)
        objectives = [
            DictionaryObjective.start(
                config_of(name),
                KINDS[name][3],
                calibration,
                n_steps=TOTAL_STEPS,
                seed=3,
                name=name,
                inlier=exclusion.inlier,
                processes=processes,
            )
            for name in processes.trains(names)
        ]
        checkpoints = Checkpoints(folder / "checkpoints", keep=9, processes=processes)
        resume = checkpoints.latest()
        metrics = Metrics()
        if kill_at is not None and processes.world.rank == processes.world.size - 1:
            stop_here = stream.n_batches + kill_at

            class Killed(StopAfter):
                @property
                def requested(self):
                    if stream.n_batches >= stop_here:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return False

            stop = Killed(stream, kill_at)
        else:
            stop = StopAfter(stream, steps)
        fit(
            objectives,
            stream,
            TrainingConfig(
                steps=TOTAL_STEPS,
                lr=3e-3,
                gradient_clip=0.5,
                log_every=1,
                checkpoint=CheckpointConfig(every_steps=6),
            ),
            checkpoints=checkpoints,
            listener=metrics,
            stop=stop,
            resume=resume,
            seed=3,
            processes=processes,
        )
        wholes = {objective.name: objective.whole() for objective in objectives}
        tensors = {
            f"{name}/{key}": value
            for part in processes.world.values(
                {name: whole.state_dict() for name, whole in wholes.items()}
            )
            for name, state in part.items()
            for key, value in state.items()
        }
        if processes.is_first:
            write_tensors(folder / "trained.safetensors", tensors)
            (folder / "metrics.json").write_text(json.dumps(metrics.rows))


if __name__ == "__main__":
    folder, latent, site, steps = sys.argv[1:5]
    main(
        Path(folder),
        int(latent),
        int(site),
        int(steps),
        int(sys.argv[6]) if len(sys.argv) > 6 else None,
    )
