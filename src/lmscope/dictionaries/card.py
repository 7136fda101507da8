"""The model card of a saved dictionary: what it is, what it was trained on, how good it is, how to load it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lmscope.dictionaries.config import DictionaryConfig, Sparsity
from lmscope.dictionaries.report import HealthReport
from lmscope.evaluation.statistics import Estimate
from lmscope.models.catalog import CATALOG, HubSource

_FIGURES: Final = {
    "Latents that fire on a token (L0)": ("sparsity", "l0"),
    "Explained variance, centred": ("reconstruction", "explained_variance_centred"),
    "Explained variance, uncentred": ("reconstruction", "explained_variance_uncentred"),
    "Cross-entropy recovered, against zero": ("loss", "ce_recovered_zero"),
    "Cross-entropy recovered, against the mean": ("loss", "ce_recovered_mean"),
}
"""Rows of the card's table, and where a health report has them."""


@dataclass(frozen=True)
class Provenance:
    """What a dictionary's own files do not say and its card should; absent facts are left out.

    Attributes:
        text: What it was trained on.
        tokens: How many tokens of it.
        licence: As the hub writes it, e.g. `apache-2.0`.
        health: A health report as plain values (`HealthReport.to_mapping`).
    """

    text: str | None = None
    tokens: int | None = None
    licence: str | None = None
    health: Mapping[str, Any] | None = None


NOTHING_KNOWN: Final = Provenance()


def write_card(
    config: DictionaryConfig, format_version: int, provenance: Provenance = NOTHING_KNOWN
) -> str:
    """The card as Markdown, with the front matter that the hub reads.

    Args:
        config: The dictionary's.
        format_version: Of the files beside the card.
        provenance: What else is known.

    Raises:
        RecipeError: The health report is none.
    """
    parts = [
        _front_matter(config, provenance),
        f"# {_title(config)}\n",
        _facts(config, provenance),
        _health(provenance),
        _use(config),
        f"lmscope dictionary format {format_version}.\n",
    ]
    return "\n".join(part for part in parts if part)


def base_model(config: DictionaryConfig) -> str | None:
    """The hub's name of the model; None where it has none or it is not known."""
    name = config.model
    if name is None:
        return None
    if name in CATALOG:
        source = CATALOG[name].source
        return source.repository if isinstance(source, HubSource) else None
    is_hub_name = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    return name if is_hub_name else None


def _front_matter(config: DictionaryConfig, provenance: Provenance) -> str:
    # JSON strings are YAML strings: whatever a name holds, it stays one value.
    kind = "transcoder" if config.is_transcoder else "sparse-autoencoder"
    lines = ["---", "library_name: lmscope"]
    lines += ["tags:", *(f"- {tag}" for tag in (kind, "interpretability", config.sparsity.kind))]
    if (model := base_model(config)) is not None:
        lines.append(f"base_model: {json.dumps(model)}")
    if provenance.licence is not None:
        lines.append(f"license: {json.dumps(provenance.licence)}")
    return "\n".join([*lines, "---", ""])


def _title(config: DictionaryConfig) -> str:
    kind = "Transcoder" if config.is_transcoder else "Sparse autoencoder"
    sites = " -> ".join(f"`{s}`" for s in dict.fromkeys((*config.reads, *config.writes)))
    model = "" if config.model is None else f" of `{config.model}`"
    return f"{kind} at {sites}{model}"


def _facts(config: DictionaryConfig, provenance: Provenance) -> str:
    rows = {
        "Reads": f"`{config.reads[0]}`, {config.d_read:,} wide",
        "Writes": f"`{config.writes[0]}`, {config.d_write:,} wide",
        "Latents": f"{config.n_latents:,}",
        "Sparsity": _sparsity(config.sparsity),
        "Linear path beside the latents": "yes" if config.skip else None,
        "Model": None if config.model is None else f"`{config.model}`",
        "Hash of the model's weights": config.model_hash and f"`{config.model_hash}`",
        "Training text": provenance.text,
        "Training tokens": None if provenance.tokens is None else f"{provenance.tokens:,}",
    }
    return _table(("", ""), [(key, value) for key, value in rows.items() if value is not None])


def _sparsity(sparsity: Sparsity) -> str:
    k = getattr(sparsity, "k", None)
    return sparsity.kind if k is None else f"{sparsity.kind}, k = {k}"


def _health(provenance: Provenance) -> str:
    if provenance.health is None:
        return ""
    report = HealthReport.from_mapping(provenance.health, "the health report")
    rows: list[tuple[str, str]] = []
    for label, (part, figure) in _FIGURES.items():
        estimate = getattr(getattr(report, part), figure, None)
        if estimate is not None:
            rows.append((label, _interval(estimate)))
    dead = f"{report.sparsity.n_dead:,} ({report.sparsity.dead_fraction:.1%})"
    rows.append(("Latents that never fired", dead))
    subject = report.subject
    where = (
        f"Measured on {subject.n_tokens:,} held-out tokens in contexts of {subject.context_length}, with 95 % "
        "intervals over contexts.\n"
    )
    return "\n".join(["## How good it is\n", where, _table(("figure", "value"), rows)])


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    cells = [tuple(_cell(text) for text in row) for row in rows]
    return "\n".join([*lines, *(f"| {key} | {value} |" for key, value in cells), ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _use(config: DictionaryConfig) -> str:
    converts = "\n".join(f"lmscope convert PATH OUT --to {name}" for name in _exports(config))
    others = f"For other tools:\n\n```\n{converts}\n```\n" if converts else ""
    return (
        "## Use\n\n"
        "```python\nfrom lmscope import Dictionary\n\n"
        'dictionary = Dictionary.from_pretrained("PATH")  # this folder, or its name on the hub\n'
        f"latents = dictionary.encode(activations)  # raw activations of {config.reads[0]}\n"
        f"output = dictionary(activations)  # raw activations of {config.writes[0]}\n```\n\n"
        + others
    )


def _exports(config: DictionaryConfig) -> list[str]:
    """Formats of other tools that can say what this dictionary does."""
    is_topk, is_transcoder = config.sparsity.kind == "topk", config.is_transcoder
    possible = {
        "sae-lens": not (is_topk and is_transcoder),
        "sparsify": is_topk,
        "circuit-tracer": is_transcoder,
    }
    return [name for name, can in possible.items() if can]
