"""Train a plain language model of one's own: tokenizer, model, and how well it predicts held-out text."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import torch
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, Estimate, Resamples, ratio
from lmscope.jobs.running import Plan, running
from lmscope.models.fresh import ModelShape, fresh_model
from lmscope.models.language_model import LanguageModel
from lmscope.models.weights import weights_hash
from lmscope.runs.artifact import write_artifact
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.text.context_stream import ContextBatch, ContextStream
from lmscope.text.contexts import Contexts
from lmscope.text.copying import CopyingOptions
from lmscope.text.corpus import Corpus
from lmscope.text.token_bytes import vocabulary_bytes
from lmscope.text.tokens import TextTokenizer
from lmscope.text.vocabulary import learn_tokenizer
from lmscope.training.checkpoint import Checkpoints
from lmscope.training.config import ScheduleConfig, TrainingConfig
from lmscope.training.loop import fit, planned_steps
from lmscope.training.next_token import NextToken, context_losses

KIND: Final = "language-model"
FORMAT_VERSION: Final = 1
FOLDER: Final = "model"
"""Below `artifacts`: a Hugging Face folder with a manifest."""
REPORT_FILE: Final = "held_out.json"
Count = Annotated[int, Field(ge=1)]


class LmText(Config):
    """What the model learns from."""

    source: str = "sample"
    """`sample`, a file, folder or glob, `hf:NAME[@CONFIG][:SPLIT[:COLUMN]]`, or games: `othello:6[@20000]`."""
    column: str | None = None
    """The column that holds the text; absent: `text`."""
    context_length: Annotated[int, Field(ge=2)] = 256
    """Tokens of one context."""
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Fraction of the documents, whole ones, that no training sees."""
    held_out_tokens: Count = 100_000
    """Of these, tokens on which the result is measured."""
    vocabulary: Annotated[int, Field(ge=258)] = 4096
    """Tokens of the tokenizer that is learnt from the training documents."""
    batch_contexts: Count = 16
    """Contexts of one batch."""
    passes: Count = 1
    """Over the training documents."""
    copying: CopyingOptions = CopyingOptions()
    """Training contexts that go round in circles, so that a small model learns to copy (induction) from little text."""


class LmRecipe(Recipe):
    """What `lmscope lm train` does."""

    job: Literal["lm"] = "lm"
    name: str = "lm"
    text: LmText = LmText()
    shape: ModelShape = ModelShape()
    """Of the new model."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Of the matrices of the layers."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """In which the weights are stored."""
    training: TrainingConfig = TrainingConfig(
        lr=2e-3, schedule=ScheduleConfig(decay="cosine", decay_fraction=0.95, end_factor=0.05)
    )


class LmReport(Config):
    """How well a model predicts text that it never saw."""

    nats_per_token: Estimate
    bits_per_byte: float
    n_tokens: int
    n_parameters: int
    unigram_nats: float
    """Cross-entropy of the training text's token frequencies on the same tokens."""


def train_lm(
    recipe: LmRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Any] = (),
    resume: Path | str | None = None,
) -> Run:
    """Learn a tokenizer, train a model, measure it on held-out documents.

    The run holds `artifacts/model`, a Hugging Face folder that `LanguageModel.load` opens, with
    `held_out.json` in it.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with, begun with the same recipe.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
        KeyboardInterrupt: It was stopped; its state is saved.
    """
    with running(recipe, root, listeners, resume) as (run, stop):
        run.event("phase", phase="text", source=recipe.text.source)
        model, train, held_out = _open(recipe)
        stream = ContextStream(
            train,
            batch_contexts=recipe.text.batch_contexts,
            n_passes=recipe.text.passes,
            seed=recipe.seed,
            copying=recipe.text.copying,
        )
        objective = NextToken(model, weight_decay=recipe.weight_decay)
        checkpoints = Checkpoints(run.checkpoints, keep=recipe.training.checkpoint.keep)
        checkpoint = checkpoints.latest()
        if run.record.n_resumed:
            run.rewind(0 if checkpoint is None else checkpoint.step)
        run.event("phase", phase="train")
        outcome = fit(
            [objective],
            stream,
            recipe.training,
            checkpoints=checkpoints,
            listener=run,
            stop=stop,
            resume=checkpoint,
            seed=recipe.seed,
        )
        if outcome.interrupted:
            stop.raise_if_requested()
        trained = objective.finish()
        run.event("phase", phase="evaluate")
        report = _measure(recipe, trained, train, held_out)
        digest = _save(recipe, trained, report, run.artifacts / FOLDER)
        run.note_weights({recipe.name: digest})
        run.event("result", name="held_out", figures=report.to_mapping())
    return run


