"""Convert dictionaries between formats: one, or a tree of them; a conversion of files, not a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import torch

from lmscope.core.errors import ArtifactError, RecipeError, SiteError
from lmscope.core.protocols import Listener
from lmscope.core.site import SitePattern, parse_pattern
from lmscope.dictionaries.card import NOTHING_KNOWN, Provenance
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats import registry, source
from lmscope.dictionaries.formats.format import Given, Imported, SetFormat, WritableFormat
from lmscope.dictionaries.formats.source import Found
from lmscope.dictionaries.formats.sparsify import hookpoint_name
from lmscope.jobs.reports import read_health
from lmscope.runs.run import Run

NATIVE: Final = "lmscope"
N_CHECKED: Final = 256
"""Random inputs on which source and result are compared."""


@dataclass(frozen=True)
class Conversion:
    """What to convert into what.

    Attributes:
        source: A dictionary, a tree of them or a run; a path, or `hf:owner/repo[/sub][@revision]`.
        target: The folder that will hold the result; it must not be there.
        from_format: Format of the source; absent: recognised.
        to_format: Format of the result; absent: lmscope's own.
        given: What the files may not say.
        dtype: Of the result; absent: that of the source.
        check: Whether to read the result again and compare it with the source.
    """

    source: str
    target: Path
    from_format: str | None = None
    to_format: str | None = None
    given: Given = field(default_factory=Given)
    dtype: Literal["float32", "bfloat16"] | None = None
    check: bool = False


class Check(NamedTuple):
    """How far the result is from the source, on random inputs of many scales."""

    n: int
    """Inputs."""
    max_difference: float
    """Largest difference of an output coordinate."""
    max_output: float
    """Largest output coordinate, to judge it by."""
    firing_difference: float
    """Share of (input, latent) pairs of which one fires and the other does not."""


@dataclass(frozen=True)
class Converted:
    """One dictionary that was converted."""

    name: str
    """Its path within the source; `.` for the source itself."""
    path: Path
    """Where the result lies."""
    from_format: str
    to_format: str
    reads: str
    writes: str
    d_read: int
    d_write: int
    n_latents: int
    sparsity: str
    model: str | None
    n_bytes: int
    """Of the result's files."""
    notes: tuple[str, ...]
    """What the reader had to know of the source's convention."""
    check: Check | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self) | {"path": str(self.path), "notes": list(self.notes)}
        return plain | {"check": None if self.check is None else self.check._asdict()}


def convert(conversion: Conversion, listener: Listener | None = None) -> list[Converted]:
    """Convert every dictionary of the source; each result is whole or absent.

    Raises:
        ArtifactError: The source is missing, damaged, of no known format or not to be represented
            exactly, or something is at the target already.
        RecipeError: No such format, one that cannot be written, or a site that nobody says.
    """
    target = conversion.target
    to = writable(conversion.to_format or NATIVE)
    if target.exists() or target.is_symlink():
        raise ArtifactError(f"'{target}' exists already: remove it or choose another name.")
    root = _fetch(conversion.source)
    run = root if (root / "run.json").is_file() else None
    if run is not None:
        root = root / "artifacts" / "dictionaries"
    found = source.find_all(root, conversion.from_format)
    _check_given(conversion.given, found)
    if isinstance(to, SetFormat) and len(found) > 1:
        return _convert_set(conversion, to, found)
    done: list[Converted] = []
    for one in found:
        if listener is not None:
            listener.on_progress("convert", len(done), len(found), {})
        imported = _read(one, conversion)
        path = _path(target, one, imported, to)
        if to.name == NATIVE:
            imported.dictionary.save_pretrained(path, provenance=_provenance(run, one.name))
        else:
            to.write(imported.dictionary, path)
        done.append(_converted(conversion, one, imported, to, path))
    return done


def writable(name: str) -> WritableFormat:
    """A format that dictionaries can be written in, by its name.

    Raises:
        RecipeError: No such format, or one that is only read.
    """
    one = registry.named(name)
    if not isinstance(one, WritableFormat):
        others = ", ".join(f.name for f in registry.formats() if isinstance(f, WritableFormat))
        raise RecipeError(f"'{name}' is read but not written; {others} are written.")
    return one


def describe_formats() -> list[dict[str, Any]]:
    """Every format: its name, whether it is written too, and its convention."""
    return [
        {
            "name": one.name,
            "reads": True,
            "writes": isinstance(one, WritableFormat),
            "convention": one.convention,
        }
        for one in registry.formats()
    ]


