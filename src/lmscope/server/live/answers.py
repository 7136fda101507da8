"""What the model answers: which latents fire on a text, how a prompt goes on when they are changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import torch

from lmscope.core.errors import DataError, LmscopeError
from lmscope.core.protocols import Tokenizer
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.probing import (
    Order,
    Probe,
    ProbedLatent,
    Reading,
    probe_reading,
    read_text,
)
from lmscope.dictionaries.steering import LatentChange
from lmscope.jobs.bench import Subject
from lmscope.jobs.choices import ModelChoice
from lmscope.jobs.steer import SteerChoice, chosen_changes, steer
from lmscope.server.live.benches import Benches
from lmscope.server.live.protocol import Wanted
from lmscope.text.pieces import token_pieces

MAX_VALUES: Final = 1_000_000
"""Activations in one answer."""

Found = tuple[Wanted, Subject]


class Probing:
    """One text under several dictionaries; those of one model share its reading.

    Args:
        benches: The model and the dictionaries.
        payload: `text`, `n`, `by`, `latents` (of the first dictionary) and `dictionaries`.
    """

    def __init__(self, benches: Benches, payload: Mapping[str, Any]) -> None:
        self._benches = benches
        self._text: str = payload["text"]
        self._n: int = payload["n"]
        self._by: Order = payload["by"]
        self._wanted = [Wanted(**one) for one in payload["dictionaries"]]
        self._latents: Sequence[int] = payload["latents"]
        self._probed: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, LmscopeError] = {}

    def answer(self) -> dict[str, Any]:
        """What fires, by dictionary, and why some could not be asked.

        Raises:
            LmscopeError: None could be asked.
        """
        for choice, group in self._by_model().items():
            try:
                self._probe_group(choice, group)
            except LmscopeError as error:
                for wanted, _ in group:
                    self._failed.setdefault(wanted.id, error)
        if not self._probed:
            raise next(iter(self._failed.values()))
        return {
            "probed": [self._probed[one.id] for one in self._wanted if one.id in self._probed],
            "problems": {id_: str(error) for id_, error in self._failed.items()},
        }

    def _by_model(self) -> dict[ModelChoice, list[Found]]:
        """The dictionaries by model, those of the one in memory first."""
        groups: dict[ModelChoice, list[Found]] = {}
        for wanted in self._wanted:
            try:
                subject = self._benches.find(wanted)
            except LmscopeError as error:
                self._failed[wanted.id] = error
                continue
            groups.setdefault(subject.task.model, []).append((wanted, subject))
        return dict(sorted(groups.items(), key=lambda item: not self._benches.is_loaded(item[0])))

    def _probe_group(self, choice: ModelChoice, group: list[Found]) -> None:
        model = self._benches.model(choice)
        readable: list[Found] = []
        for wanted, subject in group:
            try:
                model.width(subject.config.read_site)
            except LmscopeError as error:
                self._failed[wanted.id] = error
            else:
                readable.append((wanted, subject))
        if not readable:
            return
        self._benches.report("busy", "Reading the text")
        reading = read_text(model, self._text, {one.config.read_site for _, one in readable})
        self._check_size(len(reading.tokens))
        self._benches.measure(readable)
        for wanted, subject in readable:
            try:
                self._probe_one(wanted, subject, reading)
            except LmscopeError as error:
                self._failed[wanted.id] = error

    def _probe_one(self, wanted: Wanted, subject: Subject, reading: Reading) -> None:
        began = time.perf_counter()
        bench = self._benches.open(wanted, subject)
        probe = probe_reading(reading, bench.dictionary, bench.exclusion)
        asked = self._latents if wanted is self._wanted[0] else ()
        _check_latents(asked, bench.dictionary)
        ranked = probe.ranked(by=self._by)
        shown = list(ranked[: self._n])
        missing = set(asked) - {one.latent for one in shown}
        shown += [one for one in ranked[self._n :] if one.latent in missing]
        silent = missing - {one.latent for one in shown}
        shown += [ProbedLatent(latent, 0.0, 0.0, 0, 0) for latent in sorted(silent)]
        self._probed[wanted.id] = {
            "id": wanted.id,
            "tokens": list(zip(probe.tokens, probe.texts, probe.counts.tolist(), strict=True)),
            "latents": [{**vars(one), "values": _values(probe, one.latent)} for one in shown],
            "n_firing": len(ranked),
            "elapsed_s": time.perf_counter() - began,
        }

    def _check_size(self, n_tokens: int) -> None:
        n_values = n_tokens * (self._n * len(self._wanted) + len(self._latents))
        if n_values > MAX_VALUES:
            raise DataError(
                f"{self._n} latents of {len(self._wanted)} dictionaries on {n_tokens:,} tokens are {n_values:,} "
                f"activations, and one answer holds {MAX_VALUES:,}: ask for fewer latents or dictionaries, or "
                "give less text."
            )


def steer_answer(benches: Benches, payload: Mapping[str, Any]) -> dict[str, Any]:
    """How a prompt goes on: unedited, steered, and with a random direction of equal size.

    Args:
        benches: The model and the dictionaries.
        payload: `dictionary`, and `choice` (a `SteerChoice` as plain values).

    Raises:
        LmscopeError: A latent does not exist, the prompt is too long, or the model cannot be read.
    """
    began = time.perf_counter()
    wanted = Wanted(**payload["dictionary"])
    choice = SteerChoice.from_mapping(payload["choice"], "the request")
    subject = benches.find(wanted)
    is_of_atlas = subject.max_activation is None and bool(wanted.largest)
    if is_of_atlas:
        subject = _with_largest(subject, wanted)
    changes = chosen_changes(subject, choice)  # before the model is loaded
    bench = benches.open(wanted, subject)
    benches.report("busy", "Going on with the prompt")
    result = steer(bench, choice)
    (found,) = result.prompts
    tokenizer = cast("Tokenizer", bench.model.tokenizer)
    shifts = {
        name: [
            {
                "id": one.token,
                "text": token_pieces(tokenizer, [one.token])[0],
                "clean": one.clean,
                "edited": one.edited,
            }
            for one in effects
        ]
        for name, effects in (("raised", found.raised), ("lowered", found.lowered))
    }
    return {
        "changes": [_change(one) for one in changes],
        "is_of_atlas": is_of_atlas,  # what an amount with x is a multiple of
        "arms": [
            {
                "name": name,
                "text": arm.text,
                "tokens": token_pieces(tokenizer, arm.tokens),
                "log_probs": arm.log_probs,
            }
            for name, arm in found.arms.items()
        ],
        "next_token_kl": found.effect.kl,
        **shifts,
        "elapsed_s": time.perf_counter() - began,
    }


def _with_largest(subject: Subject, wanted: Wanted) -> Subject:
    largest = torch.zeros(subject.config.n_latents)
    for latent, value in wanted.largest.items():
        largest[int(latent)] = value
    return replace(subject, max_activation=largest)


def _change(change: LatentChange) -> dict[str, Any]:
    return {"latent": change.latent, "kind": change.kind, "value": change.value}


def _values(probe: Probe, latent: int) -> list[float]:
    # Six digits: what float32 means, without the tail that makes the answer twice as long.
    return [float(f"{value:.6g}") for value in probe.activations(latent).tolist()]


def _check_latents(latents: Sequence[int], dictionary: Dictionary) -> None:
    n = dictionary.config.n_latents
    if wrong := next((one for one in latents if not 0 <= one < n), None):
        raise DataError(
            f"There is no latent {wrong}: the dictionary has {n:,}, numbered 0 to {n - 1}."
        )
