"""Every feed of the corpus beside the checkout, and feedparser's own test files where they are too.

Against what three parsers agree on, and against feedparser on the whole. ``corpus_differences.json`` lists each
difference with its reason; one that goes away must leave the list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .test_document import guids, read, whole

SHARED = Path(__file__).resolve().parents[4] / "shared"
CORPUS = SHARED / "corpus"
KNOWN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("corpus_differences.json").read_text())
_PRESENT = (CORPUS / "consensus.json").is_file()
_RECORDS = json.loads((CORPUS / "consensus.json").read_text()) if _PRESENT else []
_OWN = sorted((SHARED / "feedparser-tests").rglob("*.xml"))
_FILES = [*(CORPUS / record["file"] for record in _RECORDS), *_OWN]


def found(path: Path) -> dict[str, Any]:
    document = read(path.read_bytes(), 10_000)
    first = document["episodes"][0] if document["episodes"] else None
    return {
        "enclosures": len(document["episodes"]),
        "first_guid": first["guid"] if first else None,
        "items": document["items"],
        "title": document["fields"]["title"] or None,
    }


def differences(record: dict[str, Any]) -> dict[str, list[Any]]:
    ours = found(CORPUS / record["file"])
    # The majority's first item may have no file, and is no episode then.
    compared = set(ours) - ({"first_guid"} if ours["enclosures"] < ours["items"] else set())
    return {
        key: [ours[key], majority]
        for key, majority in record["majority"].items()
        if key in compared and " ".join(str(majority or "").split()) != " ".join(str(ours[key] or "").split())
    }


@pytest.mark.skipif(not _PRESENT, reason=f"no corpus at {CORPUS.parent.name}/{CORPUS.name} beside the checkout")
@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record["file"])
def test_same_as_the_majority(record: dict[str, Any]) -> None:
    listed = KNOWN.get(record["file"], {})
    assert set(differences(record)) == set(listed.get("fields", ()))
    assert not listed or listed["reason"]


@pytest.mark.skipif(not _PRESENT, reason=f"no corpus at {CORPUS.parent.name}/{CORPUS.name} beside the checkout")
@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(SHARED)))
def test_same_episodes_as_feedparser_on_the_whole(path: Path) -> None:
    data = path.read_bytes()
    for want in (1, 3, 20, 1000):
        right = whole(data, want)
        for size in (1, 7, 4096):
            if len(data) < 200_000 or size > 7:
                document = read(data, want, size)
                assert guids(document) == right or not document["certain"]


def test_no_listed_difference_is_about_a_file_that_is_gone() -> None:
    if not _PRESENT:
        pytest.skip(f"no corpus at {CORPUS.parent.name}/{CORPUS.name} beside the checkout")
    assert set(KNOWN) <= {record["file"] for record in _RECORDS}
