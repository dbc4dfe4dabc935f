"""Where sockets are made: an address is checked there, so what was checked is what is connected to.

A name that resolves differently the second time gains nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_refused: contextvars.ContextVar[list[str]] = contextvars.ContextVar("refused")


class _AddressRefused(OSError):
    """Raised where a socket would be made; an OSError, because aiohttp hands on no other."""


def connector(*, public_only: bool, **options: Any) -> aiohttp.TCPConnector:
    """What connects.

    :param public_only: refuse every address that is not public: see :func:`is_public`.
    :param options: aiohttp's.
    """
    return aiohttp.TCPConnector(socket_factory=_public_socket if public_only else None, **options)


@contextlib.contextmanager
def refusals() -> Iterator[list[str]]:
    """The addresses that were refused to the request in the body: several that fail are one error without a cause."""
    found: list[str] = []
    token = _refused.set(found)
    try:
        yield found
    finally:
        _refused.reset(token)


def _public_socket(address_info: tuple[Any, ...]) -> socket.socket:
    """The socket factory of aiohttp, called with the very address that the socket then connects to."""
    family, kind, protocol, _, address = address_info
    if not is_public(address[0]):
        _refused.get([]).append(address[0])
        raise _AddressRefused(f"{address[0]} is not public")
    return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open Internet.

    Loopback, private, link-local, shared (carrier-grade NAT), multicast and reserved ranges do not, nor IPv6 forms that
    carry an IPv4 address that does not.

    :param address: as a resolver gives it, perhaps with an IPv6 zone.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
