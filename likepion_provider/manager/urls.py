"""Sameness of URLs, by RFC 3986."""

from __future__ import annotations

import re
import string


def normal_url(url: str) -> str:
    """An http(s) URL as it is compared: two spellings of one URL give the same text. It is never sent.

    By RFC 3986, 6.2.2 and 6.2.3: the case of scheme, host and escapes, escaped unreserved characters, dot segments, the
    default port and an empty path make no difference. All else does: a reserved character and its escape are two. Any
    other text comes back as it is.
    """
    url = url.strip()
    if _NORMAL.fullmatch(url):
        return url
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return url
    scheme = parts["scheme"].lower()
    # Twice: the case of the host is none of its escapes'.
    host = _escapes_of(_escapes_of(parts["host"]).lower())
    name, colon, port = host.rpartition(":")
    if colon and port in ("", _DEFAULT_PORTS[scheme]) and (":" not in name or name.endswith("]")):
        host = name
    path = _without_dots(_escapes_of(parts["path"]))
    return f"{scheme}://{_escapes_of(parts['user'])}{host}{path}{_escapes_of(parts['rest'])}"


def site_address(url: str) -> str:
    """An http(s) address as that of one site: two spellings of it, or two users of it, give the same text.

    It is :func:`normal_url` without a user's name and password, without query and fragment, and without a slash at
    the end.
    """
    parts = _PARTS.fullmatch(normal_url(url))
    if parts is None:
        return url.strip()
    return f"{parts['scheme']}://{parts['host']}{parts['path']}".rstrip("/")


def _escapes_of(text: str) -> str:
    """A part with its escapes in their one spelling; a ``%`` that begins none is one itself."""
    return _ESCAPE.sub(_one_escape, text) if "%" in text else text


def _one_escape(found: re.Match[str]) -> str:
    if not found[1]:
        return "%25"
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:] or [""]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


_DEFAULT_PORTS = {"http": "80", "https": "443"}
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})?")
_PARTS = re.compile(
    r"(?P<scheme>https?)://(?P<user>(?:[^/?#]*@)?)(?P<host>[^/?#@]*)(?P<path>[^?#]*)(?P<rest>.*)",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
#: Most URLs are spelled normally: no user, no port, no escape and no segment that begins with a dot.
_NORMAL = re.compile(r"https?://[a-z0-9.-]+(?:/(?![.])[^/?#%]*)+(?:[?#][^%]*)?")
