"""Compare the latents of trained dictionaries by their weights: matching, neighbours, splitting, maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lmscope.core.errors import ArtifactError, DataError, RecipeError
from lmscope.core.protocols import Listener
from lmscope.core.rng import generator
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import best_in
from lmscope.dictionaries.geometry.maps import pca_map, umap_map
from lmscope.dictionaries.geometry.matching import match
from lmscope.dictionaries.geometry.neighbours import (
    johnson_lindenstrauss_threshold,
    nearest_null,
    neighbours,
)
from lmscope.dictionaries.geometry.nulls import null_rows
from lmscope.dictionaries.geometry.report import (
    LayersReport,
    MapReport,
    matching_report,
    neighbour_report,
    splitting_report,
)
from lmscope.dictionaries.geometry.splitting import split
from lmscope.dictionaries.geometry.statistics import StatisticsReport, frequencies, norms
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.jobs.geometry_reports import REPORTS, Finding, write_finding
from lmscope.jobs.geometry_units import Analysis, Member, Unit, find_members, plan_units, row_width
from lmscope.jobs.running import Plan, running
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run

_KEPT_BYTES: Final = 2 * 2**30


class GeometryRecipe(Recipe):
    """What `lmscope geometry` does."""

    job: Literal["geometry"] = "geometry"
    name: str = "geometry"
    dictionaries: tuple[str, ...]
    """Runs that trained dictionaries, and folders of single ones."""
    analyses: tuple[Analysis, ...] = ()
    """Which ones; empty: all for which there are dictionaries."""
    device: str = "auto"
    """Where cosines are computed; `auto`: the GPU when there is one."""
    options: GeometryOptions = GeometryOptions()


class Rows(NamedTuple):
    """The latents of a dictionary that take part.

    Attributes:
        rows: One row each.
        latents: Their numbers in the dictionary.
    """

    rows: Float[Tensor, "latent width"]
    latents: Int64[Tensor, "latent"]


def geometry(
    recipe: GeometryRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Compare dictionaries by their weights; the run holds `artifacts/geometry/ANALYSIS/NAME`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with; comparisons that it made are not made again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    members = find_members(recipe.dictionaries)
    units = plan_units(members, recipe.analyses, recipe.options)
    with running(recipe, root, listeners, resume) as (run, stop):
        work = _Work(recipe)
        run.event("phase", phase="compare", n_comparisons=len(units))
        for done, unit in enumerate(units):
            run.progress("compare", done, len(units))
            stop.raise_if_requested()
            if not (run.artifacts / "geometry" / unit.analysis / unit.name).exists():
                write_finding(run, unit.name, work.do(unit))
        run.progress("compare", len(units), len(units))
    return run


def plan_geometry(recipe: GeometryRecipe) -> Plan:
    """What `geometry` would do; reads the dictionaries' configurations only."""
    members = find_members(recipe.dictionaries)
    units = plan_units(members, recipe.analyses, recipe.options)
    by_analysis = {a: [unit.name for unit in units if unit.analysis == a] for a in REPORTS}
    largest = max(member.config.n_latents * row_width(member, recipe.options) for member in members)
    block = recipe.options.block_rows
    widest = max(row_width(member, recipe.options) for member in members)
    return Plan(
        {
            "dictionaries": ", ".join(member.name for member in members),
            **{a: ", ".join(names) for a, names in by_analysis.items() if names},
            "n_comparisons": len(units),
            "gflop": round(sum(_flop(unit, recipe.options) for unit in units) / 1e9, 1),
            "rows_memory_mib": round(2 * 4 * largest / 2**20),
            "block_memory_mib": round(4 * block * (block + 2 * widest) / 2**20),
        }
    )


