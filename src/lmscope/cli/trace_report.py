"""What `lmscope trace` prints: ledgers, trees, pairs of scores, trials, and what prompts share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lmscope.circuits.graph import Graph
from lmscope.cli import console
from lmscope.cli.trace_options import Shown
from lmscope.cli.trace_tree import CircuitTree, TreeShape
from lmscope.core.feature import FeatureId
from lmscope.display.tables import Table
from lmscope.jobs.trace_label_file import features_of, read_labels
from lmscope.jobs.trace_record import load_graph, read_report, read_together

if TYPE_CHECKING:
    from lmscope.circuits.head_scores import HeadScore
    from lmscope.jobs.trace_record import TraceRecord, WhyNot
    from lmscope.runs.run import Run

_N_PAIRS: Final = 10
_N_SHARED: Final = 15
_MODELS: Final = {"linear": "linear model", "real": "model itself"}
_RULES: Final = {
    "relu": "ReLU",
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
}


def print_report(run: "Run", shown: Shown, as_json: bool) -> None:
    """Print what a trace found.

    Raises:
        ArtifactError: A file of the run is missing or damaged.
    """
    found, labels, together = read_report(run), read_labels(run), read_together(run)
    if as_json:
        values = found.to_mapping()
        for row in values["traces"]:
            whole = load_graph(run, row["name"]).to_mapping()
            row |= {"tokens": whole["texts"], "nodes": whole["nodes"], "edges": whole["edges"]}
        named = {str(feature): text for feature, text in labels.items()}
        shared = {} if together is None else {"together": together}
        console.print_json({"run": str(run.path), **values, "labels": named, **shared})
        return
    if together is not None:
        _print_together(together, found.traces)
        return
    shape = TreeShape(shown.children, shown.depth)
    for i, one in enumerate(found.traces):
        if i:
            console.print_line("")
        _print_trace(one, _Drawn(load_graph(run, one.name), labels), shape)


@dataclass(frozen=True)
class _Drawn:
    """A graph with what its features mean."""

    graph: Graph
    labels: Mapping[FeatureId, str]

    def words(self, node: str) -> str:
        """A node's id for people: tokens with their texts, features with their labels."""
        kind, _, place = node.rpartition("@")
        if kind.startswith("bias:") or not place.isdigit():
            return f"constant {node.removeprefix('bias:')}" if kind.startswith("bias:") else node
        texts = self.graph.meta.texts
        text = f' "{texts[int(place)]}"' if int(place) < len(texts) else ""
        what = kind.replace(":", " ", 1)
        feature = features_of(self.graph).get(node) or self._feature(kind)
        label = None if feature is None else self.labels.get(feature)
        return f"{what}  {place}{text}" + ("" if label is None else f"  {label}")

    def _feature(self, name: str) -> FeatureId | None:
        """A feature that is no node of the graph."""
        site, _, latent = name.rpartition("/")
        names = {one.site: one.name for one in self.graph.meta.dictionaries}
        own = names.get(site)
        return None if own is None or not latent.isdigit() else FeatureId(own, int(latent))


def _print_trace(one: "TraceRecord", drawn: _Drawn, shape: TreeShape) -> None:
    _print_ledger(one)
    console.print_line("")
    for line in CircuitTree(drawn.graph, drawn.labels, shape).lines():
        console.print_line(line)
    tables: list[Table] = []
    if one.why_not is not None:
        tables.append(_why_not_table(one.why_not, drawn))
    if one.score is not None:
        tables.append(_pairs_table(one.score, drawn))
        tables.append(_sides_table(one.score, drawn))
    if one.faithfulness:
        tables.append(_faithfulness_table(one))
    if one.sweep:
        tables.append(_sweep_table(one))
    for table in tables:
        console.print_line("")
        console.print_table(table)


def _print_ledger(one: "TraceRecord") -> None:
    parts = one.ledger
    names = ("tokens", "positions", "errors", "leaves", "biases", "cut")
    told = ", ".join(f"{name} {parts[name]:+.4g}" for name in names if parts[name])
    best = ", ".join(f'"{p.text}" {p.probability:.1%}' for p in one.predictions[:3])
    in_model = "" if one.model_value is None else f" ({one.model_value:.5g} in the model)"
    recovered = "—" if one.recovered is None else f"{one.recovered:.1%}"
    rows = [
        ("prompt", one.prompt),
        (f"after {one.position}", best),
        ("target", f"{one.target} = {one.value:.5g}{in_model}"),
        (
            "ledger",
            f"{told}; residual {parts['residual']:.1e}, at most {parts['tolerance']:.1e}",
        ),
        ("recovered", f"{recovered} from tokens and positions through what is kept"),
        (
            "circuit",
            f"{one.n_features} features kept of {one.n_reached} that add something, {one.n_edges} edges",
        ),
    ]
    if one.why_not is not None:
        rows.append(("fires" if one.why_not.firing.fires else "why not", _firing(one.why_not)))
    if one.score is not None and one.score.attention is not None:
        rows.append(
            ("attention", f"{one.score.attention:.1%} from {one.score.query} to {one.score.key}")
        )
    console.print_rows(rows)


