"""Feature: a latent as an entry of an atlas, with its label, its scores and its text."""

from dataclasses import dataclass
from html import escape
from typing import Any, Final

from lmscope.atlas.exchange.pieces import pieces
from lmscope.atlas.exchange.texts import TokenTexts, as_byte_token
from lmscope.atlas.explain.evidence import show_tokens
from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.notes import Note
from lmscope.atlas.record import Example, LatentRecord, Weighted, histogram_edges
from lmscope.atlas.text import CorpusText
from lmscope.core.feature import FeatureId
from lmscope.display.tables import Table
from lmscope.display.tokens import TokenStrip
from lmscope.display.visible import visible

_SHOWN: Final = {"top": 5, "quantile": 2}
"""Examples of a group that a notebook shows."""
_BAR_HEIGHT: Final = 48


@dataclass(frozen=True, eq=False)
class Feature:
    """One latent of an atlas, with all that is known of it.

    Attributes:
        id: Dictionary and latent.
        record: What the census found.
        corpus: The text that its examples lie in.
        explained: What an explainer said, however far it can be trusted; None where none was asked.
        known: Whether its detection score reaches the threshold.
        scores: How far it can be trusted.
        note: What people wrote down.
        is_dense: Whether it fires on so many tokens that the census flags it.
    """

    id: FeatureId
    record: LatentRecord
    corpus: CorpusText
    explained: Label | None = None
    known: bool = False
    scores: tuple[Score, ...] = ()
    note: Note | None = None
    is_dense: bool = False

    @property
    def label(self) -> str:
        """What a reader may take it to mean: `not known` below the threshold, empty if nobody was asked."""
        if self.explained is None:
            return ""
        return self.explained.text if self.known else NOT_KNOWN

    def strip(self, example: Example) -> TokenStrip:
        """An example as shaded tokens; the full colour is the latent's largest activation anywhere.

        Tokens that share a character are one cell, with the largest of their activations.
        """
        tokens = self.corpus.tokens(example.start, example.length).tolist()
        found = pieces([self.corpus.token_bytes(token) for token in tokens], as_byte_token)
        activations, texts, values, i = example.activations().tolist(), [], [], 0
        for piece in found:
            texts.append(piece.text)
            values.append(max(activations[i : i + piece.n_tokens]))
            i += piece.n_tokens
        return TokenStrip(tuple(texts), tuple(values), self.record.max or None)

    def strips(self) -> tuple[TokenStrip, ...]:
        """The examples with the largest peaks, strongest first."""
        top = [group for group in self.record.groups if group.name == "top"]
        return tuple(self.strip(example) for group in top for example in group.examples)

    def logits(self) -> Table:
        """The tokens whose logits one unit of the latent raises and lowers most."""
        up, down = self.record.top_logits, self.record.bottom_logits
        rows = [
            (*_cells(up, i, self._texts), *_cells(down, i, self._texts))
            for i in range(max(len(up), len(down)))
        ]
        return Table(("raises", "by", "lowers", "by "), tuple(rows))

    def to_mapping(self) -> dict[str, Any]:
        """Everything as plain values for JSON, tokens with their texts."""
        record, texts = self.record, self._texts
        return {
            "feature": str(self.id),
            "latent": record.latent,
            "label": self.label or None,
            "known": self.known,
            "explainer": None if self.explained is None else self.explained.explainer,
            "precision": self.explained.precision if self.explained and self.known else None,
            "recall": self.explained.recall if self.explained and self.known else None,
            "scores": [vars(score) for score in self.scores],
            "note": None if self.note is None else self.note.to_mapping(),
            "n_fired": record.n_fired,
            "density": record.density,
            "mean": record.mean,
            "max": record.max,
            "dead": record.is_dead,
            "dense": self.is_dense,
            "n_stretches": record.n_stretches,
            "n_documents": record.n_documents,
            "document_share": record.document_share,
            "histogram": {
                "edges": histogram_edges(record.max).tolist(),
                "counts": list(record.histogram),
            },
            "groups": [
                {
                    "name": group.name,
                    "low": group.low,
                    "high": group.high,
                    "share": group.share,
                    "examples": [self._example(example) for example in group.examples],
                }
                for group in record.groups
            ],
            "peak_tokens": _tokens(record.peak_tokens, texts, "n"),
            "tokens": [{**vars(one), "text": texts.one(one.token)} for one in record.tokens],
            "top_logits": _tokens(record.top_logits, texts, "effect"),
            "bottom_logits": _tokens(record.bottom_logits, texts, "effect"),
            "neighbours": [{"latent": one.id, "cosine": one.value} for one in record.neighbours],
            "coactive": [{"latent": one.id, "jaccard": one.value} for one in record.coactive],
        }

    def __repr__(self) -> str:
        said = f" '{visible(self.label)}'" if self.label else ""
        return f"Feature({self.id}{said}, density {self.record.density:.3g}, max {self.record.max:.4g})"

    def _repr_html_(self) -> str:
        """The feature as one block of HTML without scripts or anything to load; all text is escaped."""
        if self.record.is_dead:
            return f"{self._heading()}<p>It never fires: it is dead.</p>"
        examples = "".join(self._group_html(i) for i in range(len(self.record.groups)))
        return (
            f'<div style="max-width:60em">{self._heading()}{self._figures()}{self._histogram()}'
            f"{self.logits()._repr_html_()}{examples}</div>"
        )

    @property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self.corpus, as_byte_token)

    def _example(self, example: Example) -> dict[str, Any]:
        tokens = self.corpus.tokens(example.start, example.length).tolist()
        document = self.corpus.document(example.start + example.peak)
        context, position = divmod(example.start, self.corpus.context_length)
        return {
            "context": context,
            "position": position,
            "peak": example.peak,
            "document": None if document is None else vars(document),
            "ids": tokens,
            "tokens": list(show_tokens(tokens, self.corpus)),
            "values": [float(value) for value in example.activations()],
        }

    def _heading(self) -> str:
        label = escape(visible(self.label)) or "<em>no label</em>"
        scores = ", ".join(
            f"{escape(one.scorer)} {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
            for one in self.scores
        )
        note = ""
        if self.note is not None:
            star, tags = "★ " if self.note.star else "", ", ".join(self.note.tags)
            note = f"<p>{star}{escape(visible(self.note.text))} <small>{escape(visible(tags))}</small></p>"
        return (
            f"<h4>{escape(str(self.id))}: {label}</h4>"
            + (f"<p><small>{scores}</small></p>" if scores else "")
            + note
        )

    def _figures(self) -> str:
        record, flag = self.record, ", dense" if self.is_dense else ""
        near = ", ".join(f"{one.id} ({one.value:.2f})" for one in record.neighbours[:5])
        return (
            f"<p>Fires on {record.n_fired:,} tokens (density {record.density:.3g}{flag}) of "
            f"{record.n_documents:,} documents; mean {record.mean:.4g}, largest {record.max:.4g}."
            + (f" Neighbours by cosine: {near}." if near else "")
            + "</p>"
        )

    def _histogram(self) -> str:
        counts = self.record.histogram
        most = max(counts, default=0)
        if not most:
            return ""
        edges = histogram_edges(self.record.max)
        bars = []
        for i, count in enumerate(counts):
            height = _BAR_HEIGHT * count / most
            hint = f"{edges[i]:.3g} to {edges[i + 1]:.3g}: {count:,}"
            bars.append(
                f'<rect x="{8 * i}" y="{_BAR_HEIGHT - height:.1f}" width="7" height="{height:.1f}">'
                f"<title>{hint}</title></rect>"
            )
        return (
            f'<svg width="{8 * len(counts)}" height="{_BAR_HEIGHT}" fill="#e67800" role="img" '
            f'aria-label="firings by size, sizes on a logarithmic scale">{"".join(bars)}</svg>'
        )

    def _group_html(self, i: int) -> str:
        group = self.record.groups[i]
        name = "Largest" if group.name == "top" else f"Peaks {group.low:.4g} to {group.high:.4g}"
        shown = group.examples[: _SHOWN.get(group.name, 2)]
        strips = "".join(self.strip(example).to_html() for example in shown)
        return f"<h5>{name} ({group.share:.0%} of its stretches)</h5>{strips}"


def _cells(
    ones: tuple[Weighted, ...], i: int, texts: TokenTexts
) -> tuple[str | None, float | None]:
    return (texts.one(ones[i].id), ones[i].value) if i < len(ones) else (None, None)


def _tokens(ones: tuple[Weighted, ...], texts: TokenTexts, name: str) -> list[dict[str, Any]]:
    return [{"token": one.id, "text": texts.one(one.id), name: one.value} for one in ones]
