"""`lmscope atlas`: what every latent means, built, shown, asked and packed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import format_bytes
from lmscope.cli.options import Switch, given
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.atlas.atlas import Atlas
    from lmscope.atlas.feature import Feature
    from lmscope.atlas.listing import FeatureList
    from lmscope.dictionaries.probing import Probe

_EXAMPLES: Final = """Example:

    lmscope atlas build last
    lmscope atlas show last 17
    lmscope atlas query last --label "names of rivers"
    lmscope atlas pack last rivers.atlas

Where a command needs an atlas, give a run (a path, a folder name, a beginning
of one, or `last`), a folder artifacts/atlas/NAME, or a packed .atlas file.
"""
_SHOW: Final = """Example:

    lmscope atlas show last
    lmscope atlas show last 17
    lmscope atlas show rivers.atlas 17 --json
"""
_QUERY: Final = """Example:

    lmscope atlas query last --label "names of rivers"
    lmscope atlas query last --token river
    lmscope atlas query last --text "The Rhine flows north." --limit 5
    lmscope atlas query last --near 17
    lmscope atlas query last --known --order -detection
    lmscope atlas query last --sql "SELECT id, shown(id) FROM latent LIMIT 3"
"""
_PACK: Final = "Example:\n\n    lmscope atlas pack last rivers.atlas\n"
_RUNS: Final = Path("runs")
_SHOWN_OF_TOP: Final = 5
_SHOWN_OF_INTERVAL: Final = 2

_Name = Annotated[str | None, Parameter(metavar="NAME")]
_Labels = Annotated[tuple[Path, ...], Parameter(metavar="PATH", show_default=False)]

app = App(
    name="atlas",
    help="Say what every latent means: build, show, ask, pack and exchange atlases.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
)
app.command(
    "lmscope.cli.atlas_build:app",
    name="build",
    help="Build the atlas of each dictionary of a run, or of one dictionary.",
)
app.command(
    "lmscope.cli.atlas_exchange:export_app",
    name="export",
    help="Write an atlas in the formats of other tools.",
)
app.command(
    "lmscope.cli.atlas_exchange:import_app",
    name="import",
    help="Make an atlas of an export.",
)


@app.command(name="show", help_epilogue=_SHOW)
def show(
    atlas: str,
    latent: int | None = None,
    /,
    *,
    name: _Name = None,
    labels: _Labels = (),
    runs_dir: Path = _RUNS,
    json: Switch = False,
) -> int:
    """Show an atlas, or one latent of it with its label, scores and text.

    Args:
        atlas: A run, a folder artifacts/atlas/NAME, or a packed .atlas file.
        latent: Which latent; absent: the atlas as a whole.
        name: Which atlas of a run that has several.
        labels: Explain runs to take labels from; absent: all that fit.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    with _opened(atlas, name, labels, runs_dir) as opened:
        if latent is None:
            _show_atlas(opened, json)
        elif json:
            console.print_json(opened.feature(latent).to_mapping())
        else:
            _show_feature(opened.feature(latent))
    return DONE


