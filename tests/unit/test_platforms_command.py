"""``likepion platforms``: what is refused before anything is asked."""

from __future__ import annotations

import pytest

from likepion_provider.cli import main


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["check", "https://PocketCasts.com/x"], "is an address: give the domain, 'pocketcasts.com'"),
        (["check", "pocketcasts.com:443"], "is an address: give the domain, 'pocketcasts.com'"),
        (["try", "r.yaml", "--feed", "x", "--target", "0"], "'0' is not a whole number, from 1 to 1000"),
        (["try", "r.yaml", "--feed", "x", "--target", "many"], "'many' is not a whole number, from 1 to 1000"),
        (["try", "r.yaml", "--feed", "x", "--wait=-1"], "'-1' is not a number, 0 or more"),
        (["try", "r.yaml", "--feed", "x", "--wait", "inf"], "'inf' is not a number, 0 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["platforms", *wrong])
    assert words in capsys.readouterr().err