def plan_lm(recipe: LmRecipe) -> Plan:
    """Sizes and steps; reads the text and learns the tokenizer, writes nothing."""
    model, train, _ = _open(recipe)
    text = recipe.text
    stream = ContextStream(train, batch_contexts=text.batch_contexts, n_passes=text.passes)
    steps = planned_steps(stream, recipe.training)
    n = sum(p.numel() for p in model.hf.parameters())
    return Plan(
        {
            "n_parameters": n,
            "n_train_tokens": train.n_tokens,
            "n_steps": steps,
            "tokens_per_step": text.batch_contexts * text.context_length,
            "training_flops": 6.0 * n * steps * text.batch_contexts * text.context_length,
        }
    )


def _open(recipe: LmRecipe) -> tuple[LanguageModel, Contexts, Contexts]:
    text = recipe.text
    if text.context_length > recipe.shape.max_positions:
        raise RecipeError(
            f"Contexts of {text.context_length} tokens do not fit a model with {recipe.shape.max_positions} "
            "positions: raise shape.max_positions or shorten text.context_length."
        )
    corpus = Corpus.load(text.source, column=text.column)
    train, held_out = corpus.split(text.held_out_fraction, recipe.seed)
    tokenizer = learn_tokenizer(train, text.vocabulary)
    model = fresh_model(recipe.shape, tokenizer, name=recipe.name, seed=recipe.seed)

    def contexts(side: Corpus, max_tokens: int | None) -> Contexts:
        return side.contexts(
            cast("TextTokenizer", tokenizer),
            text.context_length,
            bos_id=model.bos_id,
            max_tokens=max_tokens,
            drop_tail=True,
        )

    return model, contexts(train, None), contexts(held_out, text.held_out_tokens)


def _measure(
    recipe: LmRecipe, model: LanguageModel, train: Contexts, held_out: Contexts
) -> LmReport:
    size = recipe.text.batch_contexts
    batches = list(_batches(held_out, size))
    found = context_losses(model, iter(batches))
    sums = ContextSums(len(found))
    index = torch.arange(len(found))
    nats, counts = (torch.tensor(column) for column in zip(*found, strict=True))
    sums.add(index, torch.zeros_like(index), {"nats": nats.double(), "n": counts.double()})
    resamples = Resamples(sums, BootstrapOptions(), recipe.seed)
    estimate = resamples.estimate(ratio(resamples.total("nats"), resamples.total("n")))
    assert estimate is not None
    predicted = torch.cat([batch.tokens[:, 1:].flatten() for batch in batches]).tolist()
    spelt = vocabulary_bytes(model.tokenizer)
    n_bytes = sum(len(spelt[token]) for token in predicted)
    return LmReport(
        nats_per_token=estimate,
        bits_per_byte=float(nats.double().sum()) / math.log(2) / max(n_bytes, 1),
        n_tokens=int(counts.sum()),
        n_parameters=sum(p.numel() for p in model.hf.parameters()),
        unigram_nats=_unigram(train, batches, model.d_vocab, size),
    )


def _unigram(train: Contexts, held_out: Sequence[ContextBatch], n: int, size: int) -> float:
    """Cross-entropy of add-one smoothed frequencies."""
    counts = torch.ones(n, dtype=torch.float64)
    for batch in _batches(train, size):
        counts += torch.bincount(batch.tokens.flatten(), minlength=n)
    log_probabilities = (counts / counts.sum()).log()
    wanted = torch.cat([batch.tokens[:, 1:].flatten() for batch in held_out])
    return float(-log_probabilities[wanted].mean())


def _batches(contexts: Contexts, size: int) -> Iterator[ContextBatch]:
    for first in range(0, len(contexts), size):
        rows = contexts.rows(range(first, min(first + size, len(contexts))))
        yield ContextBatch(torch.from_numpy(rows.tokens).long(), torch.from_numpy(rows.mask))


def _save(recipe: LmRecipe, model: LanguageModel, report: LmReport, path: Path) -> str:
    """Write the model folder; its weights hash."""
    with write_artifact(path, KIND, FORMAT_VERSION) as folder:
        model.hf.to(getattr(torch, recipe.dtype)).save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        text = json.dumps(report.to_mapping(), indent=1, sort_keys=True)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    return weights_hash(path)
