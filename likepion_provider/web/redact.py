"""URLs as they may be shown: a feed's address can hold a private token in any of its parts."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
_MAX_SHOWN = 200
_MIN_TOKEN = 12
#: Letters and digits together are a token from here on; anything is, that is longer than words are.
_MIN_MIXED = 8
_MAX_WORD = 16
_SECRET_NAMES = frozenset({"auth", "key", "keys", "private", "secret", "token", "tokens", "u", "user"})
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f]")


def redact(url: str) -> str:
    """Show where a URL points without what could open it.

    User info and fragment are left out; of the query only the names stay; path segments and names of hosts that look
    like a token, and segments that follow one such as ``private``, become ``***``. It would rather hide a harmless
    segment than show a secret.

    :param url: any string; what is no http(s) URL keeps its scheme and host at most.
    :return: one line of at most 200 characters.
    """
    try:
        parts = urlsplit(_FORBIDDEN.sub("", url))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "<unreadable URL>"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:{HIDDEN}" if parts.scheme else HIDDEN
    # A name of one's own below a host's can be the token; the last two labels are the host's.
    labels = host.split(".")
    shown_labels = [HIDDEN if _is_token(label) else label for label in labels[:-2]]
    host = f"[{host}]" if ":" in host else ".".join([*shown_labels, *labels[-2:]])
    netloc = f"{host}:{port}" if port is not None else host
    shown = f"{parts.scheme}://{netloc}{_redact_path(parts.path)}{_redact_query(parts.query)}"
    return shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…"


def _redact_path(path: str) -> str:
    shown: list[str] = []
    before = ""
    for segment in path.split("/"):
        hide = bool(segment) and (before in _SECRET_NAMES or _is_token(segment))
        shown.append(HIDDEN if hide else segment)
        before = unquote(segment).lower()
    return "/".join(shown)


def _redact_query(query: str) -> str:
    if not query:
        return ""
    names = (pair.partition("=") for pair in re.split("[&;]", query))
    # A pair without "=" is a value without a name: such a query is often the token itself.
    return "?" + "&".join(f"{name}={HIDDEN}" if sign and not _is_token(name) else HIDDEN for name, sign, _ in names)


def _is_token(segment: str) -> bool:
    """Whether a path segment could be a key: long, and not made of words.

    :param segment: between two slashes; percent escapes are read, an extension such as ``.xml`` is ignored.
    """
    text = re.sub(r"\.[a-z][a-z0-9]{1,4}$", "", unquote(segment))
    if ";" in text or "=" in text or "@" in text:
        return True
    joined = re.sub(r"[-_.~+]", "", text)
    if len(joined) >= _MIN_TOKEN and (re.fullmatch(r"[0-9a-fA-F]+", joined) or _is_dense(joined)):
        return True
    return any(_is_mixed(piece) for piece in re.split(r"[-_.~+]", text))


def _is_mixed(piece: str) -> bool:
    """One run without separators that mixes letters with digits, changes case within, or is longer than words are."""
    has_digit, has_letter = re.search("[0-9]", piece), re.search("[^0-9]", piece)
    if len(piece) >= _MIN_TOKEN and (has_digit or len(re.findall(r"[a-z][A-Z]", piece)) > 2):
        return True
    return len(piece) >= _MAX_WORD or (len(piece) >= _MIN_MIXED and bool(has_digit and has_letter))


def _is_dense(joined: str) -> bool:
    """Base64-like: digits, small and capital letters all through, whatever separators stood between."""
    kinds = re.sub("[0-9]+", "0", re.sub("[a-z]+", "a", re.sub("[A-Z]+", "A", joined)))
    return len(kinds) * 2 > len(joined) and "0" in kinds
