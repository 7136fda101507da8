"""Which dictionaries are compared with which: by site, width and sparsity, from their configurations alone."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Final, Literal, NamedTuple

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.jobs.evaluation_task import trained_dictionaries
from lmscope.jobs.geometry_reports import folder_name

Analysis = Literal["matching", "neighbours", "splitting", "statistics", "map"]
ANALYSES: Final[tuple[Analysis, ...]] = (
    "splitting",
    "matching",
    "neighbours",
    "statistics",
    "map",
)
"""In the order in which they are done and shown."""
_NEEDS: Final[dict[str, str]] = {
    "matching": "two dictionaries that lie in spaces of one width",
    "splitting": "two dictionaries of one site with different numbers of latents",
}


class Member(NamedTuple):
    """A dictionary that takes part, not loaded.

    Attributes:
        name: Unique among those that take part.
        path: Its folder.
        config: What it says of itself.
        latents: Its latents' statistics; None where it was not measured.
    """

    name: str
    path: Path
    config: DictionaryConfig
    latents: Path | None


class Unit(NamedTuple):
    """One comparison: what is done, with which dictionaries, in their order."""

    analysis: str
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """What its folder is called."""
        return folder_name([member.name for member in self.members])


def find_members(paths: Sequence[str]) -> tuple[Member, ...]:
    """Every dictionary of runs and folders, with a name of its own.

    Raises:
        RecipeError: Nothing was given, or a dictionary twice.
        ArtifactError: A path holds none.
    """
    if not paths:
        raise RecipeError(
            "There is nothing to compare: name runs (`last` for the newest) or folders of dictionaries."
        )
    found: dict[Path, tuple[str, str]] = {}
    for path in paths:
        for name, folder in trained_dictionaries(path).items():
            if folder.resolve() in found:
                raise RecipeError(f"'{folder}' is given twice: leave one of the two out.")
            found[folder.resolve()] = (name, _owner(folder))
    names = _own_names(list(found.values()))
    return tuple(
        Member(name, folder, _read_config(folder), _latents_of(folder))
        for name, folder in zip(names, found, strict=True)
    )


def plan_units(
    members: Sequence[Member], analyses: Sequence[Analysis], options: GeometryOptions
) -> tuple[Unit, ...]:
    """The comparisons that make sense, in the order of `ANALYSES`.

    Splitting and matching: dictionaries of one site with different numbers of latents, those of equal
    sparsity where there are any. Matching: dictionaries of one site and one number of latents, which
    differ in seed, sparsity or text, pair by pair; and those of different sites with equal numbers of
    latents and sparsity, all together. Neighbours and statistics: each alone. Maps: all whose rows lie
    at one site together.

    Raises:
        RecipeError: Nothing fits an analysis that was asked for.
    """
    wanted = analyses or ANALYSES
    widths = _different_widths(members)
    pairs = [*widths, *_same_shape(members)]
    found: dict[str, list[Unit]] = {
        "splitting": [Unit("splitting", pair) for pair in widths],
        "matching": [
            *(Unit("matching", pair) for pair in pairs),
            *(Unit("layers", group) for group in _across_sites(members, options)),
        ],
        "neighbours": [Unit("neighbours", (member,)) for member in members],
        "statistics": [Unit("statistics", (member,)) for member in members],
        "map": [Unit("map", group) for group in _one_space(members, options)],
    }
    for analysis in analyses:
        if not found[analysis]:
            names = ", ".join(member.name for member in members)
            raise RecipeError(f"'{analysis}' needs {_NEEDS[analysis]}; there is: {names}.")
    return tuple(unit for analysis in ANALYSES if analysis in wanted for unit in found[analysis])


def _own_names(found: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each dictionary: its own, after that of its run where two have the same."""
    plain = [name for name, _ in found]
    names = [f"{run}.{name}" if plain.count(name) > 1 else name for name, run in found]
    return [
        f"{name}.{i}" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)
    ]


def _different_widths(members: Sequence[Member]) -> list[tuple[Member, Member]]:
    """Pairs of one site, the narrow one first; of equal sparsity where the site has such."""
    pairs = [
        tuple(sorted(pair, key=lambda member: member.config.n_latents))
        for pair in combinations(members, 2)
        if _place(pair[0]) == _place(pair[1])
        if pair[0].config.n_latents != pair[1].config.n_latents
    ]
    alike = [(a, b) for a, b in pairs if a.config.sparsity == b.config.sparsity]
    served = {_place(a) for a, _ in alike}
    return alike + [(a, b) for a, b in pairs if _place(a) not in served]


def _same_shape(members: Sequence[Member]) -> list[tuple[Member, Member]]:
    return [
        (a, b)
        for a, b in combinations(members, 2)
        if _place(a) == _place(b) and a.config.n_latents == b.config.n_latents
    ]


def _across_sites(members: Sequence[Member], options: GeometryOptions) -> list[tuple[Member, ...]]:
    """Groups of equal shape and sparsity at two or more sites, the first dictionary of each site."""
    groups: dict[tuple[str, ...], dict[tuple[str, ...], Member]] = {}
    for member in members:
        config = member.config
        shape = str(config.n_latents), str(row_width(member, options)), config.sparsity.digest()
        groups.setdefault(shape, {}).setdefault(_place(member), member)
    return [tuple(group.values()) for group in groups.values() if len(group) > 1]


def _one_space(members: Sequence[Member], options: GeometryOptions) -> list[tuple[Member, ...]]:
    """Dictionaries whose rows lie at one site."""
    groups: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        config = member.config
        sites = config.writes if options.rows == "decoder" else config.reads
        groups.setdefault((*sites, str(row_width(member, options))), []).append(member)
    return [tuple(group) for group in groups.values()]


def _place(member: Member) -> tuple[str, ...]:
    config = member.config
    return (*config.reads, *config.writes, str(config.d_read), str(config.d_write))


def row_width(member: Member, options: GeometryOptions) -> int:
    """Coordinates of the rows that are compared."""
    config = member.config
    return config.d_write if options.rows == "decoder" else config.d_read


def _owner(folder: Path) -> str:
    """The run that a dictionary belongs to, or the folder above it."""
    parent = folder.resolve().parent
    return (
        parent.parents[1].name
        if parent.parts[-2:] == ("artifacts", "dictionaries")
        else parent.name
    )


def _latents_of(folder: Path) -> Path | None:
    """Where a run's health report has the statistics of a dictionary's latents, if it has."""
    path = folder.resolve().parents[1] / "health" / folder.name / "latents.safetensors"
    return path if path.is_file() else None


def _read_config(folder: Path) -> DictionaryConfig:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return DictionaryConfig.from_mapping(values, f"'{path}'")
    except RecipeError as error:
        raise ArtifactError(f"'{folder}' holds no usable dictionary: {error}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{folder}' holds no usable dictionary: {error}.") from None
