"""Two dictionaries side by side, by their decoder rows."""

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from lmscope.atlas.listing import Summary
from lmscope.server.context import Context
from lmscope.server.failures import NotFound, WrongInput
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.live.protocol import Rows
from lmscope.server.schemas.common import Histogram, Provenance, Snippet
from lmscope.server.schemas.search import Child, Comparison, Group, Share
from lmscope.server.views.latents import summaries
from lmscope.server.views.lines import dictionary_line

Kind = Literal["split", "carried over", "lost"]
STATISTICS_FILE: Final = "latents.safetensors"
_MEANINGS: Final[Mapping[str, str]] = {
    "new": "Latents of the wide dictionary whose cosine with every narrow one is at most the threshold.",
    "split": "Latents of the narrow dictionary with two children or more.",
    "carried_over": "Latents of the narrow dictionary with exactly one child.",
    "lost": "Latents of the narrow dictionary without a child.",
    "wide_in_narrow": "Of each wide latent the largest cosine with a narrow one, on average.",
    "narrow_in_wide": "Of each narrow latent the largest cosine with a wide one, on average.",
}
_NAMES: Final[Mapping[str, str]] = {
    "carried_over": "carried over",
    "wide_in_narrow": "mean largest cosine, wide in narrow",
    "narrow_in_wide": "mean largest cosine, narrow in wide",
}


async def compare(
    context: Context, a: str, b: str, kind: Kind | None, offset: int, limit: int
) -> Comparison:
    """What the wider one makes of the latents of the narrower one.

    Raises:
        NotFound: A dictionary is not served.
        WrongInput: It is the same one twice, or they write streams of different widths.
        LmscopeError: The process that compares says why not.
    """
    narrow, wide = _ordered(context.library.dictionary(a), context.library.dictionary(b))
    payload = {
        "narrow": vars(rows_of(context, narrow)),
        "wide": vars(rows_of(context, wide)),
        "kind": kind,
        "offset": offset,
        "limit": limit,
    }
    found = await context.live.ask("compare", payload)
    return await asyncio.to_thread(_joined, context, narrow, wide, found, offset)


def rows_of(context: Context, entry: DictionaryEntry) -> Rows:
    """Where the decoder rows of a dictionary are read.

    Its weights come first where it is known which latents fire, so that `lmscope geometry` gives the same
    figures; the atlas holds rounded ones.
    """
    folder = None if entry.folder is None else str(entry.folder)
    statistics = None
    if entry.run is not None and entry.folder is not None:
        run: Path = context.library.run(entry.run).path
        file = run / "artifacts" / "health" / entry.folder.name / STATISTICS_FILE
        statistics = str(file) if file.is_file() else None
    if statistics is None and entry.atlases:
        return Rows(entry.digest, atlas=str(entry.atlases[0].path), folder=folder)
    return Rows(entry.digest, folder=folder, statistics=statistics)


def _ordered(a: DictionaryEntry, b: DictionaryEntry) -> tuple[DictionaryEntry, DictionaryEntry]:
    if a.id == b.id:
        raise WrongInput("A dictionary cannot be compared with itself. Choose another one.")
    if a.d_write != b.d_write:
        raise WrongInput(
            f"'{a.name}' writes {a.d_write} coordinates and '{b.name}' {b.d_write}, so their directions cannot be "
            "compared. Choose two that write streams of one width."
        )
    return (a, b) if a.n_latents <= b.n_latents else (b, a)


def _joined(
    context: Context,
    narrow: DictionaryEntry,
    wide: DictionaryEntry,
    found: Mapping[str, Any],
    offset: int,
) -> Comparison:
    children = [one for group in found["groups"] for one in group["children"]]
    of_narrow = _known(context, narrow, (group["latent"] for group in found["groups"]))
    of_wide = _known(context, wide, (one["latent"] for one in [*children, *found["new"]]))
    return Comparison(
        narrow=dictionary_line(narrow),
        wide=dictionary_line(wide),
        threshold=found["threshold"],
        shares=[
            Share(
                name=_NAMES.get(one["name"]) or one["name"],
                meaning=_MEANINGS[one["name"]],
                value=one["value"],
                null=one["null"],
            )
            for one in found["shares"]
        ],
        cosines=Histogram(**found["cosines"]),
        cosines_null=Histogram(**found["cosines_null"]),
        total=found["total"],
        offset=offset,
        groups=[
            Group(
                **_said(group, of_narrow),
                kind=group["kind"],
                children=[_child(one, of_wide) for one in group["children"]],
            )
            for group in found["groups"]
        ],
        new=[_child(one, of_wide) for one in found["new"]],
        provenance=_provenance(context, narrow, wide),
    )


def _known(
    context: Context, entry: DictionaryEntry, latents: Iterable[int]
) -> Mapping[int, Summary]:
    if not entry.atlases:
        return {}
    try:
        return summaries(context.library, entry.id, latents)
    except NotFound:  # removed since the question was asked: the answer stands without it
        return {}


def _child(found: Mapping[str, Any], known: Mapping[int, Summary]) -> Child:
    return Child(**_said(found, known), cosine=found["cosine"])


def _said(found: Mapping[str, Any], known: Mapping[int, Summary]) -> dict[str, Any]:
    """Number, label and density of a latent; the atlas's density where there is one."""
    latent = found["latent"]
    if latent in known:
        one = known[latent]
        return {"latent": latent, "label": one.label, "density": one.density}
    return {"latent": latent, "label": "", "density": found["density"]}


def _provenance(context: Context, narrow: DictionaryEntry, wide: DictionaryEntry) -> Provenance:
    rows = {"narrow": rows_of(context, narrow), "wide": rows_of(context, wide)}
    facts = [
        (f"{name} dictionary", f"{entry.name}, {entry.n_latents:,} latents")
        for name, entry in (("narrow", narrow), ("wide", wide))
    ]
    facts += [(f"{name} digest", one.digest) for name, one in rows.items()]
    facts += [
        ("directions", "decoder rows of the latents that fire"),
        (
            "threshold",
            "0.99 quantile of the largest cosine of 4,096 random rows with narrow latents",
        ),
        ("random rows", "Gaussian with the mean and covariance of the wide dictionary's rows"),
        ("seed", "0"),
    ]
    snippets = [Snippet(title="Python", language="python", text=_python(rows))]
    is_measured = all(one.statistics is not None for one in rows.values())
    if is_measured and narrow.reads == wide.reads and narrow.n_latents != wide.n_latents:
        folders = [str(entry.folder) for entry in (narrow, wide)]
        words = ["lmscope", "geometry", *folders, "--analysis", "splitting"]
        snippets.insert(0, Snippet(title="Command", language="shell", text=shlex.join(words)))
    return Provenance(facts=facts, snippets=snippets)


def _python(rows: Mapping[str, Rows]) -> str:
    lines = [
        "from lmscope.server.live.directions import compare, read",
        "from lmscope.server.live.protocol import Rows",
        "",
    ]
    for name, one in rows.items():
        given = {key: value for key, value in vars(one).items() if value is not None}
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        lines.append(f"{name} = read(Rows({arguments}))")
    lines += [
        "found = compare(narrow, wide)",
        'print(found.figures["threshold"], found.figures["shares"])',
    ]
    return "\n".join(lines)
