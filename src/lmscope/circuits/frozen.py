"""Frozen: a model on one prompt, made linear by holding what is not linear at what it was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.branches import FrozenAttention, FrozenMlp, paths_of
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen_norm import Biases, BiasKey, FrozenNorm
from lmscope.circuits.replacement import Replacement
from lmscope.core.errors import DataError, ModelError
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.batch import Batch
from lmscope.models.rotation import Rotation


@dataclass(frozen=True, eq=False)
class Branch:
    """One thing that writes to the stream.

    Attributes:
        site: What it writes; for a dictionary of the stream, that site.
        linear: The layer as a linear map of the stream below; None for a leaf and for the stream.
        features: The latents that stand for its output; None without a dictionary.
        leaf: Its whole output, where it is not traced through; else None.
        norm: The norm before it, which transcoders read behind; None for the stream.
    """

    site: Site
    linear: FrozenAttention | FrozenMlp | None = None
    features: ActiveFeatures | None = None
    leaf: Float[Tensor, "pos model"] | None = None
    norm: FrozenNorm | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it stands for the whole stream, so that nothing passes beside it."""
        return self.site.part.startswith("resid_")

    def until(self, length: int) -> "Branch":
        """On the first positions."""
        features, linear, norm = self.features, self.linear, self.norm
        return Branch(
            self.site,
            None if linear is None else linear.until(length),
            None if features is None else features.until(length),
            None if self.leaf is None else self.leaf[:length],
            None if norm is None else norm.until(length),
        )

    def read_value(self, x: Float[Tensor, "pos model"]) -> Float[Tensor, "pos read"]:
        """What the dictionary reads, given the stream below."""
        assert self.features is not None
        part = self.features.dictionary.config.read_site.part
        if part in ("attn_out", "mlp_out"):
            assert self.linear is not None
            return self.linear(x)
        if part in ("mlp_norm", "mlp_in"):
            assert self.norm is not None
            return self.norm.normalised(x) if part == "mlp_norm" else self.norm(x)
        return x

    def back_read(
        self, read: Float[Tensor, "target pos read"], biases: Biases
    ) -> Float[Tensor, "target pos model"]:
        """Vectors that read what the dictionary reads, as read vectors of the stream below."""
        assert self.features is not None
        config = self.features.dictionary.config
        part = config.read_site.part
        if part in ("attn_out", "mlp_out"):
            assert self.linear is not None
            return self.linear.back(read, biases)
        if part == "mlp_norm":
            assert self.norm is not None
            return self.norm.back_normalised(read)
        if part == "mlp_in":
            assert self.norm is not None
            return self.norm.back(read, biases)
        return read


