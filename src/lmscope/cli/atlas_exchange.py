"""`lmscope atlas export` and `lmscope atlas import`: atlases in the formats of other tools."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Group, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import format_bytes
from lmscope.cli.options import Switch, given
from lmscope.cli.progress import ProgressListener
from lmscope.core.errors import ArtifactError, RecipeError

if TYPE_CHECKING:
    from lmscope.atlas.exchange.content import AtlasContent
    from lmscope.atlas.exchange.neuronpedia_rows import NeuronpediaOptions
    from lmscope.core.protocols import Listener

_EXPORT_EXAMPLES: Final = """Example:

    lmscope atlas export last --html atlas.html
    lmscope atlas export RUN --html ten.html --latents 0-9 --json
    lmscope atlas export RUN --parquet atlas.parquet
    lmscope atlas export RUN --neuronpedia out --source-set my-res-4k
    lmscope atlas export RUN RUN --circuit-tracer features

ATLAS is a run that built one, the folder of one atlas, or a packed .atlas
file. Several formats can be asked for at once; several atlases only with
--circuit-tracer, one a layer.
"""
_IMPORT_EXAMPLES: Final = """Example:

    lmscope atlas import atlas.parquet mine --corpus runs/RUN
    lmscope atlas import out mine --json

SOURCE is what `lmscope atlas export --parquet` or `--neuronpedia` wrote.
"""
_RANGE: Final = re.compile(r"(?P<low>\d{1,7})(?:-(?P<high>\d{1,7}))?", re.ASCII)
_FORMATS: Final = Group("Formats, one or more", sort_key=1)
_NAMES: Final = Group("Names on Neuronpedia", sort_key=5)

export_app = App(name="export", help_epilogue=_EXPORT_EXAMPLES, help_format="plaintext")
import_app = App(name="import", help_epilogue=_IMPORT_EXAMPLES, help_format="plaintext")


@Parameter(name="*", group=_FORMATS)
@dataclass(frozen=True)
class Formats:
    """What is written, and where to."""

    html: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """One page with everything in it, which needs no network."""
    parquet: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """One row a latent; can be imported again without loss."""
    neuronpedia: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    """Files for Neuronpedia's bulk import."""
    neuronpedia_upload: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    """Payloads for Neuronpedia's upload route, 128 latents each."""
    circuit_tracer: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    """Feature files for circuit-tracer's page."""

    def chosen(self) -> dict[str, Path]:
        """Those that were asked for.

        Raises:
            RecipeError: None was.
        """
        chosen = given(vars(self))
        if not chosen:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in vars(self))
            raise RecipeError(f"There is no format to export to: give one or more of {names}.")
        return chosen


@Parameter(name="*", group=_NAMES)
@dataclass(frozen=True)
class NeuronpediaNames:
    """What Neuronpedia is told; made from the atlas where absent."""

    model_id: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Id of the model there."""
    source_set: Annotated[str | None, Parameter(metavar="NAME")] = None
    """What dictionaries of one kind are called together."""
    suffix: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Tells dictionaries of one layer and set apart."""
    release: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Id of the release."""
    creator: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Whom readers see as its author."""
    creator_id: Annotated[str | None, Parameter(metavar="ID")] = None
    """Id of a user there, who will own the rows."""

    def options(self) -> "NeuronpediaOptions":
        """Checked options.

        Raises:
            RecipeError: A name is not in small letters, digits, `.`, `_` and `-`.
        """
        from lmscope.atlas.exchange.neuronpedia_rows import NeuronpediaOptions

        names = {"model": self.model_id, "creator_name": self.creator}
        same = ("source_set", "suffix", "release", "creator_id")
        names |= {name: getattr(self, name) for name in same}
        return NeuronpediaOptions.from_mapping(given(names), "the names on Neuronpedia")


_NO_FORMATS: Final = Formats()
_NO_NAMES: Final = NeuronpediaNames()


