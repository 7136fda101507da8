"""ServeSettings: what is served, to whom, and within which limits."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from lmscope.core.config import Config

DEFAULT_PORT = 8710
MIN_TOKEN = 16
"""Characters of a token that cannot be guessed."""

Token = Annotated[str, Field(min_length=MIN_TOKEN, max_length=256, pattern=r"^[\x21-\x7e]+$")]


class ServeSettings(Config):
    """What `lmscope serve` was asked for."""

    folders: tuple[Path, ...] = (Path("runs"),)
    """Runs, folders of runs, or packed atlases."""
    host: str | None = None
    """Address to listen at; absent: loopback only, IPv4 and IPv6."""
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    """0 takes any free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Further `NAME:PORT` under which browsers reach it, for tunnels and proxies."""
    token: Token | None = None
    """Who knows it may read, and write unless there is a write token; absent: everybody who reaches the address."""
    write_token: Token | None = None
    """Who knows it may read and write; all others only read."""
    read_only: bool = False
    """Notes cannot be written and jobs cannot be started."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 2**20
    """Larger requests are refused."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a page that is not there is given up."""
    live_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """The same for what the model computes while a person waits."""
