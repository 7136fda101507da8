"""RecordCodec: a latent's record as a few hundred bytes.

Whole numbers are variable-length (seven bits a byte), positions are counted in stretches, and
activations, logit effects and cosines are float16 under one power of two a list, so that neither
large activations overflow nor small ones lose digits. zstd takes what is left. Only this module
knows the widths; scalars that queries filter by are no part of the blob, see `Scalars`.
"""

from collections.abc import Sequence
from dataclasses import fields
from math import gcd
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import zstandard
from jaxtyping import Float32, Int64, UInt8

from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.core.errors import ArtifactError

_LEVEL: Final = 12
_LARGEST: Final = 1 << 26
"""No blob unpacks to more bytes; a damaged one may claim anything."""
_TOP_EXPONENT: Final = 15
"""float16 holds numbers below 2^16; the largest of a list is scaled below 2^15."""
_NAMES: Final = ("top", "quantile")
_REGULAR: Final = 0
_IRREGULAR: Final = 1

_E = TypeVar("_E")


class Scalars(NamedTuple):
    """The parts of a record that are columns of their own, exact."""

    latent: int
    n_fired: int
    density: float
    mean: float
    max: float
    n_stretches: int
    n_documents: int
    document_share: float


class RecordCodec:
    """Packs records of one census.

    Args:
        context_length: Tokens of a context.
        stretch: Tokens of an example, less where a context ends.
    """

    def __init__(self, context_length: int, stretch: int) -> None:
        self.context_length = context_length
        self.stretch = stretch
        self._unit = gcd(context_length, stretch)
        self._compressor = zstandard.ZstdCompressor(compression_params=_parameters())
        self._decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)

    def encode(self, record: LatentRecord) -> bytes:
        """All of a record but its scalars.

        Raises:
            ValueError: A value is not finite, a count is negative, or a group has a name that is not known.
        """
        examples = [example for group in record.groups for example in group.examples]
        regular = all(
            self._is_regular(example.start, example.length) for example in examples
        ) and all(start % self._unit == 0 for start in record.silent)
        unit = self._unit if regular else 1
        whole: list[int] = [_REGULAR if regular else _IRREGULAR]
        _put(whole, record.histogram)
        whole.append(len(record.groups))
        for group in record.groups:
            whole += [
                _NAMES.index(group.name),
                round(group.share * record.n_stretches),
                len(group.examples),
            ]
        if not regular:
            whole += [example.length for example in examples]
        whole += [example.start // unit for example in examples]
        whole += [example.peak for example in examples]
        whole += [len(example.places) for example in examples]
        for example in examples:
            whole += np.diff(example.places, prepend=0).tolist()
        _put(whole, np.diff([start // unit for start in record.silent], prepend=0).tolist())
        _put(whole, [one.id for one in record.peak_tokens])
        whole += [round(one.value) for one in record.peak_tokens]
        _put(whole, [one.token for one in record.tokens])
        whole += [one.n_fired for one in record.tokens] + [one.n_seen for one in record.tokens]
        for weighted in _weighted(record):
            _put(whole, [one.id for one in weighted])
        integers = varints(np.asarray(whole, dtype=np.int64))
        parts = [_Size(len(integers)).packed(), integers.tobytes()]
        parts += [_pack_halves(values) for values in _float_lists(record)]
        return self._compressor.compress(b"".join(parts))

    def decode(self, scalars: Scalars, blob: bytes) -> LatentRecord:
        """The record of a blob and its scalars.

        Raises:
            ArtifactError: The blob is damaged.
        """
        try:
            return self._decode(scalars, blob)
        except (zstandard.ZstdError, IndexError, ValueError, OverflowError, MemoryError) as error:
            raise ArtifactError(
                f"The record of latent {scalars.latent} is damaged ({error}): copy the atlas again, "
                "or build it anew."
            ) from None

    @staticmethod
    def rounded(record: LatentRecord) -> LatentRecord:
        """The record as it is read back: activations, effects and cosines at float16."""
        lists = [_rounded(values) for values in _float_lists(record)]
        activations = _Reader(lists[0])
        groups = tuple(
            ExampleGroup(
                group.name,
                activations.one(),
                activations.one(),
                _share(round(group.share * record.n_stretches), record.n_stretches),
                tuple(
                    Example(
                        one.start,
                        one.length,
                        one.peak,
                        one.places.astype(np.int32),
                        activations.take(len(one.places)),
                    )
                    for one in group.examples
                ),
            )
            for group in record.groups
        )
        weighted = [
            tuple(Weighted(one.id, float(value)) for one, value in zip(ones, values, strict=True))
            for ones, values in zip(_weighted(record), lists[1:], strict=True)
        ]
        peaks = tuple(Weighted(one.id, float(round(one.value))) for one in record.peak_tokens)
        return LatentRecord(
            **scalars_of(record)._asdict(),
            histogram=record.histogram,
            groups=groups,
            silent=record.silent,
            peak_tokens=peaks,
            tokens=record.tokens,
            top_logits=weighted[0],
            bottom_logits=weighted[1],
            neighbours=weighted[2],
            coactive=weighted[3],
        )

    def _is_regular(self, start: int, length: int) -> bool:
        return start % self._unit == 0 and length == self._length(start)

    def _length(self, start: int) -> int:
        return min(self.stretch, self.context_length - start % self.context_length)

    def _decode(self, scalars: Scalars, blob: bytes) -> LatentRecord:
        raw = self._decompressor.decompress(blob, max_output_size=_LARGEST)
        size, offset = _Size.unpacked(raw)
        whole = _Reader(from_varints(np.frombuffer(raw, dtype=np.uint8, count=size, offset=offset)))
        offset += size
        lists: list[Float32[np.ndarray, "value"]] = []
        for _ in range(1 + len(_LISTS)):
            values, offset = _unpack_halves(raw, offset)
            lists.append(values)
        regular = whole.one() == _REGULAR
        unit = self._unit if regular else 1
        histogram = whole.counted()
        heads = [whole.take(3).tolist() for _ in range(whole.one())]
        groups = self._groups(scalars, heads, whole, _Reader(lists[0]), unit, regular)
        silent = tuple((np.cumsum(whole.counted_array()) * unit).tolist())
        peak_ids = whole.counted()
        peaks = zip(peak_ids, whole.take(len(peak_ids)).tolist(), strict=True)
        ids = whole.counted()
        fired, seen = whole.take(len(ids)).tolist(), whole.take(len(ids)).tolist()
        weighted = [
            tuple(Weighted(i, float(v)) for i, v in zip(whole.counted(), values, strict=True))
            for values in lists[1:]
        ]
        if whole.left:
            raise ValueError(f"{whole.left} numbers too many")
        return LatentRecord(
            **scalars._asdict(),
            histogram=tuple(histogram),
            groups=groups,
            silent=silent,
            peak_tokens=tuple(Weighted(i, float(n)) for i, n in peaks),
            tokens=tuple(TokenFirings(*one) for one in zip(ids, fired, seen, strict=True)),
            top_logits=weighted[0],
            bottom_logits=weighted[1],
            neighbours=weighted[2],
            coactive=weighted[3],
        )

    def _groups(
        self,
        scalars: Scalars,
        heads: list[list[int]],
        whole: "_Reader",
        activations: "_Reader",
        unit: int,
        regular: bool,
    ) -> tuple[ExampleGroup, ...]:
        n = sum(head[2] for head in heads)
        lengths = None if regular else whole.take(n).tolist()
        starts = (whole.take(n) * unit).tolist()
        if lengths is None:
            lengths = [self._length(start) for start in starts]
        peaks, counts = whole.take(n).tolist(), whole.take(n).tolist()
        all_places = [np.cumsum(whole.take(count)).astype(np.int32) for count in counts]
        groups, i = [], 0
        for name, n_in_interval, n_examples in heads:
            low, high = activations.one(), activations.one()
            examples = []
            for j in range(i, i + n_examples):
                values = activations.take(counts[j])
                examples.append(Example(starts[j], lengths[j], peaks[j], all_places[j], values))
            i += n_examples
            share = _share(n_in_interval, scalars.n_stretches)
            groups.append(ExampleGroup(_NAMES[name], low, high, share, tuple(examples)))
        return tuple(groups)


_LISTS: Final = ("top_logits", "bottom_logits", "neighbours", "coactive")


def scalars_of(record: LatentRecord) -> Scalars:
    """The parts of a record that are columns."""
    return Scalars(*(getattr(record, name) for name in Scalars._fields))


def same_record(a: LatentRecord, b: LatentRecord) -> bool:
    """Whether two records agree in every number; `RecordCodec.rounded` of one gives what is read back."""
    return _plain(a) == _plain(b)


def varints(values: Int64[np.ndarray, "value"]) -> UInt8[np.ndarray, "byte"]:
    """Whole numbers from 0, seven bits a byte, the least significant first; the last byte is below 128.

    Raises:
        ValueError: A number is negative.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.uint8)
    if values.min() < 0:
        raise ValueError(f"{values.min()} is negative: counts, positions and ids are not")
    width = max(1, (int(values.max()).bit_length() + 6) // 7)
    shifted = values[:, None] >> (7 * np.arange(width))
    used = shifted > 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    return ((shifted & 127) | (more * 128)).astype(np.uint8)[used]


def from_varints(data: UInt8[np.ndarray, "byte"]) -> Int64[np.ndarray, "value"]:
    """The whole numbers of `varints`.

    Raises:
        ValueError: The last one is cut off, or one is longer than 63 bits.
    """
    if len(data) == 0:
        return np.empty(0, dtype=np.int64)
    ends = np.flatnonzero(data < 128)
    if len(ends) == 0 or ends[-1] != len(data) - 1:
        raise ValueError("the last number is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 8:
        raise ValueError("a number is too long")
    return np.add.reduceat((data & 127).astype(np.int64) << (7 * place), starts)


class _Reader:
    """Takes numbers from an array in order."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._values) - self._at

    def one(self) -> Any:
        return self.take(1)[0].item()

    def take(self, n: int) -> Any:
        if n > self.left:
            raise ValueError("numbers are missing")
        self._at += n
        return self._values[self._at - n : self._at]

    def counted_array(self) -> Any:
        return self.take(self.one())

    def counted(self) -> list[int]:
        return self.counted_array().tolist()


class _Size(NamedTuple):
    """A length in front of what it measures, itself of variable length."""

    n: int

    def packed(self) -> bytes:
        return varints(np.asarray([self.n], dtype=np.int64)).tobytes()

    @staticmethod
    def unpacked(data: bytes, offset: int = 0) -> tuple[int, int]:
        """The length and where what it measures begins."""
        end = next(i for i in range(offset, offset + 10) if data[i] < 128) + 1
        (n,) = from_varints(np.frombuffer(data[offset:end], dtype=np.uint8)).tolist()
        return n, end


def _parameters() -> zstandard.ZstdCompressionParameters:
    # Neither magic number nor checksum: 8 bytes of a few hundred, and the file as a whole is hashed.
    return zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_checksum=0, write_content_size=1
    )


def _put(numbers: list[int], values: Sequence[int]) -> None:
    numbers.append(len(values))
    numbers.extend(values)


def _weighted(record: LatentRecord) -> list[tuple[Weighted, ...]]:
    return [getattr(record, name) for name in _LISTS]


def _float_lists(record: LatentRecord) -> list[Float32[np.ndarray, "value"]]:
    """Activations with the ends of their intervals, then one list for each kind of weight."""
    activations: list[Any] = [np.empty(0, dtype=np.float32)]
    for group in record.groups:
        activations.append(np.asarray([group.low, group.high], dtype=np.float32))
        activations += [example.values for example in group.examples]
    weights = [np.asarray([one.value for one in ones], np.float32) for ones in _weighted(record)]
    return [np.concatenate(activations).astype(np.float32), *weights]


def _exponent(values: Float32[np.ndarray, "value"]) -> int:
    """The power of two by which a list is divided; 0 for lists of zeros."""
    largest = float(np.abs(values).max()) if len(values) else 0.0
    if not np.isfinite(largest):
        raise ValueError("a value is not finite")
    mantissa, exponent = np.frexp(largest)
    # A largest value that rounds up to a power of two counts as that, so that a record that was read
    # back is written with equal bytes.
    carried = int(np.float16(mantissa) == 1)
    return 0 if largest == 0 else int(exponent) + carried - _TOP_EXPONENT


def _halves(values: Float32[np.ndarray, "value"]) -> tuple[int, Any]:
    exponent = _exponent(values)
    return exponent, np.ldexp(values.astype(np.float64), -exponent).astype(np.float16)


def _rounded(values: Float32[np.ndarray, "value"]) -> Float32[np.ndarray, "value"]:
    exponent, halves = _halves(values)
    return np.ldexp(halves.astype(np.float64), exponent).astype(np.float32)


def _pack_halves(values: Float32[np.ndarray, "value"]) -> bytes:
    """Count, exponent, then all upper and all lower bytes: the upper ones are alike."""
    exponent, halves = _halves(values)
    planes = halves.astype("<f2").view(np.uint8).reshape(-1, 2)
    upper, lower = planes[:, 1].tobytes(), planes[:, 0].tobytes()
    return _Size(len(values)).packed() + exponent.to_bytes(2, "little", signed=True) + upper + lower


def _unpack_halves(data: bytes, offset: int) -> tuple[Float32[np.ndarray, "value"], int]:
    n, start = _Size.unpacked(data, offset)
    end = start + 2 + 2 * n
    if end > len(data):
        raise ValueError("numbers are missing")
    exponent = int.from_bytes(data[start : start + 2], "little", signed=True)
    planes = np.frombuffer(data[start + 2 : end], dtype=np.uint8).reshape(2, n)
    halves = np.ascontiguousarray(planes[::-1].T).view("<f2").reshape(n)
    with np.errstate(all="ignore"):
        values = np.ldexp(halves.astype(np.float64), exponent).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values, end


def _share(n_in_interval: int, n_stretches: int) -> float:
    return n_in_interval / n_stretches if n_stretches else 0.0


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, LatentRecord | ExampleGroup | Example):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