@export_app.default
def export(
    *atlases: Annotated[str, Parameter(name="ATLAS", show_default=False)],
    formats: Formats = _NO_FORMATS,
    name: Annotated[str | None, Parameter(metavar="NAME")] = None,
    labels: Annotated[tuple[Path, ...], Parameter(metavar="PATH", show_default=False)] = (),
    latents: Annotated[str | None, Parameter(metavar="N,N-N,...")] = None,
    known: Switch = False,
    no_vectors: Switch = False,
    title: Annotated[str | None, Parameter(metavar="TEXT")] = None,
    names: NeuronpediaNames = _NO_NAMES,
    json: Switch = False,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
) -> int:
    """Write an atlas in the formats of other tools.

    Labels whose score is too low read `not known`; the guess itself is in Parquet only. What is
    written for Neuronpedia is checked against rules that its schemas do not state.

    Args:
        atlases: One or more atlases.
        formats: What is written.
        name: Which atlas, for a run with several.
        labels: An explain run or a folder of labels; by default all that fit. Repeatable.
        latents: Only these, e.g. 0-99,512.
        known: Only latents with a label that may be shown.
        no_vectors: Leave decoder rows out of Parquet and Neuronpedia files.
        title: Heading of the page.
        names: What Neuronpedia is told.
        json: Print one JSON object to stdout.
        runs_dir: Folder of all runs.
    """
    from lmscope.atlas.exchange.content import content_of

    chosen = formats.chosen()
    _check(atlases, chosen, title, names)
    numbers = None if latents is None else _numbers(latents)
    with ExitStack() as stack:
        contents = []
        for one in atlases:
            atlas = stack.enter_context(_open(one, name, labels, runs_dir))
            contents.append(content_of(atlas, numbers, known_only=known))
        task = _Export(contents, not no_vectors, title, names)
        listener = stack.enter_context(ProgressListener(console.stderr()))
        written = [task.write(format_, path, listener) for format_, path in chosen.items()]
    _report_export(contents, written, json)
    return DONE


@import_app.default
def import_(
    source: Path,
    target: Path,
    /,
    *,
    corpus: Annotated[Path | None, Parameter(metavar="PATH")] = None,
    json: Switch = False,
) -> int:
    """Make an atlas of an export; from Parquet it is equal byte by byte.

    Neuronpedia's files keep four decimals, and of labels those that are known. Files that others
    wrote cannot be imported: they lack positions and token ids.

    Args:
        source: A Parquet file, or the folder of a Neuronpedia export.
        target: The folder to make.
        corpus: The frozen corpus of the atlas, or a run that has it; it is copied beside the atlas.
        json: Print one JSON object to stdout.
    """
    from lmscope.atlas.exchange.importing import import_atlas

    with ProgressListener(console.stderr()) as listener:
        done = import_atlas(source, target, listener, corpus=corpus)
    if json:
        values = {"path": str(done.path), "format": done.format, "n_latents": done.meta.n_latents}
        values |= {"n_labels": done.n_labels, "has_vectors": done.has_vectors}
        console.print_json(values | {"has_corpus": done.has_corpus})
        return DONE
    vectors = "with vectors" if done.has_vectors else "without vectors"
    console.print_line(
        f"{done.path}: {done.meta.n_latents:,} latents of {done.meta.model}, {done.n_labels:,} labels, {vectors}."
    )
    if not done.has_corpus:
        console.say(
            f"Its text, corpus {done.meta.corpus_digest[:12]}, is not beside it: copy it to "
            f"'{target}/artifacts/corpus/{done.meta.corpus_digest}', or import again with --corpus."
        )
    return DONE


@dataclass(frozen=True)
class _Written:
    """One format that was written."""

    format: str
    path: Path
    n_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Export:
    """What is exported, whatever the format."""

    contents: "list[AtlasContent]"
    vectors: bool
    title: str | None
    names: NeuronpediaNames

    def write(self, format_: str, path: Path, listener: "Listener") -> _Written:
        """Write one format.

        Raises:
            ArtifactError: It cannot be written, or breaks a rule of Neuronpedia.
        """
        contents = [_followed(one, format_, listener) for one in self.contents]
        writers: dict[str, Callable[[list[AtlasContent], Path], tuple[str, ...]]] = {
            "html": self._html,
            "parquet": self._parquet,
            "neuronpedia": self._neuronpedia,
            "neuronpedia_upload": self._upload,
            "circuit_tracer": self._circuit_tracer,
        }
        notes = writers[format_](contents, path)
        return _Written(format_.replace("_", "-"), path, _size(path), notes)

    def _html(self, contents: "list[AtlasContent]", path: Path) -> tuple[str, ...]:
        from lmscope.atlas.exchange.html import write_html

        write_html(contents[0], path, title=self.title)
        return ()

    def _parquet(self, contents: "list[AtlasContent]", path: Path) -> tuple[str, ...]:
        from lmscope.atlas.exchange.parquet import write_parquet

        write_parquet(contents[0], path, vectors=self.vectors)
        return ()

    def _neuronpedia(self, contents: "list[AtlasContent]", path: Path) -> tuple[str, ...]:
        from lmscope.atlas.exchange.neuronpedia import write_neuronpedia
        from lmscope.atlas.exchange.neuronpedia_lint import lint_export

        place = write_neuronpedia(contents[0], path, self.names.options(), vectors=self.vectors)
        _refuse(lint_export(place), path)
        return (f"Neuronpedia reads '{place}'; every rule that is known holds.",)

    def _upload(self, contents: "list[AtlasContent]", path: Path) -> tuple[str, ...]:
        from json import loads

        from lmscope.atlas.exchange.neuronpedia import write_uploads
        from lmscope.atlas.exchange.neuronpedia_lint import lint_upload

        left_out = write_uploads(contents[0], path, self.names.options())
        for file in sorted(path.glob("*.json")):
            _refuse(lint_upload(loads(file.read_bytes())), file)
        if not left_out:
            return ()
        return (f"{len(left_out):,} latents that never fired were left out: the route takes none.",)

    def _circuit_tracer(self, contents: "list[AtlasContent]", path: Path) -> tuple[str, ...]:
        from lmscope.atlas.exchange.circuit_tracer import write_circuit_tracer

        write_circuit_tracer(contents, path)
        if path.name == "features":
            return ()
        return ("circuit-tracer looks for a folder named 'features' beside the weights.",)


