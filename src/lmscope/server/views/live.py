"""What the model answers, beside what the atlases know of the latents."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lmscope.atlas.listing import Summary
from lmscope.server.context import Context
from lmscope.server.failures import NotFound, WrongInput
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.live.protocol import Wanted
from lmscope.server.schemas.common import Problem
from lmscope.server.schemas.live import (
    Arm,
    FiringLatent,
    ProbeAnswer,
    Probed,
    ProbedToken,
    ProbeRequest,
    SteerAnswer,
    SteerRequest,
    TokenShift,
)
from lmscope.server.views.features import is_known
from lmscope.server.views.latents import summaries
from lmscope.server.views.lines import dictionary_line

_DONE: Final = {
    "add": "{sign}{value} to the activation of latent {latent}",
    "clamp": "the activation of latent {latent} is held at {value}",
    "ablate": "latent {latent} is taken away",
}


async def probe(context: Context, request: ProbeRequest) -> ProbeAnswer:
    """Which latents fire on a text; dictionaries that cannot be asked are listed with the reason.

    Raises:
        NotFound: A dictionary is not served.
        WrongInput: None of them has its weights here.
        LmscopeError: The process with the model says why not.
    """
    entries = {id_: context.library.dictionary(id_) for id_ in dict.fromkeys(request.dictionaries)}
    able = {id_: entry for id_, entry in entries.items() if entry.folder is not None}
    problems = [_no_weights(entry) for id_, entry in entries.items() if id_ not in able]
    if not able:
        raise WrongInput(problems[0].message)
    first = next(iter(entries))
    answer = await context.live.ask(
        "probe",
        {
            "text": request.text,
            "n": request.n,
            "by": request.by,
            "latents": request.latents if first in able else [],
            "dictionaries": [wanted(context, entry) for entry in able.values()],
        },
    )
    problems += [
        Problem(where=entries[id_].name, message=message)
        for id_, message in answer["problems"].items()
    ]
    probed = await asyncio.to_thread(
        lambda: [_probed(context, entries[one["id"]], one) for one in answer["probed"]]
    )
    return ProbeAnswer(probed=probed, problems=problems)


async def steer(context: Context, request: SteerRequest) -> SteerAnswer:
    """How a prompt goes on: unedited, steered, and with a random direction of equal size.

    Raises:
        NotFound: The dictionary is not served.
        WrongInput: Its weights are not here.
        LmscopeError: The process with the model says why not.
    """
    entry: DictionaryEntry = context.library.dictionary(request.dictionary)
    if entry.folder is None:
        raise WrongInput(_no_weights(entry).message)
    known = await asyncio.to_thread(_known, context, entry, request.latents)
    largest = {str(latent): one.max for latent, one in known.items()}
    choice = {
        "latents": request.latents,
        "kind": request.kind,
        "amount": request.amount,
        "prompts": [request.prompt],
        "chat": request.chat,
        "where": request.where,
        "compare": True,
        "generation": {
            "n_tokens": request.n_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        },
    }
    payload = {"dictionary": {**wanted(context, entry), "largest": largest}, "choice": choice}
    answer = await context.live.ask("steer", payload)
    arms = {one["name"]: Arm(**one) for one in answer["arms"]}
    return SteerAnswer(
        changes=[_in_words(change) for change in answer["changes"]],
        arms=[arms[name] for name in ("clean", "steered", "random")],
        next_token_kl=answer["next_token_kl"],
        raised=[TokenShift(**one) for one in answer["raised"]],
        lowered=[TokenShift(**one) for one in answer["lowered"]],
        elapsed_s=answer["elapsed_s"],
        command=_command(context, entry, request, answer),
    )


def wanted(context: Context, entry: DictionaryEntry) -> dict[str, Any]:
    """A dictionary as the process with the model finds it."""
    norms = entry.atlases[0].meta.median_norms if entry.atlases else {}
    run = None if entry.run is None else str(context.library.run(entry.run).path)
    found = Wanted(entry.id, entry.digest, str(entry.folder), run, dict(norms) or None)
    return {**vars(found)}


def _probed(context: Context, entry: DictionaryEntry, found: Mapping[str, Any]) -> Probed:
    known = _known(context, entry, [one["latent"] for one in found["latents"]])
    return Probed(
        dictionary=dictionary_line(entry),
        tokens=[
            ProbedToken(id=id_, text=text, counts=counts) for id_, text, counts in found["tokens"]
        ],
        latents=[_firing(one, known.get(one["latent"])) for one in found["latents"]],
        n_firing=found["n_firing"],
        elapsed_s=found["elapsed_s"],
    )


def _firing(found: Mapping[str, Any], known: Summary | None) -> FiringLatent:
    return FiringLatent(
        **found,
        label="" if known is None else known.label,
        known=known is not None and is_known(known.label),
        density=None if known is None else known.density,
        record_max=None if known is None else known.max,
    )


def _known(context: Context, entry: DictionaryEntry, latents: Sequence[int]) -> dict[int, Summary]:
    """What the newest atlas knows of latents; nothing where there is none."""
    inside = [latent for latent in latents if latent < entry.n_latents]
    if not entry.atlases or not inside:
        return {}
    try:
        return summaries(context.library, entry.id, inside)
    except NotFound:  # removed since the question was asked: the answer stands without it
        return {}


def _no_weights(entry: DictionaryEntry) -> Problem:
    message = (
        f"The weights of '{entry.name}' are not here, so its model cannot be asked. Serve the run that trained "
        "it beside its atlas."
    )
    return Problem(where=entry.name, message=message)


def _in_words(change: Mapping[str, Any]) -> str:
    value = change["value"]
    sign = "+" if value >= 0 else "\N{MINUS SIGN}"
    shown = f"{abs(value) if change['kind'] == 'add' else value:.4g}"
    return _DONE[change["kind"]].format(latent=change["latent"], value=shown, sign=sign)


def _command(
    context: Context,
    entry: DictionaryEntry,
    request: SteerRequest,
    answer: Mapping[str, Any],
) -> str:
    """The same as `lmscope steer`, whose multiples are of the largest activation on held-out text."""
    amount = request.amount
    if answer["is_of_atlas"] and request.kind != "ablate":
        amounts = {change["value"] for change in answer["changes"]}
        if len(amounts) > 1:
            return ""
        amount = repr(amounts.pop())
    where = entry.folder if entry.run is None else context.library.run(entry.run).path
    words = ["lmscope", "steer", str(where)]
    if entry.run is not None and entry.folder is not None:
        words += ["--dictionary", entry.folder.name]
    for latent in request.latents:
        words += ["--latent", str(latent)]
    # With =, so that a number below 0 and a prompt that begins with a dash are no options.
    ablates = request.kind == "ablate"
    words.append("--ablate" if ablates else f"--{request.kind}={amount.strip()}")
    words += [f"--prompt={request.prompt}", "--tokens", str(request.n_tokens)]
    if request.temperature:
        words += ["--temperature", str(request.temperature)]
    words += ["--seed", str(request.seed)] if request.seed else []
    words += ["--where", request.where] if request.where != "all" else []
    words += ["--chat"] if request.chat else []
    return shlex.join([*words, "--compare"])