class _Work:
    """Does comparisons; keeps the rows that it used last, at most 2 GiB of them."""

    def __init__(self, recipe: GeometryRecipe) -> None:
        self._options, self._seed = recipe.options, recipe.seed
        self._device = _device(recipe.device)
        self._kept: dict[Path, Rows] = {}

    def do(self, unit: Unit) -> Finding:
        """The report of one comparison and what it found for each latent."""
        names = [member.name for member in unit.members]
        match unit.analysis:
            case "statistics":
                return self._statistics(unit.members[0])
            case "layers":
                return self._layers(unit.members)
            case "map":
                return self._map(unit.members)
            case "neighbours":
                return self._neighbours(names[0], self._rows(unit.members[0]))
            case "splitting":
                return self._splitting(unit.members)
            case _:
                return self._matching(unit.members)

    def _matching(self, members: Sequence[Member]) -> Finding:
        (a, b), (one, two) = (self._rows(member) for member in members), members
        found = match(a.rows, b.rows, self._options, self._seed)
        hashes = one.config.model_hash, two.config.model_hash
        same_model = None if None in hashes else hashes[0] == hashes[1]
        report = matching_report(one.name, two.name, found, self._options, same_model)
        arrays = {
            "a.latent": a.latents,
            "a.cosine": found.of_a.cosine,
            "a.partner": b.latents[found.of_a.partner.cpu()],
            "b.latent": b.latents,
            "b.cosine": found.of_b.cosine,
            "b.partner": a.latents[found.of_b.partner.cpu()],
            "pair.a": a.latents[found.one_to_one.a],
            "pair.b": b.latents[found.one_to_one.b],
            "pair.cosine": found.one_to_one.cosine,
        }
        return Finding("matching", report, arrays)

    def _splitting(self, members: Sequence[Member]) -> Finding:
        narrow, wide = (self._rows(member) for member in members)
        found = split(narrow.rows, wide.rows, self._options, self._seed)
        report = splitting_report(members[0].name, members[1].name, found, self._options)
        arrays = {
            "narrow.latent": narrow.latents,
            "narrow.n_children": found.n_children,
            "wide.latent": wide.latents,
            "wide.parent": narrow.latents[found.best.partner],
            "wide.cosine": found.best.cosine,
            "wide.is_new": found.is_new,
        }
        return Finding("splitting", report, arrays)

    def _neighbours(self, name: str, rows: Rows) -> Finding:
        threshold = johnson_lindenstrauss_threshold(*rows.rows.shape)
        options = self._options
        found = neighbours(rows.rows, threshold, options.n_neighbours, options.block_rows)
        null = nearest_null(rows.rows, options, self._seed)
        arrays = {
            "latent": rows.latents,
            "neighbour": rows.latents[found.latent],
            "cosine": found.cosine,
            "cluster": found.cluster,
        }
        return Finding("neighbours", neighbour_report(name, found, null, rows.rows), arrays)

    def _statistics(self, member: Member) -> Finding:
        dictionary = Dictionary.load(member.path)
        fired = None if member.latents is None else LatentStatistics.load(member.latents)
        report = StatisticsReport(
            dictionary=member.name,
            n_latents=member.config.n_latents,
            norms=norms(dictionary.W_dec, dictionary.W_enc),
            frequencies=None if fired is None else frequencies(fired),
        )
        return Finding("statistics", report, {})

    def _layers(self, members: Sequence[Member]) -> Finding:
        true, null = [], []
        for a in members:
            rows = self._rows(a).rows
            stream = generator(self._seed, "geometry", "layers", a.name)
            random = null_rows(rows, "moments", self._options.null_rows, stream)
            others = [self._rows(b).rows for b in members]
            true.append(tuple(self._mean_max(rows, other) for other in others))
            null.append(tuple(self._mean_max(random, other) for other in others))
        report = LayersReport(
            names=tuple(member.name for member in members),
            mean_max_cosine=tuple(true),
            mean_max_cosine_null=tuple(null),
        )
        return Finding("layers", report, {})

    def _mean_max(self, seekers: Tensor, rows: Tensor) -> float:
        return best_in(seekers, rows, self._options.block_rows).cosine.double().mean().item()

    def _map(self, members: Sequence[Member]) -> Finding:
        parts = {member.name: self._rows(member) for member in members}
        rows = {name: part.rows for name, part in parts.items()}
        found = pca_map(rows) if self._options.map == "pca" else umap_map(rows, self._seed)
        report = MapReport(
            method=found.method,
            dictionaries=tuple(parts),
            n_latents=tuple(len(part.latents) for part in parts.values()),
            explained_share=found.explained_share,
        )
        coordinates = {f"{name}.coordinates": c for name, c in found.coordinates.items()}
        latents = {f"{name}.latent": part.latents for name, part in parts.items()}
        return Finding("map", report, {**latents, **coordinates})

    def _rows(self, member: Member) -> Rows:
        if member.path not in self._kept:
            self._kept[member.path] = _load_rows(member, self._options, self._device)
        self._kept[member.path] = self._kept.pop(member.path)  # the one used last stands last
        size = sum(kept.rows.nbytes for kept in self._kept.values())
        while size > _KEPT_BYTES and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            size -= self._kept.pop(oldest).rows.nbytes
        return self._kept[member.path]


def _load_rows(member: Member, options: GeometryOptions, device: torch.device) -> Rows:
    dictionary = Dictionary.load(member.path)
    rows = (dictionary.W_dec if options.rows == "decoder" else dictionary.W_enc).detach()
    latents = torch.arange(len(rows))
    if options.dead == "leave_out" and member.latents is not None:
        fired = LatentStatistics.load(member.latents).n_fired
        if len(fired) != len(rows):
            raise ArtifactError(
                f"'{member.latents}' describes {len(fired)} latents, '{member.path}' has {len(rows)}: "
                "they belong to different dictionaries; measure this one again."
            )
        latents = latents[fired > 0]
    if not len(latents):
        raise DataError(
            f"No latent of '{member.name}' fired when it was measured: nothing is left to compare. "
            "Train it longer, or give --set options.dead=keep."
        )
    return Rows(rows[latents].float().to(device), latents)


def _flop(unit: Unit, options: GeometryOptions) -> float:
    """Floating-point operations of the products of a comparison, nearly all of its work."""
    width = row_width(unit.members[0], options)
    sizes = [member.config.n_latents for member in unit.members]
    null = options.null_rows
    match unit.analysis:
        case "matching":
            products = 2 * sizes[0] * sizes[1] + 2 * null * sum(sizes)
        case "splitting":
            products = sizes[0] * (2 * sizes[1] + null)
        case "neighbours":
            products = sizes[0] * (sizes[0] + 2 * null)
        case "layers":
            products = (sum(sizes) + null * len(sizes)) * sum(sizes)
        case _:
            products = 0
    return 2.0 * width * products


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"The device '{name}' cannot be used here: {str(error).splitlines()[0]} Give auto or cpu."
        ) from None