@dataclass(frozen=True, eq=False)
class Frozen:
    """A prompt's run with patterns, norms, gates and active latents held.

    Attributes:
        replacement: Of what.
        tokens: The prompt, BOS included.
        embed: What token embeddings write.
        pos_embed: What position embeddings write; None in models that rotate instead.
        embed_norm: A norm of the sum of both; None in most families.
        stages: From the embeddings up; the branches of one stage read the same stream.
        streams: The stream below each stage, and after the last.
        norm: The final norm.
        rotations: How each layer turns queries and keys; empty in models that do not.
    """

    replacement: Replacement
    tokens: Int[Tensor, "pos"]
    embed: Float[Tensor, "pos model"]
    pos_embed: Float[Tensor, "pos model"] | None
    stages: tuple[tuple[Branch, ...], ...]
    streams: tuple[Float[Tensor, "pos model"], ...]
    norm: FrozenNorm
    rotations: Mapping[int, Rotation]

    @property
    def n_positions(self) -> int:
        """Tokens of the prompt, BOS included."""
        return len(self.tokens)

    def branches(self) -> list[tuple[int, Branch]]:
        """Stage number and branch, from the embeddings up."""
        return [(i, branch) for i, stage in enumerate(self.stages) for branch in stage]

    def branch(self, site: Site) -> tuple[int, Branch]:
        """Stage number and branch that writes a site.

        Raises:
            DataError: None does.
        """
        for i, branch in self.branches():
            if branch.site == site:
                return i, branch
        known = ", ".join(str(branch.site) for _, branch in self.branches())
        raise DataError(f"Nothing in this circuit writes '{site}'. What writes: {known}.")

    def logits(self, position: int) -> Float[Tensor, "vocab"]:
        """Logits at a position, before any softcap."""
        weights = self.replacement.model.weights
        final = self.norm(self.streams[-1])[position]
        found = final @ weights.W_U.detach().to(final)
        return found if weights.b_U is None else found + weights.b_U.detach().to(final)

    def until(self, length: int) -> "Frozen":
        """The run of the first tokens, which see no later ones; shares its numbers."""
        return replace(
            self,
            tokens=self.tokens[:length],
            embed=self.embed[:length],
            pos_embed=None if self.pos_embed is None else self.pos_embed[:length],
            stages=tuple(tuple(one.until(length) for one in stage) for stage in self.stages),
            streams=tuple(stream[:length] for stream in self.streams),
            norm=self.norm.until(length),
        )

    def only(self, kept: Mapping[Site, Int[Tensor, "_node"]]) -> "Frozen":
        """The run with some of the active features, by site and place; the others are left out.

        Sites that are not named keep all.
        """

        def of(branch: Branch) -> Branch:
            if branch.features is None or branch.site not in kept:
                return branch
            return replace(branch, features=branch.features.only(kept[branch.site]))

        return replace(self, stages=tuple(tuple(map(of, stage)) for stage in self.stages))

    def in_model(self, site: Site) -> Float[Tensor, "1 *value"]:
        """What stands at a site of the model itself on this prompt; each is read once."""
        if site not in self._in_model:
            with torch.no_grad():
                batch = Batch(tokens=self.tokens[None])
                self._in_model.update(self.replacement.model.read(batch, [site]))
        return self._in_model[site]

    @cached_property
    def _in_model(self) -> dict[Site, Tensor]:
        return {}

    @property
    def final_key(self) -> int:
        """The layer number under which constants of the unembedding are kept."""
        return self.replacement.model.n_layers


@torch.no_grad()
def freeze(replacement: Replacement, tokens: Sequence[int] | Int[Tensor, "pos"]) -> Frozen:
    """Run a model once and hold everything that is not linear.

    Patterns come from the model itself; the rest is computed again in the number format of the
    replacement, so that all sums hold to its precision.

    Args:
        replacement: The model with its dictionaries.
        tokens: The prompt, BOS included where the model begins contexts with one.

    Raises:
        DataError: There is no token.
        ModelError: There are more than the model has positions for.
    """
    ids = torch.as_tensor(tokens, device=replacement.model.device).long()
    if not len(ids):
        raise DataError("There is no token to trace: give a prompt.")
    limit = replacement.model.max_positions
    if limit is not None and len(ids) > limit:
        raise ModelError(
            f"{replacement.model.name} has positions for {limit} tokens; {len(ids)} were given: shorten the prompt."
        )
    return _Freezing(replacement, ids).go()