def _firing(found: "WhyNot") -> str:
    state = found.firing
    if not state.stands:
        return (
            "no dictionary stands at this position (the first one, a special token or an outlier), so nothing "
            "fires here"
        )
    words = f"pre-activation {state.pre_activation:.4g}, fires above {state.threshold:.4g} ({_RULES[state.rule]})"
    if state.n_ahead is not None:
        words += f", {state.n_ahead} latents stand higher"
    return words if state.fires else f"{words}: {state.missing:.4g} is missing"


def _why_not_table(found: "WhyNot", drawn: _Drawn) -> Table:
    """What lowers beside what raises, the strongest first."""
    sides = (found.lowering, found.raising)
    rows = []
    for i in range(max(map(len, sides))):
        cells: list[str | float | None] = []
        for side in sides:
            cells += [side[i].flow, drawn.words(side[i].id)] if i < len(side) else [None, ""]
        rows.append(tuple(cells))
    rows.append((None, "", found.rest, "all that is not listed"))
    columns = ("lowers", "what", "raises", "what ")
    caption = (
        "What it reads"
        if found.firing.fires
        else "What keeps it below its threshold, and what does not"
    )
    return Table(columns, tuple(rows), ("right", "left", "right", "left"), caption)


def _pairs_table(score: "HeadScore", drawn: _Drawn) -> Table:
    pairs = score.pairs[:_N_PAIRS]
    rows = [(value, drawn.words(query), drawn.words(key)) for query, key, value in pairs]
    rest = score.value - sum(value for _, _, value in pairs)
    rows.append((rest, f"{score.n_pairs - len(pairs)} more pairs", ""))
    return Table(
        ("adds", "at the query", "at the key"),
        tuple(rows),
        ("right", "left", "left"),
        f"Pairs that the {_score_words(score)} is the sum of",
    )


def _sides_table(score: "HeadScore", drawn: _Drawn) -> Table:
    queries, keys = score.query_totals[:_N_PAIRS], score.key_totals[:_N_PAIRS]
    rows = []
    for i in range(max(len(queries), len(keys))):
        cells: list[str | float | None] = []
        for side in (queries, keys):
            cells += [side[i][1], drawn.words(side[i][0])] if i < len(side) else [None, ""]
        rows.append(tuple(cells))
    return Table(
        ("adds", "at the query, with all keys", "adds ", "at the key, with all queries"),
        tuple(rows),
        ("right", "left", "right", "left"),
        "What each side adds",
    )


def _score_words(score: "HeadScore") -> str:
    if score.against is None:
        return "score"
    other = "the mean score" if score.against == "mean" else f"that of key {score.against}"
    return f"score less {other}"


def _faithfulness_table(one: "TraceRecord") -> Table:
    several = len({row.ablation for row in one.faithfulness}) > 1
    only_zero = {row.ablation for row in one.faithfulness} == {"zero"}
    rows = tuple(
        (
            *(() if only_zero else (row.ablation,)),
            _MODELS[row.where],
            row.errors,
            row.full,
            row.empty,
            row.kept,
            row.faithfulness,
            row.completeness,
        )
        for row in one.faithfulness
    )
    columns = ("in the", "errors", "target", "no feature", "circuit", "faithful", "left out")
    columns = columns if only_zero else ("others", *columns)
    what = "each kind of ablation" if several else "ablation"
    caption = "What the circuit alone brings about" + ("" if only_zero else f", by {what}")
    return Table(columns, rows, caption=caption)


def _sweep_table(one: "TraceRecord") -> Table:
    rows = tuple(
        (row.threshold, row.n_features, row.recovered, row.errors, row.cut, row.residual)
        for row in one.sweep
    )
    columns = ("threshold", "features", "recovered", "errors", "cut", "residual")
    return Table(columns, rows, caption="What other thresholds leave")


