"""Addresses: where the server listens, and under which names browsers may reach it."""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from lmscope.core.errors import LmscopeError
from lmscope.server.settings import ServeSettings

LOOPBACK: Final = ("127.0.0.1", "::1")
N_TRIED_PORTS: Final = 20
"""So many ports after the usual one are tried when it is taken."""
_EVERYWHERE: Final = ("0.0.0.0", "::")
_BACKLOG: Final = 512


class AddressError(LmscopeError):
    """The server cannot listen where it was told to, or must not."""


def refuse_open_doors(settings: ServeSettings) -> None:
    """Whoever is reachable from elsewhere asks for a token.

    Raises:
        AddressError: The host is not loopback and there is no token.
    """
    host = settings.host
    if host is None or settings.token is not None or is_loopback(host):
        return
    raise AddressError(
        f"'{host}' can be reached from other machines, so whoever reads must show a token: set LMSCOPE_TOKEN "
        "(or --token) to 16 characters or more, or leave --host out."
    )


def is_loopback(host: str) -> bool:
    """Whether every address of a host name is this machine's own loopback."""
    addresses = _resolve(host, 0)
    return all(ipaddress.ip_address(one[4][0].split("%")[0]).is_loopback for one in addresses)


def listen(settings: ServeSettings, *, port_is_fixed: bool) -> list[socket.socket]:
    """Sockets that listen at the host's addresses, all on one port.

    Args:
        settings: The host and the port.
        port_is_fixed: Whether a taken port is an error; otherwise the next free one is taken.

    Raises:
        AddressError: The port is taken, or the address is not one of this machine.
    """
    hosts = LOOPBACK if settings.host is None else (settings.host,)
    ports = _candidates(settings.port, is_fixed=port_is_fixed)
    for port in ports:
        try:
            return _listen(hosts, port, needs_all=settings.host is not None)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise AddressError(_why(hosts[0], port, error)) from None
    what = f"Port {ports[0]} is" if len(ports) == 1 else f"Ports {ports[0]} to {ports[-1]} are"
    raise AddressError(f"{what} taken by other programs. Choose another one with --port.")


def port_of(sockets: Sequence[socket.socket]) -> int:
    """The port that sockets listen at."""
    return int(sockets[0].getsockname()[1])


def url(settings: ServeSettings) -> str:
    """The address for a browser; `settings.port` is the one that was bound."""
    host = settings.host or LOOPBACK[0]
    if host in _EVERYWHERE:
        host = socket.gethostname()
    return f"http://{_bracketed(host)}:{settings.port}/"


class HostNames:
    """The `Host` headers that the server answers to; all others may come of DNS rebinding."""

    def __init__(self, settings: ServeSettings) -> None:
        """The names of a server that listens at `settings.port`."""
        self._port = settings.port
        self._any_address = settings.host in _EVERYWHERE
        names = {"localhost", *LOOPBACK}
        if settings.host is not None:
            names.add(settings.host)
        if self._any_address:
            names |= {socket.gethostname(), socket.getfqdn()}
        self._known = {f"{_bracketed(name).lower()}:{settings.port}" for name in names}
        if settings.port == 80:
            self._known |= {_bracketed(name).lower() for name in names}
        self._known |= {name.lower() for name in settings.allowed_hosts}

    def __contains__(self, host: str) -> bool:
        host = host.lower()
        return host in self._known or (self._any_address and self._is_address(host))

    def _is_address(self, host: str) -> bool:
        # A number is no name, so no name server can point it elsewhere.
        name, _, port = host.rpartition(":")
        if port != str(self._port):
            return False
        with suppress(ValueError):
            ipaddress.ip_address(name.strip("[]"))
            return True
        return False


def _candidates(port: int, *, is_fixed: bool) -> Sequence[int]:
    if port == 0:
        return [0] * N_TRIED_PORTS  # a free port of IPv4 may be taken on IPv6
    return [port] if is_fixed else range(port, min(port + N_TRIED_PORTS, 65536))


def _listen(hosts: Sequence[str], port: int, *, needs_all: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sockets.append(_bound(host, port_of(sockets) if sockets else port))
            except (OSError, AddressError) as error:
                # Machines without IPv6 have no ::1; a port that is taken there is taken.
                taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
                if needs_all or not sockets or taken:
                    raise
    except (OSError, AddressError):
        for one in sockets:
            one.close()
        raise
    return sockets


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = _resolve(host, port)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise AddressError(
            f"'{host}' is no address that this machine knows. Give one of its own, or leave --host out."
        ) from None
    return list(found)


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs more rights than you have. Choose one above 1023 with --port."
    return f"The server cannot listen at '{host}' port {port}: {error.strerror}. Give an address of this machine with --host."


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
