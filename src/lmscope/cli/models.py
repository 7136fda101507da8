"""`lmscope models`: the catalog of models and what of it lies ready."""

from typing import Any, Final

from cyclopts import App

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import format_bytes
from lmscope.cli.options import Switch
from lmscope.cli.progress import ProgressListener
from lmscope.display.tables import Table

_EXAMPLES: Final = """Example:

    lmscope models list
    lmscope models show gemma3-270m-q4
    lmscope models get smollm2-135m-instruct-q4

Any command that takes --model also takes a local folder, a .gguf file or a
Hugging Face id.
"""

app = App(name="models", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.command(name="list", help_epilogue="Example:\n\n    lmscope models list --json\n")
def list_models(*, json: Switch = False) -> int:
    """List the models of the catalog.

    Args:
        json: Print one JSON object to stdout.
    """
    from lmscope.models.catalog import CATALOG

    facts = [_facts(name) for name in CATALOG]
    if json:
        console.print_json({"models": facts})
        return DONE
    rows = tuple(
        (one["name"], one["family"], one["is_stored"], _size(one["size_bytes"]), one["what"])
        for one in facts
    )
    console.print_table(Table(("name", "family", "here", "download", "what it is"), rows))
    return DONE


@app.command(name="show", help_epilogue="Example:\n\n    lmscope models show gpt2\n")
def show(name: str, /, *, json: Switch = False) -> int:
    """Describe one model of the catalog: its source, its terms, where it lies.

    Args:
        name: A name that `lmscope models list` shows.
        json: Print one JSON object to stdout.
    """
    facts = _facts(name)
    if json:
        console.print_json(facts)
    else:
        console.print_rows(
            (key, _size(value) if key == "size_bytes" else console.readable(value))
            for key, value in facts.items()
        )
    return DONE


@app.command(
    name="get", help_epilogue="Example:\n\n    lmscope models get smollm2-135m-instruct-q4\n"
)
def get(name: str, /, *, json: Switch = False) -> int:
    """Fetch a model of the catalog, check it, and convert it once.

    Args:
        name: A name that `lmscope models list` shows.
        json: Print one JSON object to stdout.
    """
    from lmscope.models import store

    with ProgressListener(console.stderr()) as listener:
        folder = store.get(name, listener)
    if json:
        console.print_json({"name": name, "folder": str(folder)})
    else:
        console.print_line(str(folder))
    return DONE


def _facts(name: str) -> dict[str, Any]:
    from lmscope.models import store
    from lmscope.models.catalog import HubSource, entry

    model = entry(name)
    on_hub = isinstance(model.source, HubSource)
    is_stored = not on_hub and store.is_stored(name)
    return {
        "name": model.name,
        "family": model.family,
        "what": model.what,
        "licence": model.licence,
        "notice": model.notice,
        "origin": model.origin,
        "size_bytes": model.size_bytes,
        "is_stored": is_stored,
        "folder": str(store.model_folder(name)) if is_stored else None,
    }


def _size(n_bytes: int | None) -> str:
    return "hub" if n_bytes is None else format_bytes(n_bytes)