@app.command(name="query", help_epilogue=_QUERY)
def query(
    atlas: str,
    /,
    *,
    label: Annotated[str | None, Parameter(metavar="WORDS")] = None,
    token: Annotated[str | None, Parameter(metavar="TEXT")] = None,
    text: Annotated[str | None, Parameter(metavar="TEXT")] = None,
    near: Annotated[int | None, Parameter(metavar="LATENT")] = None,
    sql: Annotated[str | None, Parameter(metavar="SELECT")] = None,
    min_density: Annotated[float | None, Parameter(metavar="SHARE")] = None,
    max_density: Annotated[float | None, Parameter(metavar="SHARE")] = None,
    known: Annotated[bool | None, Parameter(negative="--unknown", show_default=False)] = None,
    dead: Annotated[bool | None, Parameter(negative="--alive", show_default=False)] = None,
    dense: Annotated[bool | None, Parameter(negative="--sparse", show_default=False)] = None,
    order: Annotated[str | None, Parameter(metavar="KEY", allow_leading_hyphen=True)] = None,
    limit: Annotated[int, Parameter(metavar="N")] = 20,
    timeout: Annotated[float, Parameter(metavar="SECONDS")] = 10.0,
    dictionary: Annotated[str | None, Parameter(metavar="PATH")] = None,
    name: _Name = None,
    labels: _Labels = (),
    runs_dir: Path = _RUNS,
    json: Switch = False,
) -> int:
    """Find latents by label, token, text, direction or figures, or run SQL.

    Ask one thing at a time; the figures (density, known, dead, dense, order)
    go together.

    Args:
        atlas: A run, a folder artifacts/atlas/NAME, or a packed .atlas file.
        label: Words that stand in the label.
        token: A token on which the latent fires most.
        text: A text: which latents fire on it? Loads the model.
        near: A latent, for those with the nearest decoder rows.
        sql: One SELECT on the tables latent, token_latent, labels.label, labels.score.
        min_density: Least share of tokens on which the latent fires.
        max_density: Largest share.
        known: Only latents whose label is known, or not.
        dead: Only latents that never fire, or that do.
        dense: Only latents flagged as dense, or not.
        order: latent, n_fired, density, mean, max, n_documents, document_share or detection; with - in front the largest first.
        limit: At most so many rows.
        timeout: Longest time of SQL.
        dictionary: For --text: where the dictionary lies, if not where the atlas says.
        name: Which atlas of a run that has several.
        labels: Explain runs to take labels from; absent: all that fit.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    asked = given({"label": label, "token": token, "text": text, "near": near, "sql": sql})
    figures = given(
        {"min_density": min_density, "max_density": max_density, "known": known, "dead": dead}
        | {"dense": dense, "order": order}
    )
    _check_asked(asked, figures, dictionary, limit)
    with _opened(atlas, name, labels, runs_dir) as opened:
        if sql is not None:
            result = opened.sql(sql, limit=limit, timeout_s=timeout)
            if json:
                console.print_json({"columns": result.columns, "rows": result.rows})
            else:
                console.print_table(result.table())
        elif text is not None:
            _show_probe(opened, _probed(opened, text, dictionary), limit, json)
        else:
            _show_list(_asked(opened, asked, figures, limit), json)
    return DONE


@app.command(name="pack", help_epilogue=_PACK)
def pack(
    atlas: str,
    file: Path,
    /,
    *,
    name: _Name = None,
    labels: _Labels = (),
    runs_dir: Path = _RUNS,
    json: Switch = False,
) -> int:
    """Write an atlas with its text, vectors and labels as one file.

    Args:
        atlas: A run or a folder artifacts/atlas/NAME.
        file: The file to write; its name ends in .atlas.
        name: Which atlas of a run that has several.
        labels: The explain run whose labels go with it; absent: the newest that fits.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.atlas.pack import pack as write

    with _opened(atlas, name, labels, runs_dir) as opened:
        written = write(opened, file)
        size = written.stat().st_size
        if json:
            console.print_json({"file": str(written), "bytes": size, "latents": len(opened)})
        else:
            console.say(f"Wrote '{written}': {len(opened)} latents, {format_bytes(size)}.")
    return DONE


def _opened(atlas: str, name: str | None, labels: tuple[Path, ...], runs_dir: Path) -> "Atlas":
    from lmscope.atlas.atlas import Atlas
    from lmscope.cli.run_names import find_run

    path = Path(atlas)
    if not path.exists():
        path = find_run(atlas, runs_dir, holding="artifacts/atlas")
    folders = [
        one if one.exists() else find_run(str(one), runs_dir, holding="artifacts/labels")
        for one in labels
    ]
    opened = Atlas.open(path, name=name, labels=folders or None)
    for problem in opened.problems:
        console.say(f"Left out: {problem}")
    return opened


def _check_asked(
    asked: dict[str, Any], figures: dict[str, Any], dictionary: str | None, limit: int
) -> None:
    """One question at a time.

    Raises:
        RecipeError: None is asked, or more than one, or an option has no effect.
    """
    kinds = [f"--{kind}" for kind in asked] + [f"--{key.replace('_', '-')}" for key in figures][:1]
    if len(kinds) != 1:
        found = "nothing" if not kinds else " and ".join(kinds)
        raise RecipeError(
            f"Ask one thing: --label, --token, --text, --near, --sql, or figures such as --known; {found} was "
            "asked."
        )
    if dictionary is not None and "text" not in asked:
        raise RecipeError("--dictionary has an effect with --text only: leave it out.")
    if limit < 1:
        raise RecipeError(f"--limit is a number of rows of at least 1, {limit} was given.")


