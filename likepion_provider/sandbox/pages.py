"""The sandbox site's HTML: small pages that a person, a screen reader and an importer can use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from html import escape

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "body{color:#1b1b1b;background:#fff}a{color:#0b57a4}label,audio{display:block;margin:1rem 0 .3rem}"
    "input{font:inherit;padding:.4rem;width:100%;max-width:24rem}"
    "button{font:inherit;margin-top:1rem;padding:.4rem 1.2rem}.error{color:#8f1010;font-weight:600}"
)


@dataclasses.dataclass(frozen=True)
class Field:
    """An input of a form."""

    name: str
    label: str
    type: str = "text"
    autocomplete: str = "off"


def page(title: str, body: str, *, domain: str) -> str:
    """A whole page.

    :param title: plain text.
    :param body: HTML, already escaped.
    :param domain: the platform it belongs to; plain text.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - {escape(domain)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<header><nav aria-label="Site"><a href="/{escape(domain)}/">{escape(domain)}</a></nav></header>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def form(action: str, csrf: str, fields: Iterable[Field], button: str, *, error: str = "") -> str:
    """A POST form with its hidden ``csrf`` input.

    :param action: where it is sent; plain text, as every text here.
    :param csrf: the token.
    :param fields: the inputs.
    :param button: what the button says.
    :param error: what was wrong with the last attempt; empty: nothing.
    """
    inputs = "".join(
        f'<label for="{field.name}">{escape(field.label)}</label>'
        f'<input id="{field.name}" name="{field.name}" type="{field.type}" '
        f'autocomplete="{field.autocomplete}" required>'
        for field in fields
    )
    alert = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return (
        f'{alert}<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">{inputs}'
        f'<button type="submit">{escape(button)}</button></form>'
    )


def links(targets: Iterable[tuple[str, str]], *, empty: str) -> str:
    """A list of links.

    :param targets: address and text of each; plain text.
    :param empty: what to say where there is none.
    """
    entries = "".join(f'<li><a href="{escape(address)}">{escape(text)}</a></li>' for address, text in targets)
    return f"<ul>{entries}</ul>" if entries else f"<p>{escape(empty)}</p>"


def player(enclosure_url: str, title: str) -> str:
    """An audio player; nothing but a sentence where the enclosure is no web address.

    :param enclosure_url: the audio file; plain text.
    :param title: the episode's title, for its label.
    """
    if not enclosure_url.startswith(("http://", "https://")):
        return "<p>This episode has no audio.</p>"
    address = escape(enclosure_url)
    return (
        f'<audio controls preload="none" src="{address}" aria-label="{escape(title)}"></audio>'
        f'<p><a href="{address}">Download the audio</a></p>'
    )
