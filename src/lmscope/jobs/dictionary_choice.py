"""DictionaryChoice: the part of a recipe that says which dictionaries, and what it comes to."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import model_validator

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.site import Site, SitePattern, parse_pattern
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, ObjectiveConfig, Sparsity, TopK
from lmscope.jobs.choices import Count
from lmscope.models.language_model import LanguageModel

USUAL_LATENTS = 4608


class DictionaryChoice(Config):
    """Which dictionaries: every site (or pair of sites) with every width and every sparsity."""

    sites: tuple[str, ...] = ()
    """Sites of which SAEs are trained; `mlp_out@*` means every layer."""
    transcoders: tuple[tuple[str, str], ...] = ()
    """Pairs of sites, the first read and the second predicted; `@*` pairs layer by layer."""
    n_latents: tuple[Count, ...] | None = None
    """Widths in latents; absent: 4608, unless `expansions` are given."""
    expansions: tuple[Count, ...] | None = None
    """Widths as multiples of the width of the site that is read, after those of `n_latents`."""
    tokens: tuple[Count, ...] | None = None
    """Training tokens by width, in the order of `n_latents` and then `expansions`; absent: all that
    the text and its passes give, or `training.steps`."""
    sparsity: tuple[Sparsity, ...] = (TopK(),)
    skip: bool = False
    """Whether a linear path runs beside the latents."""
    apply_b_dec_to_input: bool | None = None
    """Whether `b_dec` is taken from the input before encoding; absent: for SAEs yes, for transcoders no."""
    normalisation: Literal["mean_norm", "none"] = "mean_norm"
    threshold_tokens: Count | None = None
    """If given, TopK and BatchTopK dictionaries end with one JumpReLU threshold, calibrated on so many
    training tokens (he2024llamascope, post-processing)."""
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="after")
    def _sites_can_be_read(self) -> "DictionaryChoice":
        """A site that exists in no model is a SiteError before anything is loaded or written."""
        for text in (*self.sites, *(site for pair in self.transcoders for site in pair)):
            parse_pattern(text)
        return self

    @model_validator(mode="after")
    def _widths_are_given(self) -> "DictionaryChoice":
        n = len(self.widths(1))
        if not n:
            raise RecipeError(
                "The dictionaries have no width: give dictionary.n_latents or dictionary.expansions, "
                "e.g. --expansion 8."
            )
        if self.tokens is not None and len(self.tokens) != n:
            raise RecipeError(
                f"dictionary.tokens has {len(self.tokens)} budgets for {n} widths: give one for each of "
                "n_latents and expansions, in this order."
            )
        return self

    def widths(self, d_read: int) -> tuple[int, ...]:
        """Latents of the dictionaries of a site so wide, one for each width that is asked for."""
        if self.n_latents is None and self.expansions is None:
            return (USUAL_LATENTS,)
        return (*(self.n_latents or ()), *(e * d_read for e in self.expansions or ()))


class Wanted(NamedTuple):
    """A dictionary that a recipe asks for.

    Attributes:
        config: What it is.
        n_tokens: Training tokens; None: all there are.
    """

    config: DictionaryConfig
    n_tokens: int | None


def dictionary_configs(
    choice: DictionaryChoice, model: LanguageModel
) -> dict[str, DictionaryConfig]:
    """Every dictionary that a choice asks for, by name; errors as of `wanted_dictionaries`."""
    return {name: one.config for name, one in wanted_dictionaries(choice, model).items()}


def wanted_dictionaries(choice: DictionaryChoice, model: LanguageModel) -> dict[str, Wanted]:
    """Every dictionary that a choice asks for, by name, in the order of the recipe.

    Raises:
        RecipeError: None is asked for, or two would be the same.
        SiteError: The model has not got a site.
    """
    pairs = _pairs(choice, model)
    if not pairs:
        raise RecipeError(
            "There is no dictionary to train: give dictionary.sites or dictionary.transcoders, "
            "e.g. --site resid_post@14."
        )
    found: dict[str, Wanted] = {}
    for read, write in pairs:
        for wanted in _of_pair(choice, model, read, write):
            name = dictionary_name(wanted.config)
            if name in found:
                raise RecipeError(
                    f"'{name}' is asked for twice: leave one of the equal sites, widths or sparsities out "
                    "(the annealing of k alone makes no difference here)."
                )
            found[name] = wanted
    return found


def dictionary_name(config: DictionaryConfig) -> str:
    """A name from site, width and sparsity: `resid_post-14-4608-topk-32`.

    What differs from the sparsity's defaults is part of it; how k is annealed is not.
    """
    read, write = config.read_site.slug, config.write_site.slug
    place = f"{read}.to.{write}" if config.is_transcoder else read
    sparsity = config.sparsity
    settings = sparsity.model_dump(exclude={"kind", "k", "annealing"}, exclude_defaults=True)
    own = [str(sparsity.k)] if isinstance(sparsity, TopK | BatchTopK) else []
    own += [f"{key}={value}".replace("+", "") for key, value in settings.items()]
    return "-".join([place, str(config.n_latents), sparsity.kind, *own])


def _of_pair(
    choice: DictionaryChoice, model: LanguageModel, read: Site, write: Site
) -> Iterator[Wanted]:
    d_read, d_write = model.width(read), model.width(write)
    widths = choice.widths(d_read)
    applied = choice.apply_b_dec_to_input
    for n_latents, n_tokens in zip(widths, choice.tokens or (None,) * len(widths), strict=True):
        for sparsity in choice.sparsity:
            config = DictionaryConfig(
                reads=(str(read),),
                writes=(str(write),),
                d_read=d_read,
                d_write=d_write,
                n_latents=n_latents,
                sparsity=sparsity,
                skip=choice.skip,
                apply_b_dec_to_input=read == write if applied is None else applied,
                normalisation=choice.normalisation,
                model=model.name,
                model_hash=model.weights_hash,
            )
            yield Wanted(config, n_tokens)


def _pairs(choice: DictionaryChoice, model: LanguageModel) -> list[tuple[Site, Site]]:
    pairs = [(site, site) for site in (model.resolve(choice.sites) if choice.sites else ())]
    for read_text, write_text in choice.transcoders:
        reads, writes = model.resolve([read_text]), model.resolve([write_text])
        patterns = [isinstance(parse_pattern(t), SitePattern) for t in (read_text, write_text)]
        if patterns[0] != patterns[1]:
            raise RecipeError(
                f"'{read_text}' and '{write_text}' cannot be paired: give a layer to both or '@*' to both."
            )
        by_layer = {site.layer: site for site in writes}
        if patterns[0]:
            pairs += [(site, by_layer[site.layer]) for site in reads if site.layer in by_layer]
        else:
            pairs.append((reads[0], writes[0]))
    return pairs
