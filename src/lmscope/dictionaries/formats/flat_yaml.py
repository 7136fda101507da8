"""The small part of YAML that configs of transcoder sets use: keys with a scalar or a list of scalars.

A set's `config.yaml` is that flat, so reading it needs no YAML library. Whatever is not flat is refused.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lmscope.core.errors import ArtifactError

Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]

_KEY: Final = re.compile(r"(?P<key>[A-Za-z_][\w-]*)\s*:(?:\s+(?P<value>.*))?", re.ASCII)
_ITEM: Final = re.compile(r"\s*-\s+(?P<value>.*)")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_PLAIN: Final = tuple("&*!|>%@`{}[]?:,\"'")


def read_flat(path: Path) -> dict[str, Value]:
    """The keys and values of a flat YAML file.

    Raises:
        ArtifactError: The file is absent or not flat; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"'{path}' cannot be read: {error}.") from None
    values: dict[str, Value] = {}
    last: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#") or line.strip() in ("---", "..."):
            continue
        item = _ITEM.fullmatch(line)
        match = _KEY.fullmatch(line.rstrip())
        try:
            if item is not None and last is not None:
                _append(values, last, _scalar(item["value"]))
            elif match is not None and match["key"] not in values:
                values[match["key"]] = _value(match["value"] or "")
                last = str(match["key"])
            else:
                raise ValueError(line.strip())
        except ValueError:
            raise ArtifactError(
                f"Line {number} of '{path}' is not a key with a scalar or a list of scalars: "
                f"'{line.strip()}'."
            ) from None
    return values


def flat_text(values: Mapping[str, Value]) -> str:
    """A flat YAML file; texts are quoted as in JSON, which YAML reads alike."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"  - {json.dumps(item)}" for item in value)]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _append(values: dict[str, Value], key: str, item: Scalar) -> None:
    present = values[key]
    if present is None:
        values[key] = [item]
    elif isinstance(present, list):
        present.append(item)
    else:
        raise ValueError(key)


def _value(text: str) -> Value:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].strip()
        return [_scalar(part) for part in inner.split(",")] if inner else []
    return _scalar(text)


def _scalar(text: str) -> Scalar:
    text = text.strip()
    if match := re.fullmatch(r'("(?:[^"\\]|\\.)*")(?:\s+#.*)?', text):
        return str(json.loads(match[1]))
    if match := re.fullmatch(r"'((?:[^']|'')*)'(?:\s+#.*)?", text):
        return match[1].replace("''", "'")
    text = re.split(r"\s+#|^#", text)[0].strip()
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith(_NOT_PLAIN) or re.search(r":(\s|$)", text):
        raise ValueError(text)
    if re.fullmatch(r"[-+]?\d+", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
        return float(text)
    return text
