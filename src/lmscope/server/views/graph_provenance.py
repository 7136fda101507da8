"""Where the numbers of a graph come from, and how to get them without the page."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmscope import __version__
from lmscope.server.library.entries import RunEntry
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.common import Provenance, Snippet
from lmscope.server.views.graph_labels import served_dictionaries


def has_weights(library: Library, entry: GraphEntry, found: GraphColumns) -> bool:
    """Whether a graph's dictionaries seem to be here; the process with the model knows for certain."""
    sites = {one.site for one in found.graph.meta.dictionaries}
    served = served_dictionaries(library, found)
    if all(site in served and served[site].folder is not None for site in sites):
        return True
    # No name at all, or one without folders, is that of something that comes with lmscope.
    return all("/" not in one or Path(one).exists() for one in sources_of(entry.run))


def sources_of(run: RunEntry) -> list[str]:
    """What a trace's recipe names as its dictionaries."""
    chosen = run.recipe.get("dictionaries")
    sources = chosen.get("sources", ()) if isinstance(chosen, Mapping) else ()
    return [str(one) for one in sources]


def graph_provenance(entry: GraphEntry, found: GraphColumns, share: float) -> Provenance:
    """Facts on a graph, and what gives the same nodes and links outside of the page."""
    meta, record = found.graph.meta, entry.run.record
    options = ", ".join(f"{key} {value}" for key, value in sorted(meta.options.items()))
    facts = [
        ("model", meta.model),
        ("model weights", meta.weights_hash),
        ("run", entry.run.id),
        ("target", meta.target),
        ("options", options),
        *(
            (f"dictionary at {one.site}", " ".join(filter(None, (one.name, one.content_digest))))
            for one in meta.dictionaries
        ),
        ("seed", str(entry.run.recipe.get("seed", 0))),
        ("machine", f"{record.machine.kind}, {record.machine.n_threads} threads"),
        *((name, version) for name, version in record.machine.versions.items()),
        ("shown by", f"lmscope {__version__}"),
    ]
    return Provenance(facts=facts, snippets=[_again(entry), _python(entry, share)])


def trace_command(
    recipe: Mapping[str, Any], prompt: str, target: str | None, *extra: str
) -> list[str]:
    """The words of `lmscope trace` that make a circuit of these parts on a prompt."""
    words = ["lmscope", "trace", prompt]
    dictionaries, model = recipe.get("dictionaries", {}), recipe.get("model", {})
    for one in dictionaries.get("sources", ()):
        words += ["--dictionaries", str(one)]
    for one in dictionaries.get("only", ()):
        words += ["--only", str(one)]
    words += ["--model", str(model["name"])] if model.get("name") else []
    words += ["--other-model"] if dictionaries.get("other_model") else []
    # With =, so that a target that begins with a dash is no option.
    words += [] if target is None else [f"--target={target}"]
    return [*words, *extra]


def _again(entry: GraphEntry) -> Snippet:
    prompts = entry.run.recipe.get("prompts", {})
    texts = prompts.get("texts", ())
    title = "The same again, as a new run"
    if prompts.get("file") is None and list(texts) == [entry.record.prompt]:
        trace = entry.run.recipe.get("trace", {})
        threshold = trace.get("threshold")
        extra = [] if threshold is None else ["--threshold", str(threshold)]
        extra += ["--absolute"] if trace.get("relative") is False else []
        extra += ["--signed"] if trace.get("rule") == "signed" else []
        words = trace_command(entry.run.recipe, texts[0], prompts.get("target"), *extra)
        if not texts[0].startswith("-"):
            return Snippet(title=title, language="shell", text=shlex.join(words))
    recipe = str(entry.run.path.resolve() / "recipe.toml")
    return Snippet(title=title, language="shell", text=shlex.join(["lmscope", "trace", recipe]))


def _python(entry: GraphEntry, share: float) -> Snippet:
    lines = [
        "from lmscope import Graph",
        "",
        f"graph = Graph.load({str(entry.path.resolve())!r})",
        "print(graph, dict(graph.ledger))",
    ]
    if share < 1:
        lines += [
            "",
            "from lmscope.server.library.graph_columns import GraphColumns",
            "",
            "columns = GraphColumns(graph)",
            f"shown = columns.shown({share!r})",
            "print([node.id for node, is_shown in zip(graph.nodes, shown) if is_shown])",
        ]
    return Snippet(title="Nodes and links", language="python", text="\n".join(lines))
