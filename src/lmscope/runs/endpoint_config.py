"""EndpointConfig: which server answers chat completions, how long to wait for it, what it may cost."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from lmscope.core.config import Config

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OURS: Final = ("model", "messages", "response_format", "stream", "n", "tools")

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(Config):
    """What a million tokens cost, in the currency that `Caps.cost` is meant in."""

    prompt: Amount
    answer: Amount


class Caps(Config):
    """What may be spent in all, over every start of the same run; absent: no cap."""

    n_calls: Annotated[int, Field(ge=0)] | None = None
    """Requests that the server took on; those that it turned away at once do not count."""
    n_tokens: Annotated[int, Field(ge=0)] | None = None
    """Of prompts and answers together."""
    cost: Amount | None = None
    """By `EndpointConfig.prices`."""


class Retries(Config):
    """What happens when a request fails or its answer cannot be used."""

    n_tries: Count = 6
    """Of one request, as long as the server is away, overloaded or limits the rate."""
    first_wait_s: Seconds = 1.0
    """Doubled from try to try, unless the server says how long to wait."""
    longest_wait_s: Seconds = 60.0
    """No wait is longer; a server that asks for a longer one ends the work."""
    n_corrections: Annotated[int, Field(ge=0)] = 2
    """Times that an answer of a wrong form is sent back with what is wrong about it."""


class EndpointConfig(Config):
    """A server with OpenAI's chat-completions interface, local or remote."""

    base_url: str
    """Up to and without `/chat/completions`, e.g. `http://localhost:8000/v1`."""
    model: str
    """As the server calls it."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; absent: no key is sent."""
    timeout_s: Seconds = 120.0
    """For one answer."""
    answer_tokens: Count = 1024
    """Longest answer, with the tokens of hidden reasoning where the server counts them."""
    answer_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls that limit; OpenAI's newer models know the second only."""
    answer_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How JSON is asked for: by a schema that the server keeps to, as any JSON, or in words only."""
    options: dict[str, Any] = {"temperature": 0}  # noqa: RUF012 (a frozen value)
    """Further fields of the request, e.g. `temperature`, `seed`, `reasoning_effort`."""
    prices: Prices | None = None
    """Needed for a cap on the cost."""
    caps: Caps = Caps()
    retries: Retries = Retries()
    plain_http: bool = False
    """Allow the key to travel unencrypted to another machine."""

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "it must hold no user, key or query: name the key's variable in key_env"
            )
        return value.rstrip("/").removesuffix("/chat/completions")

    @field_validator("options")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        limits = ("max_tokens", "max_completion_tokens")
        if taken := sorted(set(value) & {*_OURS, *limits}):
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "EndpointConfig":
        if self.caps.cost is not None and self.prices is None:
            raise ValueError(
                "caps.cost needs prices.prompt and prices.answer, for a million tokens"
            )
        parts = urlsplit(self.base_url)
        if self.key_env and parts.scheme == "http" and not self.is_loopback and not self.plain_http:
            raise ValueError(
                f"the key would travel unencrypted to '{parts.hostname}': use https, leave key_env "
                "out, or set plain_http = true if the network is yours"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return urlsplit(self.base_url).hostname in LOOPBACK
