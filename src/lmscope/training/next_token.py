"""NextToken: a language model trained to predict the next token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as nnf

from lmscope.models.language_model import LanguageModel
from lmscope.text.context_stream import ContextBatch
from lmscope.training.objective import Loss, ParameterGroup


class NextToken:
    """Cross-entropy of each token given those before it; an Objective.

    Args:
        model: Its weights are trained in place.
        weight_decay: Of matrices; gains, biases and embeddings have none.

    Attributes:
        name: As the model's.
        batch_coupled: False: each context has its own loss.
    """

    batch_coupled = False

    def __init__(self, model: LanguageModel, *, weight_decay: float = 0.1) -> None:
        self.model = model
        self.name = model.name
        self._weight_decay = weight_decay
        model.hf.train().requires_grad_(True)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """All weights: matrices of the layers, which decay, and the rest."""
        hf = self.model.hf
        named = dict(hf.named_parameters())
        blocks = hf.base_model.get_submodule(self.model.family.blocks)
        matrices = {id(p) for p in blocks.parameters() if p.dim() == 2}
        layers = {name for name, p in named.items() if id(p) in matrices}
        decays = {name: p for name, p in named.items() if name in layers}
        rest = {name: p for name, p in named.items() if name not in layers}
        return (ParameterGroup(decays, weight_decay=self._weight_decay), ParameterGroup(rest))

    def batches(self, stream: Iterator[ContextBatch]) -> Iterator[ContextBatch]:
        """The stream itself."""
        return stream

    def loss(self, batch: ContextBatch, step: int) -> Loss:
        """Nats summed over predicted tokens; term `accuracy`."""
        tokens, mask = (t.to(self.model.device) for t in batch)
        logits = self.model.hf(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
        wanted, counts = tokens[:, 1:], mask[:, 1:]
        nats = nnf.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), wanted.flatten(), reduction="none"
        )
        hits = (logits[:, :-1].argmax(-1) == wanted) & counts
        n = counts.sum()
        return Loss((nats * counts.flatten()).sum(), n, {"accuracy": (hits.sum() / n).detach()})

    def after_step(self, step: int) -> None:
        """Nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

    def finish(self) -> LanguageModel:
        """The trained model, frozen and in evaluation mode."""
        self.model.hf.eval().requires_grad_(False)
        return self.model


@torch.no_grad()
def context_losses(
    model: LanguageModel, batches: Iterator[ContextBatch]
) -> list[tuple[float, int]]:
    """Nats and predicted tokens of each context."""
    found: list[tuple[float, int]] = []
    for batch in batches:
        tokens, mask = (t.to(model.device) for t in batch)
        logits = model.hf(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
        nats = nnf.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), tokens[:, 1:], reduction="none"
        )
        counts = mask[:, 1:]
        sums = (nats * counts).sum(-1).tolist()
        found += list(zip(sums, counts.sum(-1).tolist(), strict=True))
    return found
