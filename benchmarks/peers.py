"""One training step of another library's TopK dictionary, driven from outside over a pipe.

`dictionary_step.py --peers PYTHON` starts this file once for each library, under an interpreter that has it, and
sends one JSON object a line; one JSON object a line comes back. It needs torch, safetensors and the library, and
nothing of lmscope. Every step is the one that the library's own training loop takes, data loading left out:

- `sae-lens`: `SAETrainer.step`, with its dead-latent counters, clip and schedulers;
- `eai-sparsify`: the hook of `Trainer.fit` and what follows it, with torch's Adam as optimiser;
- `dictionary-learning`: `TopKTrainer.update`.
"""

import gc
import json
import os
import resource
import sys
import time
import warnings
from importlib.metadata import version

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")
warnings.filterwarnings("ignore")

import torch  # noqa: E402 - the environment above must be set before the libraries are imported
from safetensors.torch import load_file  # noqa: E402


class SaeLens:
    """`SAETrainer.step`."""

    def __init__(self, start, k, lr, batch):
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer

        n_latents, width = start["W"].shape
        self.sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=width, d_sae=n_latents, k=k))
        self.sae.W_enc.data = start["W"].t().contiguous()
        self.sae.W_dec.data = start["W"].clone()
        self.sae.b_dec.data = start["mean"].clone()
        config = SAETrainerConfig(
            total_training_samples=10**9,
            train_batch_size_samples=batch,
            lr=lr,
            lr_end=lr,
            lr_warm_up_steps=0,
            device="cpu",
            logger=LoggingConfig(log_to_wandb=False),
        )
        self.trainer = SAETrainer(cfg=config, sae=self.sae, data_provider=iter(()))

    def step(self, x, step):
        """One training step."""
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def reconstruct(self, x):
        """What the dictionary makes of `[token, width]`."""
        return self.sae.decode(self.sae.encode(x))


class Sparsify:
    """The body of `Trainer.fit`, with the model left out."""

    def __init__(self, start, k, lr, batch):
        from sparsify import SparseCoder, SparseCoderConfig

        n_latents, width = start["W"].shape
        self.sae = SparseCoder(width, SparseCoderConfig(num_latents=n_latents, k=k))
        self.sae.encoder.weight.data = start["W"].clone()
        self.sae.W_dec.data = start["W"].clone()
        self.sae.b_dec.data = start["mean"].clone()
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=lr)
        self.since_fired = torch.zeros(n_latents, dtype=torch.long)
        self.fired = torch.zeros(n_latents, dtype=torch.bool)

    def step(self, x, step):
        """One training step."""
        self.sae.set_decoder_norm_to_unit_norm()
        out = self.sae(x=x, y=x, dead_mask=None)
        self.fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.adam.step()
        self.adam.zero_grad()
        with torch.no_grad():
            self.since_fired += len(x)
            self.since_fired[self.fired] = 0
            self.fired.zero_()

    def reconstruct(self, x):
        """What the dictionary makes of `[token, width]`."""
        return self.sae(x=x, y=x, dead_mask=None).sae_out


class DictionaryLearning:
    """`TopKTrainer.update`."""

    def __init__(self, start, k, lr, batch):
        from dictionary_learning.trainers.top_k import TopKTrainer

        n_latents, width = start["W"].shape
        self.trainer = TopKTrainer(
            steps=10**6,
            activation_dim=width,
            dict_size=n_latents,
            k=k,
            layer=0,
            lm_name="none",
            lr=lr,
            warmup_steps=0,
            device="cpu",
        )
        self.trainer.ae.encoder.weight.data = start["W"].clone()
        self.trainer.ae.decoder.weight.data = start["W"].t().contiguous()

    def step(self, x, step):
        """One training step."""
        self.trainer.update(step, x)

    def reconstruct(self, x):
        """What the dictionary makes of `[token, width]`."""
        return self.trainer.ae(x)


LIBRARIES = {
    "sae-lens": SaeLens,
    "eai-sparsify": Sparsify,
    "dictionary-learning": DictionaryLearning,
}


class Worker:
    """Answers requests about one library."""

    def __init__(self, library, tensors, k, lr, threads, clock):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.tensors = load_file(tensors)
        self.clock = time.process_time if clock == "cpu" else time.perf_counter
        batch = self.tensors["data"].shape[1]
        self.peer = LIBRARIES[library](self.tensors, k, lr, batch)
        self.n_steps = 0
        self.about = {"version": version(library), "torch": torch.__version__}

    def step(self):
        """One training step, timed."""
        data = self.tensors["data"]
        x = data[self.n_steps % len(data)]
        gc.collect()
        start = self.clock()
        self.peer.step(x, self.n_steps)
        self.n_steps += 1
        return {"ms": (self.clock() - start) * 1e3}

    @torch.no_grad()
    def evaluate(self):
        """The error on held-out rows."""
        x = self.tensors["held_out"]
        error = (self.peer.reconstruct(x) - x).square().sum()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "normalised_mse": float(error / (x - x.mean(0)).square().sum()),
            "peak_memory_mib": peak,
        }


def main():
    # The libraries print; only answers may go to the pipe.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "start":
                worker = Worker(**request["with"])
                answer = worker.about
            else:
                answer = getattr(worker, request["do"])()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
