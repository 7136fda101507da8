"""Where `lmscope trace --export` puts graphs, and in which form."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lmscope.core.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from lmscope.runs.run import Run

_FORMATS: Final = ("graph", "json", "graphml")


@dataclass(frozen=True)
class Export:
    """What was asked to be exported.

    Attributes:
        path: A file, or a folder for several prompts.
        form: `graph`, `json` or `graphml`.
        is_folder: Whether the path is a folder.
    """

    path: Path
    form: str
    is_folder: bool

    @classmethod
    def of(cls, path: Path | None, form: str | None) -> "Export | None":
        """What the options say; None where nothing is exported.

        Raises:
            RecipeError: The file's ending is none that is written, or --export-format has no effect.
        """
        if path is None:
            if form is not None:
                raise RecipeError("--export-format is of --export: say where the graphs go.")
            return None
        ending = path.suffix.removeprefix(".")
        if form is not None:
            return cls(path, form, True)
        if ending not in _FORMATS:
            raise RecipeError(
                f"'{path}' has no ending that graphs are written with: .graph, .json or .graphml"
                f"{did_you_mean(ending, _FORMATS) if ending else ', or a folder with --export-format'}."
            )
        return cls(path, ending, False)

    def check(self, n_graphs: int) -> None:
        """Refuse more graphs than one for one file.

        Raises:
            RecipeError: There are.
        """
        if n_graphs > 1 and not self.is_folder:
            raise RecipeError(
                f"'{self.path}' is one file and there are {n_graphs} graphs: give a folder and --export-format."
            )

    def write(self, run: "Run") -> None:
        """Write the graphs of a run.

        Raises:
            RecipeError: There are several and the path is a file.
            ArtifactError: A file cannot be written.
        """
        from lmscope.cli import console
        from lmscope.jobs.trace_export import export_graph
        from lmscope.jobs.trace_labels import read_labels
        from lmscope.jobs.trace_record import load_graph, read_report, read_together
        from lmscope.jobs.trace_together import groups_of

        records = read_report(run).traces
        self.check(len(records))
        labels, together = read_labels(run), read_together(run)
        for one in records:
            path = self.path / f"{one.name}.{self.form}" if self.is_folder else self.path
            graph = load_graph(run, one.name)
            groups = () if together is None else groups_of(graph, together)
            export_graph(graph, one, path, labels, groups)
            console.say(f"Exported: {path}")
