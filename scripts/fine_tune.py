"""Fine-tunes a language model on some text and writes it as an ordinary Hugging Face folder.

    python scripts/fine_tune.py --out tuned --title OpenStax --steps 80 --context-length 512

The result differs from the model it came from in its weights alone, which is what `lmscope evaluate RUN --transfer
--models tuned` measures a dictionary on. Next-token loss, by the same loop that trains dictionaries; each step reads
`--batch-contexts` contexts of documents that `lmscope train` with the same seed does not hold out. The last line
printed is a JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional

from lmscope.core.errors import ArtifactError, DataError, LmscopeError
from lmscope.core.files import atomic_folder
from lmscope.evaluation.rows import TextRows, next_token_counts, rows_at
from lmscope.jobs.choices import TextChoice, as_contexts
from lmscope.models.language_model import LanguageModel
from lmscope.models.quiet import quiet_transformers
from lmscope.text.contexts import Contexts
from lmscope.text.corpus import Corpus
from lmscope.text.order import context_order
from lmscope.training.config import AdamConfig, TrainingConfig
from lmscope.training.loop import fit
from lmscope.training.objective import Loss, ParameterGroup


class ContextStream:
    """Contexts in a seeded order, a few at a time; after the last one they come again, in another order."""

    total_batches = None

    def __init__(self, contexts: Contexts, n_contexts: int, batch_contexts: int, seed: int) -> None:
        self._contexts, self._n_contexts = contexts, n_contexts
        self._size, self._seed = batch_contexts, seed
        self._per_pass = n_contexts // batch_contexts
        self._n_given = 0
        if self._per_pass < 1:
            raise DataError(
                f"{n_contexts} contexts do not fill one batch of {batch_contexts}: use more text, "
                "shorter contexts, or a smaller batch."
            )

    def __iter__(self) -> Iterator[TextRows]:
        return self

    def __next__(self) -> TextRows:
        pass_index, place = divmod(self._n_given, self._per_pass)
        order = context_order(self._n_contexts, self._seed, pass_index)
        self._n_given += 1
        return rows_at(self._contexts, order[place * self._size : (place + 1) * self._size])

    def state(self) -> dict[str, Any]:
        """The number of batches given."""
        return {"batches": self._n_given}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on after so many batches."""
        self._n_given = int(state["batches"])


class NextToken:
    """Cross-entropy of the next token of the same document; every weight of the model is trained."""

    name = "next-token"
    batch_coupled = False

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        model.hf.requires_grad_(True)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """All weights; those that are tied count once."""
        return [ParameterGroup(dict(self._model.hf.named_parameters()))]

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream's own."""
        return stream

    def loss(self, batch: TextRows, step: int) -> Loss:
        """Summed over the predicted tokens, nats."""
        del step
        rows = batch.to(self._model.device)
        counted = next_token_counts(rows, rows.batch.text_mask(), self._model.special_ids)
        logits = self._model(rows.batch).logits[counted].float()
        targets = rows.tokens.roll(-1, dims=1)[counted]
        return Loss(functional.cross_entropy(logits, targets, reduction="sum"), len(targets), {})

    def after_step(self, step: int) -> None:
        """Nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Progress:
    """Prints each line of metrics to standard error."""

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Nothing."""

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line."""
        print(f"step {step}: loss {metrics['next-token/loss']:.4f} nats", file=sys.stderr)

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Nothing."""


def fine_tune(asked: argparse.Namespace) -> dict[str, Any]:
    """Load, train, write.

    Returns:
        What was done, and the loss before and after on the last `--held-out-contexts` contexts of the chosen
        text, which are not trained on.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    out = Path(asked.out)
    if out.exists():
        raise ArtifactError(f"'{out}' exists already: remove it or choose another --out.")
    model = LanguageModel.load(asked.model, device=asked.device)
    stored = model.dtype
    hf = cast("torch.nn.Module", model.hf)  # whose `to` is typed
    hf.to(torch.float32)  # steps this small would be lost in the rounding of bfloat16
    contexts = _contexts(model, asked)
    n_trained = len(contexts) - asked.held_out_contexts
    stream = ContextStream(contexts, n_trained, asked.batch_contexts, asked.seed)
    objective = NextToken(model)
    before = _mean_loss(objective, contexts, n_trained)
    options = TrainingConfig(
        steps=asked.steps,
        lr=asked.lr,
        adam=AdamConfig(betas=(0.9, 0.95)),
        log_every=10,
        precision=asked.precision,
    )
    began = time.perf_counter()
    fit(
        [objective],
        stream,
        options,
        checkpoints=None,
        listener=Progress(),
        seed=asked.seed,
    )
    elapsed = time.perf_counter() - began
    after = _mean_loss(objective, contexts, n_trained)
    with atomic_folder(out) as folder, quiet_transformers():
        hf.to(stored)
        model.hf.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    return {
        "model": model.name,
        "weights_hash": model.weights_hash,
        "tuned": str(out),
        "tuned_weights_hash": LanguageModel.load(str(out), device="cpu").weights_hash,
        "n_trained_tokens": asked.steps * asked.batch_contexts * asked.context_length,
        "ce_before": before,
        "ce_after": after,
        "elapsed_s": round(elapsed, 1),
        **{key: value for key, value in vars(asked).items() if key not in ("model", "out")},
    }


def _contexts(model: LanguageModel, asked: argparse.Namespace) -> Contexts:
    """Documents that training may see and whose title has the asked word in it, packed."""
    corpus, _ = Corpus.load(asked.corpus).split(TextChoice().held_out_fraction, asked.seed)
    if asked.title is not None:
        found = [d for d in corpus.documents() if asked.title in d.title]
        corpus = Corpus.from_documents(found, f"{corpus.name} with '{asked.title}' in the title")
    return as_contexts(corpus, TextChoice(context_length=asked.context_length), model, asked.tokens)


@torch.no_grad()
def _mean_loss(objective: NextToken, contexts: Contexts, first: int) -> float | None:
    """Mean cross-entropy of the contexts from a number on, nats a token; None when there are none."""
    losses = [
        objective.loss(rows_at(contexts, np.array([number])), 0)
        for number in range(first, len(contexts))
    ]
    total = sum(float(loss.weight) for loss in losses)
    return sum(float(loss.sum) for loss in losses) / total if total else None


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Fine-tune a language model on some text.")
    parser.add_argument("--out", required=True, help="folder to write; nothing may be there")
    parser.add_argument("--model", default="smollm2-135m-instruct-q4")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--corpus", default="sample", help="as `lmscope train --corpus`")
    parser.add_argument("--title", help="only documents with this in their title")
    parser.add_argument("--tokens", type=int, help="at most so many distinct tokens")
    parser.add_argument("--context-length", type=int, default=512)
    parser.add_argument("--batch-contexts", type=int, default=1)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--held-out-contexts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Fine-tune; 1 when it cannot be done."""
    try:
        print(json.dumps(fine_tune(options(words))))
    except LmscopeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