def _asked(
    atlas: "Atlas", asked: dict[str, Any], figures: dict[str, Any], limit: int
) -> "FeatureList":
    if "label" in asked:
        return atlas.search(asked["label"], limit)
    if "token" in asked:
        return atlas.on_token(asked["token"], limit)
    if "near" in asked:
        return atlas.nearest(asked["near"], limit)
    return atlas.filter(**figures, limit=limit)


def _probed(atlas: "Atlas", text: str, dictionary: str | None) -> "Probe":
    from lmscope.cli.progress import ProgressListener
    from lmscope.jobs.atlas_probe import probe_text

    with ProgressListener(console.stderr()) as listener:
        return probe_text(atlas, text, listener, dictionary=dictionary)


def _show_list(found: "FeatureList", json: bool) -> None:
    if json:
        console.print_json({"latents": found.to_mappings()})
    elif len(found):
        console.print_table(found.table())
    else:
        console.say("No latent fits.")


def _show_probe(atlas: "Atlas", probe: "Probe", limit: int, json: bool) -> None:
    from lmscope.display.tables import Table

    said = {one.latent: atlas.feature(one.latent).label for one in probe.ranked(limit)}
    if json:
        ranked = [{**vars(one), "label": said[one.latent]} for one in probe.ranked(limit)]
        console.print_json({"latents": ranked, **probe.to_mapping(limit)})
        return
    rows = tuple(
        (one.latent, said[one.latent], one.max, one.n_tokens, probe.texts[one.peak])
        for one in probe.ranked(limit)
    )
    console.print_table(Table(("latent", "label", "largest", "tokens", "peaks at"), rows))


def _show_atlas(atlas: "Atlas", json: bool) -> None:
    n_dead = atlas.sql("SELECT count(*) FROM latent WHERE dead").rows[0][0]
    n_dense = atlas.sql("SELECT count(*) FROM latent WHERE dense").rows[0][0]
    meta = atlas.meta.to_mapping()
    meta.pop("dictionary_config")
    figures = {
        "atlas": str(atlas.path),
        "digest": atlas.digest,
        **meta,
        "n_dead": n_dead,
        "n_dense": n_dense,
        "n_labels_known": atlas.n_known,
        "labels": [str(reader.path) for reader in atlas.labels],
    }
    if json:
        console.print_json(figures)
    else:
        console.print_rows(console.flat(figures))


def _show_feature(feature: "Feature") -> None:
    record = feature.record
    flags = "dead" if record.is_dead else "dense" if feature.is_dense else None
    scores = ", ".join(
        f"{one.scorer} {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in feature.scores
    )
    rows: dict[str, Any] = {
        "feature": str(feature.id),
        "label": feature.label or None,
        "scores": scores or None,
        "flag": flags,
        "fires on": f"{record.n_fired:,} tokens (density {record.density:.3g})",
        "documents": f"{record.n_documents:,}, {record.document_share:.0%} of its firings in one",
        "mean, largest": f"{record.mean:.4g}, {record.max:.4g}",
        "neighbours": [f"{one.id} ({one.value:.2f})" for one in record.neighbours[:5]],
        "fires along with": [f"{one.id} ({one.value:.2f})" for one in record.coactive[:5]],
    }
    if feature.note is not None:
        rows["note"] = feature.note.text
        rows["tags"] = list(feature.note.tags)
    console.print_rows((key, value) for key, value in rows.items() if value not in (None, []))
    if record.top_logits:
        console.print_line("")
        console.print_table(feature.logits())
    for group in record.groups:
        top = group.name == "top"
        console.print_line("")
        heading = "largest peaks" if top else f"peaks from {group.low:.4g} to {group.high:.4g}"
        console.print_line(f"{heading} ({group.share:.0%} of its stretches)")
        for example in group.examples[: _SHOWN_OF_TOP if top else _SHOWN_OF_INTERVAL]:
            console.print_strip(feature.strip(example))
