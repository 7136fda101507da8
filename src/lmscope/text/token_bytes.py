"""The bytes that each token of a vocabulary stands for.

Texts of tokens do not do: a byte-level tokenizer cuts within characters, so that one Chinese character or
emoji may take three tokens, none of which is text by itself. Joined bytes are right for any cut.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Protocol, runtime_checkable

from lmscope.core.errors import DataError

_FALLBACK_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BEFORE: Final = "x"
"""A word that the token is decoded behind: decoders treat the first token of a text otherwise."""


@runtime_checkable
class Decoder(Protocol):
    """What joins tokens into text, as `tokenizers` has it."""

    def decode(self, tokens: list[str], /) -> str:
        """The text."""
        ...


def vocabulary_bytes(tokenizer: Any, n_vocab: int | None = None) -> list[bytes]:
    """The bytes of every token, by id: joined in order, they are the text.

    Byte-level tokens, `<0xNN>` tokens and added tokens are taken as they are written; the others as the
    tokenizer's own decoder writes them in the middle of a text. A WordPiece tokenizer normalises what
    it reads, so there the joined bytes are its own reading of the text.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        n_vocab: Ids of the model, which may have more than its tokenizer; those get `<unused ID>`.

    Raises:
        DataError: The tokenizer is slow, and does not say how its tokens are spelt.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"The bytes of tokens need a fast tokenizer; {type(tokenizer).__name__} is slow: save it as a "
            "tokenizer.json first."
        )
    described = json.loads(backend.to_str())
    kinds = {part["type"]: part for part in _parts(described.get("decoder"))}
    added = {entry["id"]: entry["content"] for entry in described.get("added_tokens", ())}
    n = max(len(tokenizer), n_vocab or 0, *(i + 1 for i in added), 0)
    found = []
    for token in range(n):
        written = backend.id_to_token(token)
        if written is None:
            found.append(f"<unused {token}>".encode())
        elif "ByteLevel" in kinds:
            found.append(written.encode() if token in added else _byte_level(written))
        elif "ByteFallback" in kinds and (match := _FALLBACK_BYTE.fullmatch(written)):
            found.append(bytes.fromhex(match[1]))
        elif "BPEDecoder" in kinds:
            found.append(written.replace(kinds["BPEDecoder"]["suffix"], " ").encode())
        else:
            found.append(_in_the_middle(written, backend.decoder).encode())
    return found


def _in_the_middle(written: str, decoder: Decoder | None) -> str:
    if decoder is None:
        return f" {written}"  # tokenizers then puts spaces between tokens
    text = decoder.decode([_BEFORE, written])
    return text[len(_BEFORE) :] if text.startswith(_BEFORE) else decoder.decode([written])


def _parts(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _parts(part)
    else:
        yield decoder


def _byte_level(written: str) -> bytes:
    """Each byte is written as one character; what has none is no byte-level token."""
    if all(character in _BYTES for character in written):
        return bytes(_BYTES[character] for character in written)
    return written.encode()


def _byte_characters() -> dict[str, int]:
    """Printable Latin-1 characters stand for themselves, the other bytes for U+0100 and what follows.

    radford2019gpt2; every byte-level tokenizer since writes its vocabulary in this way.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {
        **{chr(byte): byte for byte in shown},
        **{chr(0x100 + place): byte for place, byte in enumerate(hidden)},
    }


_BYTES: Final = _byte_characters()