def _check(
    atlases: Sequence[str], chosen: dict[str, Path], title: str | None, names: NeuronpediaNames
) -> None:
    """Every option has an effect.

    Raises:
        RecipeError: One has none, or there is no atlas.
    """
    if not atlases:
        raise RecipeError(
            "There is no atlas to export: name a run that built one (`last` for the newest)."
        )
    if len(atlases) > 1 and set(chosen) != {"circuit_tracer"}:
        raise RecipeError(
            f"{len(atlases)} atlases were named, and only --circuit-tracer takes more than one: export the "
            "others one by one."
        )
    if title is not None and "html" not in chosen:
        raise RecipeError("--title is of the page: give --html too.")
    found = given(vars(names))
    if found and not any(format_.startswith("neuronpedia") for format_ in chosen):
        option = next(iter(found)).replace("_", "-")
        raise RecipeError(f"--{option} is for Neuronpedia: give --neuronpedia too.")


def _open(atlas: str, name: str | None, labels: Sequence[Path], runs_dir: Path) -> Any:
    from lmscope.atlas.atlas import Atlas
    from lmscope.cli.run_names import find_run

    path = Path(atlas)
    if not path.exists():
        path = find_run(atlas, runs_dir, holding="artifacts/atlas")
    return Atlas.open(path, name=name, labels=labels or None)


def _numbers(text: str) -> list[int]:
    """`0-9,17` as numbers.

    Raises:
        RecipeError: It has another form.
    """
    found: set[int] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise RecipeError(
                f"--latents: '{word}' is no number and no range: write 17 or 0-99, separated by commas."
            )
        low, high = int(match["low"]), int(match["high"] or match["low"])
        if high < low:
            raise RecipeError(f"--latents: '{word}' runs backwards: write {high}-{low}.")
        found.update(range(low, high + 1))
    return sorted(found)


def _followed(content: "AtlasContent", format_: str, listener: "Listener") -> "AtlasContent":
    """The content, whose reading shows as progress."""
    from collections.abc import Iterator
    from dataclasses import replace

    from lmscope.atlas.exchange.content import Entry

    def entries() -> Iterator[Entry]:
        for done, entry in enumerate(content.entries(), 1):
            yield entry
            listener.on_progress(format_, done, content.n_entries, {})

    return replace(content, entries=entries)


def _refuse(findings: list[str], path: Path) -> None:
    """Say what the lint found; an atlas that is whole gives it nothing to find."""
    if findings:
        rest = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ArtifactError(f"'{path}' breaks a rule of Neuronpedia: {findings[0]}{rest}")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files)


def _report_export(contents: "list[AtlasContent]", written: list[_Written], json: bool) -> None:
    n = sum(content.n_entries for content in contents)
    if json:
        found = [
            {
                "format": one.format,
                "path": str(one.path),
                "n_bytes": one.n_bytes,
                "notes": list(one.notes),
            }
            for one in written
        ]
        console.print_json({"n_latents": n, "written": found})
        return
    for one in written:
        console.print_line(f"{one.format}  {one.path}  {n:,} latents, {format_bytes(one.n_bytes)}")
        for note in one.notes:
            console.say(note)