def _print_together(values: Mapping[str, Any], traces: tuple["TraceRecord", ...]) -> None:
    circuit = values["circuit"]
    nodes = circuit["nodes"]
    features = [node for node in nodes if node["kind"] == "feature"]
    least = circuit["options"]["least_stability"]
    overlap = circuit["overlap"]
    console.print_rows(
        [
            ("prompts", f"{circuit['n_prompts']}"),
            (
                "shared",
                f"{len(features)} features in at least {least:.0%} of the prompts, of {circuit['n_features']} in any",
            ),
            (
                "overlap",
                "—"
                if overlap is None
                else f"{overlap:.1%} of the features of two prompts are in both (mean over pairs)",
            ),
            ("supernodes", f"{len(values['supernodes'])}, by {values['group_by']}"),
        ]
    )
    tables = [
        _prompts_table(traces),
        _nodes_table(nodes, values),
        _edges_table(circuit["edges"], values),
    ]
    if values["supernodes"]:
        tables.append(_supernodes_table(values["supernodes"]))
    if values["faithfulness"]:
        tables.append(_tried_table(values["faithfulness"]))
    for table in tables:
        console.print_line("")
        console.print_table(table)


def _prompts_table(traces: tuple["TraceRecord", ...]) -> Table:
    def real(one: "TraceRecord") -> float | None:
        rows = (row for row in one.faithfulness if (row.where, row.errors) == ("real", "kept"))
        return next((row.faithfulness for row in rows), None)

    rows = tuple(
        (one.name, one.target, one.value, one.probability, one.n_features, one.recovered, real(one))
        for one in traces
    )
    columns = ("prompt", "target", "value", "probability", "features", "recovered", "faithful")
    return Table(columns, rows, caption="Prompts; faithful: in the model itself, errors kept")


def _nodes_table(nodes: list[Mapping[str, Any]], values: Mapping[str, Any]) -> Table:
    labels = values["labels"]
    rows = tuple(
        (
            _key_words(node["key"], values),
            *((labels.get(node["key"], ""),) if labels else ()),
            *_estimate(node["attribution"]),
            node["stability"],
            node["activation"],
        )
        for node in nodes[:_N_SHARED]
    )
    columns = (
        "node",
        *(("label",) if labels else ()),
        "adds",
        "low",
        "high",
        "in prompts",
        "fires",
    )
    what = "share of" if values["circuit"]["options"]["units"] == "share" else "part of"
    caption = f"Nodes that add most, of {len(nodes)}: mean {what} the target"
    return Table(columns, rows, caption=caption)


def _edges_table(edges: list[Mapping[str, Any]], values: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            _key_words(edge["source"], values),
            _key_words(edge["goal"], values),
            *_estimate(edge["flow"]),
            edge["stability"],
        )
        for edge in edges[:_N_SHARED]
    )
    columns = ("from", "to", "flow", "low", "high", "in prompts")
    return Table(columns, rows, caption=f"Edges that carry most, of {len(edges)}")


def _key_words(key: str, values: Mapping[str, Any]) -> str:
    text = values["texts"].get(key)
    words = key.replace("bias:", "constant ", 1).replace("error:", "error ", 1)
    if text is not None:
        return f'token "{text}"'
    if (
        values["circuit"]["options"]["match"] == "latent"
        or key == "target"
        or key.startswith("bias:")
    ):
        return words
    what, _, place = words.rpartition("@")
    return f"{what}  {place}"


def _tried_table(rows: list[Mapping[str, Any]]) -> Table:
    none: Mapping[str, Any] = {"value": None}
    cells = tuple(
        (
            row["ablation"],
            _MODELS[row["where"]],
            row["errors"],
            *_estimate(row.get("faithfulness", none)),
            *_estimate(row.get("completeness", none)),
        )
        for row in rows
    )
    columns = ("others", "in the", "errors", "faithful", "low", "high", "left out", "low ", "high ")
    return Table(
        columns, cells, caption="What each prompt's circuit alone brings about, over all prompts"
    )


def _supernodes_table(groups: list[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (one["name"], len(one["members"]), one["attribution"], one["similarity"], _members(one))
        for one in groups[:_N_SHARED]
    )
    columns = ("supernode", "features", "adds", "alike", "members")
    return Table(columns, rows, caption=f"Supernodes that add most, of {len(groups)}")


def _members(one: Mapping[str, Any]) -> str:
    members = one["members"]
    return ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")


def _estimate(value: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    return value["value"], value.get("low"), value.get("high")
