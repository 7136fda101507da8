"""Where a dictionary's training starts."""

from math import sqrt
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from lmscope.core.errors import DataError, RecipeError
from lmscope.dictionaries.config import DictionaryConfig, Initialisation
from lmscope.dictionaries.dictionary import Dictionary


@runtime_checkable
class SiteScale(Protocol):
    """What initialisation asks about the activations of a site."""

    @property
    def mean_norm(self) -> float:
        """Mean Euclidean norm."""
        ...

    @property
    def mean(self) -> Tensor:
        """Mean activation, `[width]`."""
        ...


def initialise(
    config: DictionaryConfig,
    options: Initialisation,
    read: SiteScale,
    write: SiteScale,
    generator: Generator,
) -> Dictionary:
    """A new dictionary (he2024llamascope, section 3).

    Decoder rows are Kaiming-uniform, set to one norm; the encoder equals the decoder, or for
    transcoders is drawn in the same way. Scales give a mean activation the norm sqrt(width).

    Differs: `b_dec` starts at the mean activation, where the paper starts from 0. On SmolLM2 at
    `resid_post@14` that, with `b_dec` taken from the input, leaves hardly a latent dead. Where it is
    not taken from the input, `b_enc` starts so that the mean input excites no latent, instead of at 0.

    Args:
        config: What it is.
        options: Norm of the decoder rows, the encoder's start, the start of `b_dec`.
        read: Statistics of the read site.
        write: Statistics of the written site.
        generator: The dictionary's own random stream, on the CPU.

    Raises:
        DataError: The activations of a site are all zero or not finite.
        RecipeError: The encoder is to equal a decoder of another width.
    """
    dictionary = Dictionary(config)
    if config.normalisation == "mean_norm":
        dictionary.scale_in.fill_(_scale(config.d_read, read, config.reads[0]))
        dictionary.scale_out.fill_(_scale(config.d_write, write, config.writes[0]))
    norm = _row_norm(config, options)
    with torch.no_grad():
        dictionary.W_dec.copy_(_rows(config.n_latents, config.d_write, norm, generator))
        if _tied(config, options):
            dictionary.W_enc.copy_(dictionary.W_dec)
        else:
            dictionary.W_enc.copy_(_rows(config.n_latents, config.d_read, norm, generator))
        if options.b_enc == "centred" and not config.apply_b_dec_to_input:
            mean = read.mean.to(dictionary.b_enc) * dictionary.scale_in
            dictionary.b_enc.copy_(-(dictionary.W_enc @ mean))
        if options.b_dec == "mean":
            dictionary.b_dec.copy_(write.mean * dictionary.scale_out.to(write.mean.device))
    return dictionary


def _scale(width: int, site: SiteScale, name: str) -> float:
    norm = float(site.mean_norm)
    if not 0 < norm < float("inf"):
        raise DataError(
            f"Activations of '{name}' have a mean norm of {norm}: there is nothing to train on."
        )
    return sqrt(width) / norm


def _row_norm(config: DictionaryConfig, options: Initialisation) -> float:
    match options.decoder_norm:
        case "paper":
            return sqrt(2 * config.d_write / config.n_latents)
        case "script":
            return 0.5
        case norm:
            return norm


def _tied(config: DictionaryConfig, options: Initialisation) -> bool:
    if options.encoder == "auto":
        return not config.is_transcoder
    if options.encoder == "decoder" and config.d_read != config.d_write:
        raise RecipeError(
            f"The encoder ({config.d_read} wide) cannot start equal to the decoder "
            f"({config.d_write} wide): use encoder = 'independent'."
        )
    return options.encoder == "decoder"


def _rows(n_rows: int, width: int, norm: float, generator: Generator) -> Tensor:
    rows = torch.empty(n_rows, width)
    nn.init.kaiming_uniform_(rows, generator=generator)
    return rows * (norm / rows.norm(dim=1, keepdim=True))
