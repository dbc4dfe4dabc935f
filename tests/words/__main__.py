"""Gather the messages, bring the catalogues up to date, and compile them (``make words``)."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime, timezone

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from likepion_provider.words import ENGLISH, LANGUAGES
from tests.words.gather import PACKAGE, gathered, of_board

BEGUN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def main() -> int:
    """Write each language's catalogue.

    :return: 1 where a message has no words yet.
    """
    lacking = 0
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalogue = updated(language)
        for path, content in compiled(language, catalogue).items():
            (PACKAGE / path).write_bytes(content)
        without = [each.id for each in catalogue if each.id and not each.string]
        lacking += len(without)
        print(f"{language}: {len(catalogue)} messages, {len(without)} without words", *without, sep="\n  ")
    return 1 if lacking else 0


def stored(language: str) -> Catalog:
    """The catalogue as it is."""
    with (PACKAGE / _folder(language) / "likepion.po").open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str) -> Catalog:
    """The catalogue with what the source says now; what it says no more is left out."""
    before = stored(language)
    catalogue = Catalog(
        locale=language,
        charset="utf-8",
        header_comment=f"# The words of airflow-provider-likepion ({language}); see 'make words'.",
        project="airflow-provider-likepion",
        version="0",
        # The history is in the repository: two runs make the same files.
        creation_date=BEGUN,
        revision_date=BEGUN,
        last_translator="",
        language_team="",
        fuzzy=False,
    )
    for message, places in sorted(gathered().items(), key=lambda each: (each[1][0][0], each[1][0][1], each[0])):
        name = (message.name, message.many) if message.many else message.name
        known = before.get(message.name, message.context or None)
        files = sorted({file for file, _ in places})
        catalogue.add(
            name, known.string if known else None, [(file, None) for file in files], context=message.context or None
        )
    return catalogue


def compiled(language: str, catalogue: Catalog) -> dict[str, bytes]:
    """The files of a catalogue, by their paths below the package."""
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, catalogue, width=120, omit_header=False, sort_output=False)
    write_mo(mo, catalogue)
    board = {}
    for message, _ in of_board():
        said = catalogue.get(message.name).string
        board[message.name] = said[0] if isinstance(said, tuple) else said
        if message.many:
            board[message.many] = board[message.name]
    words = json.dumps(board, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    folder = _folder(language)
    return {
        f"{folder}/likepion.po": po.getvalue(),
        f"{folder}/likepion.mo": mo.getvalue(),
        f"board/static/words.{language}.json": words.encode(),
    }


def _folder(language: str) -> str:
    return f"locale/{language}/LC_MESSAGES"


if __name__ == "__main__":
    sys.exit(main())
