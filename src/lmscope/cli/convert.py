"""`lmscope convert`: dictionaries between formats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import format_bytes
from lmscope.cli.options import Switch
from lmscope.cli.progress import ProgressListener
from lmscope.core.errors import RecipeError
from lmscope.display.tables import Cell, Table

if TYPE_CHECKING:
    from lmscope.jobs.convert import Converted

_EXAMPLES: Final = """Example:

    lmscope convert --list
    lmscope convert path/to/Llama3_1-8B-Base-L15R-8x mine --check
    lmscope convert runs/RUN out --to sae-lens
    lmscope convert hf:google/gemma-scope-2b-pt-res/layer_12/width_16k/\\
average_l0_82 out
    lmscope convert params out --from gemma-scope --reads resid_post@12

SOURCE is one dictionary, a folder of many, a run, or hf:OWNER/REPO with
/SUB/FOLDER and @REVISION where needed. The format is recognised.
"""

app = App(name="convert", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def convert(
    source: str | None = None,
    target: Path | None = None,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from", metavar="FORMAT")] = None,
    to: Annotated[str | None, Parameter(metavar="FORMAT")] = None,
    reads: Annotated[str | None, Parameter(metavar="SITE")] = None,
    writes: Annotated[str | None, Parameter(metavar="SITE")] = None,
    model: Annotated[str | None, Parameter(metavar="NAME")] = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
    check: Switch = False,
    list: Switch = False,
    json: Switch = False,
) -> int:
    """Convert dictionaries between lmscope's format and those of other tools.

    Args:
        source: What to convert.
        target: The folder to make.
        from_: Format of the source, if it is not to be recognised.
        to: Format of the result; lmscope's own when absent.
        reads: Site that it reads, where the files do not say.
        writes: Site that it writes, where the files do not say.
        model: Model that it belongs to, where the files do not say.
        dtype: Number format of the result.
        check: Read the result again and compare it with the source.
        list: Show the formats and what each of them means by its numbers.
        json: Print one JSON object to stdout.
    """
    if list:
        return _list_formats(json)
    if source is None or target is None:
        raise RecipeError(
            "There is nothing to convert: name a SOURCE and a TARGET, or ask for --list."
        )
    from lmscope.dictionaries.formats.format import Given
    from lmscope.jobs.convert import Conversion
    from lmscope.jobs.convert import convert as run

    given = Given(reads, writes, model)
    conversion = Conversion(source, target, from_, to, given, dtype, check)
    with ProgressListener(console.stderr()) as listener:
        done = run(conversion, listener)
    if json:
        found = [one.to_mapping() for one in done]
        console.print_json({"source": source, "target": str(target), "dictionaries": found})
    else:
        _show(done)
    return DONE


def _list_formats(json: bool) -> int:
    from lmscope.jobs.convert import describe_formats

    formats = describe_formats()
    if json:
        console.print_json({"formats": formats})
        return DONE
    rows = tuple((one["name"], one["reads"], one["writes"], one["convention"]) for one in formats)
    console.print_table(Table(("format", "read", "written", "what its numbers mean"), rows))
    return DONE


def _show(done: "list[Converted]") -> None:
    first = done[0]
    total = format_bytes(sum(one.n_bytes for one in done))
    caption = f"{first.from_format} -> {first.to_format}, {total}"
    columns = ["dictionary", "reads", "writes", "latents", "sparsity", "size"]
    if first.check is not None:
        columns += ["max difference", "of at most", "firings that differ"]
    rows = tuple(_row(one) for one in done)
    console.print_table(Table(tuple(columns), rows, caption=caption))
    for note in dict.fromkeys(note for one in done for note in one.notes):
        console.print_line(f"- {note}")


def _row(one: "Converted") -> tuple[Cell, ...]:
    name = one.path.name if one.name == "." else one.name
    row: tuple[Cell, ...] = (
        *(name, one.reads, one.writes),
        *(one.n_latents, one.sparsity, format_bytes(one.n_bytes)),
    )
    if one.check is None:
        return row
    firing = f"{one.check.firing_difference:.2%}"
    return (*row, f"{one.check.max_difference:.2g}", f"{one.check.max_output:.3g}", firing)