@torch.no_grad()
def compare(before: Dictionary, after: Dictionary) -> Check:
    """How far two dictionaries are apart on the same random inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N_CHECKED, before.config.d_read, generator=generator)
    # Scales from far below any threshold to far above, so that gates close as well as open.
    x = x * torch.logspace(-2, 2, N_CHECKED)[:, None]
    ours, theirs = before.float(), after.float()
    expected, found = ours(x), theirs(x)
    fires = (ours.encode(x) > 0) != (theirs.encode(x) > 0)
    return Check(
        N_CHECKED,
        float((expected - found).abs().max()),
        float(expected.abs().max()),
        float(fires.double().mean()),
    )


def _fetch(name: str) -> Path:
    """The source's folder; what is no folder here is looked for on the hub only where `hf:` says so."""
    if not name.startswith("hf:") and not Path(name).exists():
        raise ArtifactError(
            f"There is nothing at '{name}'; a name on the hub begins with hf:, e.g. hf:owner/repo."
        )
    return source.locate(name, whole=True)


def _check_given(given: Given, found: Sequence[Found]) -> None:
    """One site cannot be that of many dictionaries; a pattern over layers can."""
    for option, text in (("reads", given.reads), ("writes", given.writes)):
        if text is None:
            continue
        try:
            is_pattern = isinstance(parse_pattern(text), SitePattern)
        except SiteError as error:
            raise RecipeError(f"--{option} is wrong: {error}") from None
        if len(found) > 1 and not is_pattern:
            raise RecipeError(
                f"--{option} names one site, but {len(found)} dictionaries were found ({found[0].name}, "
                f"{found[1].name}, ...): convert them one by one."
            )


def _read(one: Found, conversion: Conversion) -> Imported:
    imported = one.format.read(one.path, conversion.given)
    if conversion.dtype is None:
        return imported
    dtype: torch.dtype = getattr(torch, conversion.dtype)
    return Imported(imported.dictionary.to(dtype), imported.notes, imported.metadata)


def _convert_set(conversion: Conversion, to: SetFormat, found: Sequence[Found]) -> list[Converted]:
    """Many dictionaries into one set, which is written as a whole."""
    read = {one.name: _read(one, conversion) for one in found}
    to.write_set({name: one.dictionary for name, one in read.items()}, conversion.target)
    done: list[Converted] = []
    for one in found:
        layer = read[one.name].dictionary.config.write_site.layer
        path = conversion.target / f"layer_{layer}.safetensors"
        done.append(_converted(conversion, one, read[one.name], to, path))
    return done


def _converted(
    conversion: Conversion, one: Found, imported: Imported, to: WritableFormat, path: Path
) -> Converted:
    config = imported.dictionary.config
    check = None
    if conversion.check:
        # The target's name may say nothing: its sites are those of the source.
        again = to.read(path, Given(config.reads[0], config.writes[0], config.model))
        check = compare(imported.dictionary, again.dictionary)
    k = getattr(config.sparsity, "k", None)
    return Converted(
        name=one.name,
        path=path,
        from_format=one.format.name,
        to_format=to.name,
        reads=config.reads[0],
        writes=config.writes[0],
        d_read=config.d_read,
        d_write=config.d_write,
        n_latents=config.n_latents,
        sparsity=config.sparsity.kind + ("" if k is None else f" {k}"),
        model=config.model,
        n_bytes=_size(path),
        notes=imported.notes,
        check=check,
    )


def _path(target: Path, one: Found, imported: Imported, to: WritableFormat) -> Path:
    """Where a dictionary of a tree goes: its own path there; at the target itself if it is alone."""
    if one.name == ".":
        return target
    path = target / one.name
    if to.name == "sparsify":  # whose tools know a dictionary's module by its folder's name
        named = path.parent / (hookpoint_name(imported.dictionary.config) or path.name)
        return path if named.exists() else named
    return path


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _provenance(run: Path | None, name: str) -> Provenance:
    """What the run that trained a dictionary knows of it."""
    if run is None:
        return NOTHING_KNOWN
    values: Mapping[str, Any] = Run.open(run).recipe_values
    text = values.get("text", {}).get("source")
    health = run / "artifacts" / "health" / name
    return Provenance(
        text=text if isinstance(text, str) else None,
        health=read_health(health).to_mapping() if health.is_dir() else None,
    )
