"""The parts of a recipe that several jobs share, and how they become a model, text and options."""

from typing import Annotated, Literal, NamedTuple, cast

from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.protocols import Listener
from lmscope.dictionaries.health import HealthOptions
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.models.language_model import LanguageModel
from lmscope.text.chat import ChatTemplate, ChatTokenizer
from lmscope.text.contexts import Contexts
from lmscope.text.corpus import Corpus
from lmscope.text.tokens import TextTokenizer

Count = Annotated[int, Field(ge=1)]


class ModelChoice(Config):
    """The studied model."""

    name: str = "smollm2-135m-instruct-q4"
    """A catalog name, a local folder, a .gguf file, or a Hugging Face id."""
    device: str = "auto"
    """`auto`: the GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the dtype that the weights are stored in."""


class TextChoice(Config):
    """What the model reads."""

    source: str = "sample"
    """`sample`, a file, folder or glob, `hf:NAME[@CONFIG][:SPLIT[:COLUMN]]`, or games: `othello:6[@20000]`."""
    column: str | None = None
    """The column that holds the text; absent: `text`."""
    separator: str | None = None
    """The line between two documents of a .txt file; absent: the file is one document."""
    chat: bool = False
    """Whether rows hold `messages`, to be put through the model's chat template."""
    context_length: Annotated[int, Field(ge=2)] = 256
    """Tokens of one context."""
    max_tokens: Count | None = None
    """Distinct tokens to train on; absent: all of the training documents."""
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the documents, whole ones, that no training sees."""


class EvaluationChoice(Config):
    """How much held-out text is measured."""

    tokens: Annotated[int, Field(ge=0)] = 100_000
    """Tokens on which latents and reconstruction are measured; 0: nothing is measured."""
    scored_tokens: Annotated[int, Field(ge=0)] = 25_000
    """Of these, tokens on which the model's loss is measured; 0: none."""
    batch_contexts: Count = 16
    """Contexts of one forward pass."""
    baseline_tokens: Annotated[int, Field(ge=0)] = 100_000
    """Training tokens to which the baselines are fitted; 0: none are measured, nor a mean ablation."""
    bootstrap: BootstrapOptions = BootstrapOptions()

    def options(self, context_length: int, seed: int) -> HealthOptions:
        """The same amounts in contexts of a length."""
        return HealthOptions(
            n_contexts=max(1, self.tokens // context_length),
            scored_contexts=-(-self.scored_tokens // context_length),
            batch_contexts=self.batch_contexts,
            bootstrap=self.bootstrap,
            seed=seed,
        )


class Sides(NamedTuple):
    """The two sides of a corpus as contexts: `train` to learn from, `held_out` to measure on."""

    train: Contexts
    held_out: Contexts


def load_model(choice: ModelChoice, listener: Listener) -> LanguageModel:
    """Load the chosen model and tell of it.

    Raises:
        ModelError: It cannot be found or loaded.
    """
    listener.on_event("phase", {"phase": "load", "model": choice.name})
    dtype = None if choice.dtype == "auto" else choice.dtype
    model = LanguageModel.load(choice.name, device=choice.device, dtype=dtype)
    listener.on_event("model", {"model": model.name, "weights_hash": model.weights_hash})
    return model


def open_text(
    choice: TextChoice, model: LanguageModel, *, seed: int, held_out_tokens: int
) -> Sides:
    """Split the corpus by whole documents and cut both sides into contexts for a model.

    Args:
        choice: Which text.
        model: Whose tokens.
        seed: Which documents are held out.
        held_out_tokens: At most so many are cut of the held-out side; 0: it is not looked at.

    Raises:
        DataError: The text cannot be read, or a side has none.
    """
    corpus = open_corpus(choice, model)
    train, held_out = corpus.split(choice.held_out_fraction, seed)
    sides = Sides(
        as_contexts(train, choice, model, choice.max_tokens),
        as_contexts(held_out, choice, model, held_out_tokens or None),
    )
    if held_out_tokens:
        len(sides.held_out)  # read now: after training it is too late to learn that it is empty
    return sides


def open_corpus(choice: TextChoice, model: LanguageModel) -> Corpus:
    """The chosen text as whole documents, both sides together.

    Raises:
        DataError: The text cannot be found.
    """
    if not choice.chat:
        return Corpus.load(choice.source, column=choice.column, separator=choice.separator)
    template = ChatTemplate(cast("ChatTokenizer", model.tokenizer), choice.column or "messages")
    return Corpus.load(choice.source, separator=choice.separator, reader=template)


def as_contexts(
    corpus: Corpus, choice: TextChoice, model: LanguageModel, max_tokens: int | None
) -> Contexts:
    """A corpus in the style of a model: packed for decoders, one piece a row for encoders."""
    return corpus.contexts(
        cast("TextTokenizer", model.tokenizer),  # transformers types its ids as anything
        choice.context_length,
        bos_id=model.bos_id,
        max_tokens=max_tokens,
        style="packed" if model.is_causal else "encoder",
        drop_tail=model.is_causal,
    )
