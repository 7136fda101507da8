"""Players: what a model of Othello makes of a game, and which latents of a dictionary are on at each move."""

import time
from collections.abc import Mapping
from typing import Any, Final

import torch

from lmscope.core.errors import DataError
from lmscope.dictionaries.probing import Probe, probe_reading, read_text
from lmscope.jobs.bench import Subject
from lmscope.jobs.choices import ModelChoice
from lmscope.jobs.othello_reading import world_of
from lmscope.models.language_model import LanguageModel
from lmscope.server.live.benches import Benches
from lmscope.server.live.protocol import Wanted

MAX_ON: Final = 200
"""Latents that are told of at one move."""


@torch.no_grad()
def game_answer(benches: Benches, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the model makes of a game.

    Args:
        benches: The model and the dictionaries.
        payload: `game` (checked by the rules, at least one move), `size` of its board, `model` (a folder or a name)
            and `dictionary` (or null), whose own model is asked then.

    Returns:
        For each move: probabilities of all tokens, whether it counts, its latents with their values, and how many
        are on in all.

    Raises:
        ModelError: The model plays no Othello, or on another board.
        LmscopeError: The model or the dictionary cannot be read.
    """
    began = time.perf_counter()
    subject = wanted = None
    choice = ModelChoice(name=payload["model"] or "")
    if payload["dictionary"] is not None:
        wanted = Wanted(**payload["dictionary"])
        subject = benches.find(wanted)
        choice = subject.task.model
    model = benches.model(choice)
    _check_board(model, payload["size"])
    benches.report("busy", "Reading the game")
    logits = model(model.batch(payload["game"])).logits
    probabilities = logits[0].float().softmax(-1).cpu().tolist()
    moves: list[dict[str, Any]] = [
        {"probabilities": row, "counts": place > 0, "latents": [], "n_on": 0}
        for place, row in enumerate(probabilities)
    ]
    if wanted is not None and subject is not None:
        probe = _probe(benches, wanted, subject, payload["game"])
        for place, move in enumerate(moves):
            on = list(probe.at(place).items())
            move |= {"counts": bool(probe.counts[place]), "latents": on[:MAX_ON], "n_on": len(on)}
    return {"moves": moves, "elapsed_s": time.perf_counter() - began}


def _check_board(model: LanguageModel, size: int) -> None:
    found = world_of(model).size
    if found != size:
        raise DataError(
            f"'{model.name}' plays on {found} by {found} squares and the game is on {size} by {size}: give a game of "
            "its own board."
        )


def _probe(benches: Benches, wanted: Wanted, subject: Subject, game: str) -> Probe:
    bench = benches.open(wanted, subject)
    reading = read_text(bench.model, game, {subject.config.read_site})
    return probe_reading(reading, bench.dictionary, bench.exclusion)