class _Rotations(Mapping[int, Rotation]):
    """How each layer turns queries and keys; costs a run of the model when first asked."""

    def __init__(self, replacement: Replacement, batch: Batch) -> None:
        self._replacement, self._batch = replacement, batch

    def __getitem__(self, layer: int) -> Rotation:
        return self._found[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @cached_property
    def _found(self) -> dict[int, Rotation]:
        dtype = self._replacement.dtype
        found = self._replacement.model.rotations(self._batch)
        return {
            layer: Rotation(one.cos.to(dtype), one.sin.to(dtype)) for layer, one in found.items()
        }


class _Freezing:
    """One run; holds what its steps share."""

    def __init__(self, replacement: Replacement, tokens: Tensor) -> None:
        self.replacement, self.tokens = replacement, tokens
        self.model = replacement.model
        batch = Batch(tokens=tokens[None])
        wanted = ["embed", "pattern@*"]
        has_positions = "pos_embed" in self.model.family.parts
        values = self.model.read(batch, [*wanted, *(["pos_embed"] if has_positions else [])])
        self.rotations = {} if has_positions else _Rotations(replacement, batch)
        wide = {site: value[0].to(replacement.dtype) for site, value in values.items()}
        self.embed = wide[Site("embed")]
        self.pos_embed = wide[Site("pos_embed")] if has_positions else None
        self.patterns = {site.layer: v for site, v in wide.items() if site.part == "pattern"}
        kept = replacement.exclusion.keep_tokens(tokens[None], None, self.model.special_ids)[0]
        self.by_token = kept.to(replacement.dtype)

    def go(self) -> Frozen:
        x = self.embed if self.pos_embed is None else self.embed + self.pos_embed
        stages: list[tuple[Branch, ...]] = []
        streams = [x]
        for layer in range(self.model.n_layers):
            for stage in self._layer(layer, streams):
                stages.append(stage)
        norm = self._norm("final", None, streams[-1])
        return Frozen(
            self.replacement,
            self.tokens,
            self.embed,
            self.pos_embed,
            tuple(stages),
            tuple(streams),
            norm,
            self.rotations,
        )

    def _layer(self, layer: int, streams: list[Tensor]) -> list[tuple[Branch, ...]]:
        """The stages of one block; `streams` grows by what each leaves."""
        found = self._stream_stage("resid_pre", layer, streams)
        if self.model.family.arrangement == "parallel":
            x = streams[-1]
            attention, a = self._attention(layer, x)
            mlp, m = self._mlp(layer, x)
            streams.append(x + a + m)
            found.append((attention, mlp))
        else:
            attention, a = self._attention(layer, streams[-1])
            streams.append(streams[-1] + a)
            found.append((attention,))
            found += self._stream_stage("resid_mid", layer, streams)
            mlp, m = self._mlp(layer, streams[-1])
            streams.append(streams[-1] + m)
            found.append((mlp,))
        return found + self._stream_stage("resid_post", layer, streams)

    def _stream_stage(
        self, part: str, layer: int, streams: list[Tensor]
    ) -> list[tuple[Branch, ...]]:
        site = Site(part, layer)
        dictionary = self.replacement.dictionaries.get(site)
        if dictionary is None:
            return []
        x = streams[-1]
        streams.append(x)
        return [(Branch(site, features=self._features(dictionary, x, x)),)]

    def _attention(self, layer: int, x: Tensor) -> tuple[Branch, Tensor]:
        norm = self._norm("attn_norm", layer, x)
        weights = self.model.weights.attention(layer)
        linear = FrozenAttention.of(layer, weights, self.patterns[layer], norm)
        out = linear.mixed(x)
        if "attn_out" in self.model.family.norms:
            linear = replace(linear, norm_out=(after := self._norm("attn_out", layer, out)))
            out = after(out)
        site = Site("attn_out", layer)
        dictionary = self.replacement.dictionaries.get(site)
        features = None if dictionary is None else self._features(dictionary, out, out)
        return Branch(site, linear, features, norm=norm), out

    def _mlp(self, layer: int, x: Tensor) -> tuple[Branch, Tensor]:
        options = self.replacement.options
        norm = self._norm("mlp_norm", layer, x)
        weights = self.model.weights.mlp(layer)
        h = norm(x)
        paths = paths_of(weights, h, half_rule=options.mlp == "half_rule")
        b_out = None if weights.b_out is None else weights.b_out.detach().to(h)
        linear = FrozenMlp(layer, norm, None, paths, weights.W_out.detach().to(h), b_out)
        out, site = linear.mixed(x), Site("mlp_out", layer)
        if "mlp_out" in self.model.family.norms:
            linear = replace(linear, norm_out=(after := self._norm("mlp_out", layer, out)))
            out = after(out)
        dictionary = self.replacement.dictionaries.get(site)
        if dictionary is not None:
            read = {"mlp_out": out, "mlp_in": h, "resid_mid": x}.get(
                dictionary.config.read_site.part, norm.normalised(x)
            )
            return Branch(site, linear, self._features(dictionary, read, out), norm=norm), out
        if options.mlp == "leaf":
            return Branch(site, leaf=out, norm=norm), out
        return Branch(site, linear, norm=norm), out

    def _features(self, dictionary: Dictionary, read: Tensor, written: Tensor) -> ActiveFeatures:
        site, exclusion = dictionary.config.read_site, self.replacement.exclusion
        stands = self.by_token
        if site in exclusion.median_norm:
            stands = stands * exclusion.inlier(site, read).to(stands)
        return ActiveFeatures.at(dictionary, read, written, stands)

    def _norm(self, place: str, layer: int | None, x: Tensor) -> FrozenNorm:
        name = self.model.n_layers if layer is None else layer
        key = BiasKey(name, "final_norm" if layer is None else place)
        return FrozenNorm.at(self.model.weights.norm(place, layer), x, key)
