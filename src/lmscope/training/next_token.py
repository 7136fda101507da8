"""NextToken: a language model trained to predict the next token."""

from collections.abc import Iterator

import torch
import torch.nn.functional as nnf

from lmscope.models.language_model import LanguageModel
from lmscope.text.context_stream import ContextBatch
from lmscope.training.model_objective import ModelObjective
from lmscope.training.objective import Loss


class NextToken(ModelObjective):
    """Cross-entropy of each token given those before it; an Objective."""

    def __init__(self, model: LanguageModel, *, weight_decay: float = 0.1) -> None:
        super().__init__(model, weight_decay=weight_decay)

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
