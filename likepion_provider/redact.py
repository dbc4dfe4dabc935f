"""Addresses as they may be shown: a feed's can hold a private token in any of its parts."""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
#: Kept with what they come to: a feed's is asked about for each account of its post, and at each look.
_ADDRESSES = 512
_MAX_SHOWN = 200
#: Words are shorter.
_MIN_TOKEN = 16
#: The only words of an address that are shown: what addresses of feeds are made of, and no token is.
_PLAIN = frozenset(
    re.findall(
        r"\w+",
        "api app audio blog cast cdn channel channels content de en episode episodes es external feed feedburner feeds "
        "fr home http https index it ja latest listen main media mobile news nl pl play podcast podcasts pt public "
        "radio rss rss2 ru s3 series show shows static stream v1 v2 v3 vi web www xml zh",
    )
)
#: After one of these comes a key, whatever it looks like.
_BEFORE_KEYS = frozenset({"auth", "key", "keys", "private", "secret", "token", "tokens", "u", "user"})
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{1,4}$")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f]")
#: The second-to-last label of a host's name where the last one does not tell whose it is: ``co.uk``, ``com.vn``.
_SHARED = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})


@functools.lru_cache(_ADDRESSES)
def redact(url: str) -> str:
    """Show where an address points without what could open it.

    Shown are the scheme, the part of the host's name that can be registered, the port, an extension such as ``.xml``,
    and in path and host the few words that addresses of feeds are made of. Everything else becomes ``***``, since a
    short token looks like any name; user info and fragment are left out.

    :param url: any string; what is no http(s) URL keeps its scheme at most.
    :return: one line of at most 200 characters.
    """
    try:
        parts = urlsplit(_FORBIDDEN.sub("", url))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "<unreadable URL>"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:{HIDDEN}" if parts.scheme else HIDDEN
    netloc = _shown_host(host) + (f":{port}" if port is not None else "")
    path = "/".join(_shown_segment(each) if each else "" for each in parts.path.split("/"))
    # Many hidden segments say no more than one.
    path = re.sub(r"(/\*\*\*)+(?=/)", f"/{HIDDEN}", path)
    shown = f"{parts.scheme}://{netloc}{path}" + (f"?{HIDDEN}" if parts.query else "")
    return shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…"


def _shown_host(host: str) -> str:
    if ":" in host:
        return f"[{host}]"
    labels = host.split(".")
    if re.fullmatch(r"[0-9.]+", host):
        return host
    own = 3 if len(labels) > 2 and labels[-2] in _SHARED and len(labels[-1]) == 2 else 2
    return ".".join([*(label if label in _PLAIN else HIDDEN for label in labels[:-own]), *labels[-own:]])


def _shown_segment(segment: str) -> str:
    """A piece of a path between two slashes."""
    extension = found[0] if (found := _EXTENSION.search(segment)) else ""
    stem = segment.removesuffix(extension)
    return segment if stem.lower() in _PLAIN else HIDDEN + extension


@functools.lru_cache(_ADDRESSES)
def tokens(url: str) -> tuple[str, ...]:
    """The parts of an address that look like a token, and so must not be shown anywhere else either.

    They mix letters with digits or capitals with small letters, are longer than words are, or follow a word such as
    ``private``; and everything that is the value of a parameter, or user info.
    """
    try:
        parts = urlsplit(url)
        host, user, password = parts.hostname or "", parts.username or "", parts.password or ""
    except ValueError:
        return ()
    found = [user, password, *(pair.partition("=")[2] or pair for pair in re.split("[&;]", parts.query))]
    found += [label for label in host.split(".")[:-2] if _is_token(label)]
    before = ""
    for segment in parts.path.split("/"):
        if _is_token(segment) or before in _BEFORE_KEYS:
            found += [segment, _EXTENSION.sub("", segment)]
        before = unquote(segment).lower()
    return tuple(each for text in found for each in dict.fromkeys([text, unquote(text)]))


def _is_token(segment: str) -> bool:
    text = _EXTENSION.sub("", unquote(segment))
    if text.lower() in _PLAIN:
        return False
    return any(
        len(piece) >= 16
        or re.search(r"[a-z][A-Z]", piece)
        or (re.search("[0-9]", piece) and re.search("[^0-9]", piece))
        for piece in re.split(r"[-_.~+@]", text)
    )
