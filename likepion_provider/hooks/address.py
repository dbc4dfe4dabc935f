"""Where the manager is and how it is reached, as a connection of type ``likepion`` says.

The extras that say how are HttpHook's own: ``proxies``, ``verify``, ``cert`` and ``trust_env``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from likepion_provider.errors import BadRequest, NotAuthorised
from likepion_provider.hooks.values import flag
from likepion_provider.manager.client import ManagerAddress, is_http_url
from likepion_provider.manager.protocol import API_PATH, DEFAULT_HOST

SCHEMES = ("http", "https")
#: The environment's own certificate authorities, as ``requests`` reads them.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def address_of(conn_id: str, connection: Any) -> ManagerAddress:
    """Where the manager is.

    :raises BadRequest: there is no such connection, or one of its extras makes no sense.
    :raises NotAuthorised: it has no password, which is the API key, or one that is none.
    """
    url = url_of(conn_id, connection)
    if not connection.password:
        raise NotAuthorised(f"the Airflow connection {conn_id!r} has no API key", status=401)
    if any(map(str.isspace, connection.password)):
        raise NotAuthorised(
            f"the API key in the Airflow connection {conn_id!r} has white space in it",
            status=401,
            remedy="Paste it anew, without spaces and line ends.",
        )
    extras = _Extras(conn_id, connection.extra_dejson)
    return ManagerAddress(
        url,
        connection.password,
        timeout_s=extras.timeout_s(),
        proxy=extras.proxy(url),
        verify=extras.verify(url),
        cert=extras.cert(),
    )


def url_of(conn_id: str, connection: Any | None) -> str:
    """The manager's scheme, host and port; for whoever only asks which manager it is, and needs no key.

    :raises BadRequest: there is no such connection.
    """
    if connection is None:
        raise BadRequest(
            f"there is no Airflow connection {conn_id!r}",
            remedy=f"Make it: airflow connections add {conn_id} --conn-type likepion --conn-password <API key>.",
        )
    return base_url_of(connection) or DEFAULT_HOST


def base_url_of(connection: Any) -> str:
    """Scheme, host and port of a connection; https by default, empty without a host. The API's own path is cut off."""
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return ""
    scheme, path = connection.schema, ""
    if connection.conn_type in SCHEMES and scheme is not None and scheme not in SCHEMES:
        # Written as a URI: Airflow takes its scheme for the type, and its path, empty where there is none, for schema.
        scheme, path = connection.conn_type, scheme
    if "://" not in host:
        host = f"{scheme or 'https'}://{host}"
    if connection.port:
        host = f"{host}:{connection.port}"
    return f"{host}/{path}".rstrip("/").removesuffix(API_PATH)


@dataclasses.dataclass(frozen=True)
class _Extras:
    conn_id: str
    given: Mapping[str, Any] = dataclasses.field(repr=False)

    def timeout_s(self) -> float:
        try:
            timeout_s = float(self.given.get("timeout_s", 60.0))
        except (TypeError, ValueError):
            timeout_s = 0.0
        if not 0.1 <= timeout_s <= 600:
            raise self._refused("timeout_s", "from 0.1 to 600 seconds")
        return timeout_s

    def proxy(self, url: str) -> str:
        """The connection's proxy for the manager, else the environment's."""
        if not is_http_url(url):
            return ""  # the client refuses the address itself
        given = self.given.get("proxies") or {}
        if isinstance(given, str):
            given = {"all": given}
        if not isinstance(given, dict):
            raise self._refused("proxies", "an http(s) URL, or such URLs by scheme")
        if own := _proxy_among(given, url):
            return self._usable("proxies", own)
        if not self._switch("trust_env"):
            return ""
        found = _proxy_among(getproxies_environment(), url)
        if not found or proxy_bypass(urlsplit(url).netloc.rpartition("@")[2]):
            return ""
        return self._usable("proxies, where the environment's proxy is no http(s) URL,", found)

    def verify(self, url: str) -> bool | str:
        """Whether certificates are checked, or the path of what they are checked against."""
        given = self.given.get("verify")
        try:
            checks = self._switch("verify")
        except BadRequest:
            if isinstance(given, str):
                return given
            raise
        if not checks or not self._switch("trust_env") or not url.startswith("https:"):
            return checks
        return next(filter(None, map(os.environ.get, CA_VARIABLES)), True)

    def cert(self) -> tuple[str, ...]:
        """The paths of the client's certificate and key."""
        given = self.given.get("cert") or ()
        paths = (given,) if isinstance(given, str) else given
        if not isinstance(paths, list | tuple) or len(paths) > 2 or not all(isinstance(each, str) for each in paths):
            raise self._refused("cert", "a certificate's path, or a list of its and its key's")
        return tuple(paths)

    def _switch(self, name: str) -> bool:
        """On where it is not set: nothing that is merely empty switches a check off."""
        given = self.given.get(name)
        try:
            return given in (None, "") or flag(name, given)
        except BadRequest:
            raise self._refused(name, "true or false" + (", or the path of a CA bundle" * (name == "verify"))) from None

    def _usable(self, name: str, proxy: Any) -> str:
        address = proxy if "://" in str(proxy) else f"http://{proxy}"
        if not isinstance(proxy, str) or not is_http_url(address):
            raise self._refused(name, "an http(s) URL, or such URLs by scheme")
        return address

    def _refused(self, name: str, must_be: str) -> BadRequest:
        # Without the value: a proxy's can hold a password.
        return BadRequest(
            f"{name} in the connection {self.conn_id!r} must be {must_be}", remedy="Correct the connection's extra."
        )


def _proxy_among(proxies: Mapping[str, Any], url: str) -> Any:
    """The proxy for a URL, chosen as ``requests`` does; empty where there is none."""
    parts = urlsplit(url)
    names = (f"{parts.scheme}://{parts.hostname}", parts.scheme, f"all://{parts.hostname}", "all")
    return next((proxies[name] for name in names if proxies.get(name)), "")
