"""Addresses as feeds write them, and which of an item's files is the episode."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

_PLAYED = re.compile(r"\.(?:aac|flac|m4[abv]|mkv|mov|mp[34]|oga|ogg|ogv|opus|wav|webm)$", re.IGNORECASE)
_SHOWN = re.compile(r"\.(?:avif|bmp|gif|jpe?g|pdf|png|svg|webp)$", re.IGNORECASE)
#: What needs no second look; nearly all addresses are such.
_PLAIN = re.compile(r"https?://[\w.-]+(?::[0-9]{1,4})?(?:/[\x21-\x7e]*)?", re.ASCII)
_NOT_PLAYED = ("image/", "text/", "application/pdf")


def safe_url(text: str, base: str) -> str:
    """An absolute http(s) URL, or nothing: feeds also name ``javascript:``, ``file:`` and worse.

    :param text: as the feed writes it, perhaps relative; line breaks in it are left out, as browsers do.
    :param base: the document's address.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return text
    text = re.sub(r"[\t\r\n]", "", text)
    if not text or re.search(r"[\x00-\x1f\x7f]", text):
        return ""
    try:
        # Not joined where it has a scheme: "http://" alone would become the base itself.
        joined = text if urlsplit(text).scheme else urljoin(base, text)
        parts = urlsplit(joined)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    return joined if usable else ""


def choose_file(links: Iterable[tuple[str, str]], base: str) -> str:
    """The address of an episode's file: what is played goes before what nobody knows, pictures and papers come last.

    :param links: address and media type of each enclosure, as the feed writes them.
    :param base: the document's address.
    :return: empty where no address is usable.
    """
    usable = [(address, kind) for href, kind in links if (address := safe_url(href, base))]
    if len(usable) > 1:
        usable.sort(key=lambda link: _unfitness(*link))
    return usable[0][0] if usable else ""


def _unfitness(address: str, kind: str) -> int:
    kind, path = kind.strip().lower(), urlsplit(address).path
    if kind.startswith(("audio/", "video/")):
        return 0
    if _PLAYED.search(path) and not kind.startswith(_NOT_PLAYED):
        return 1
    return 3 if kind.startswith(_NOT_PLAYED) or _SHOWN.search(path) else 2
