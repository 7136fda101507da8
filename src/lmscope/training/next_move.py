"""NextMove: a model trained to play moves that the rules of a game allow."""

from typing import Literal

import torch
import torch.nn.functional as nnf

from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds.games import GameBatch
from lmscope.training.model_objective import ModelObjective
from lmscope.training.objective import Loss

Labels = Literal["hard", "soft"]
"""`hard`: the move that was played (li2023othello; he2024othello). `soft`: all legal moves alike, the law from which a random
game's move was drawn; the optimum is the same, with less noise in the gradient."""


class NextMove(ModelObjective):
    """Cross-entropy of each move of games given those before it; an Objective.

    The first move has nothing before it and is not predicted.

    Args:
        model: Its weights are trained in place. A move sees only those before it.
        labels: What the prediction is held against.
        weight_decay: Of matrices; gains, biases and embeddings have none.

    Attributes:
        name: As the model's.
        batch_coupled: False: each game has its own loss.
    """

    def __init__(
        self, model: LanguageModel, *, labels: Labels = "hard", weight_decay: float = 0.01
    ) -> None:
        super().__init__(model, weight_decay=weight_decay)
        self.labels: Labels = labels

    def loss(self, batch: GameBatch, step: int) -> Loss:
        """Nats summed over predicted moves; terms `legal_top1`, `legal_mass` and `floor`.

        The floor is the mean logarithm of the number of legal moves: no model of random games gets below it for long.
        """
        tokens, mask, legal = (value.to(self.model.device) for value in batch)
        seen = None if mask.all() else mask.long()  # without a mask attention takes its fast way
        found = self.model.hf(input_ids=tokens, attention_mask=seen, use_cache=False).logits
        log_p = found[:, :-1].float().log_softmax(-1)
        counts, legal = mask[:, 1:], legal[:, :-1]
        n_legal = legal.sum(-1).clamp(min=1)
        if self.labels == "soft":
            nats = -(log_p * legal).sum(-1) / n_legal
        else:
            nats = nnf.nll_loss(log_p.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
            nats = nats.view_as(counts)
        n = counts.sum()
        with torch.no_grad():
            best = log_p.argmax(-1, keepdim=True)
            terms = {
                "legal_top1": legal.gather(-1, best)[..., 0],
                "legal_mass": (log_p.exp() * legal).sum(-1),
                "floor": n_legal.log(),
            }
            means = {name: (value * counts).sum() / n for name, value in terms.items()}
        return Loss((nats * counts).sum(), n, means)
