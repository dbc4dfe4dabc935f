"""Every feed of the corpus beside the checkout, against what three parsers agree on.

``corpus_differences.json`` lists each difference with its reason; one that goes away must leave the list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.feed.cut import Cutter
from likepion_provider.feed.entries import parse

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
KNOWN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("corpus_differences.json").read_text())
_PRESENT = (CORPUS / "consensus.json").is_file()
_RECORDS = json.loads((CORPUS / "consensus.json").read_text()) if _PRESENT else []


def found(path: Path) -> dict[str, Any]:
    cutter = Cutter(10_000)
    data = path.read_bytes()
    for start in range(0, len(data), 65536):
        cutter.feed(data[start : start + 65536])
    cutter.finish()
    document = parse(cutter.cut(), url="http://corpus.example/feed")
    first = document.episodes[0] if document.episodes else None
    return {
        "items": len(document.episodes),
        "enclosures": sum(1 for episode in document.episodes if episode.enclosure),
        "first_guid": first.guid if first else None,
        "title": document.feed.title or None,
    }


def differences(record: dict[str, Any]) -> dict[str, list[Any]]:
    ours = found(CORPUS / record["file"])
    return {
        key: [ours[key], majority]
        for key, majority in record["majority"].items()
        if " ".join(str(majority or "").split()) != " ".join(str(ours[key] or "").split())
    }


@pytest.mark.skipif(not _PRESENT, reason=f"no corpus at {CORPUS.parent.name}/{CORPUS.name} beside the checkout")
@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record["file"])
def test_same_as_the_majority(record: dict[str, Any]) -> None:
    listed = KNOWN.get(record["file"], {})
    assert set(differences(record)) == set(listed.get("fields", ()))
    assert not listed or listed["reason"]


def test_no_listed_difference_is_about_a_file_that_is_gone() -> None:
    if not _PRESENT:
        pytest.skip(f"no corpus at {CORPUS.parent.name}/{CORPUS.name} beside the checkout")
    assert set(KNOWN) <= {record["file"] for record in _RECORDS}
