"""Secrets of a batch in Airflow's own masker."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Iterator

import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker

from likepion_provider.hooks import masking
from likepion_provider.hooks.masking import BatchMask, printing_masked


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    masker = _secrets_masker()
    patterns, replacer = set(masker.patterns), masker.replacer
    yield
    masker.patterns, masker.replacer = patterns, replacer


async def test_every_secret_is_masked_when_the_call_returns_and_few_compilations_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[str] = []
    real = re.compile

    def counting(pattern: str, *more: object) -> object:
        compiled.append(pattern)
        return real(pattern, *more)  # type: ignore[call-overload]

    mask = BatchMask()
    masker = _secrets_masker()

    async def account(number: int) -> None:
        secrets = [f"secret-{number}-{kind} +" for kind in "abcd"]
        await mask(secrets)
        for secret in secrets:
            assert masker.redact(f"<{secret}>") == "<***>"

    monkeypatch.setattr(re, "compile", counting)
    await asyncio.gather(*(account(number) for number in range(50)))
    await account(50)
    assert len([each for each in compiled if "secret" in each]) == 2
    await mask(["secret-7-a +"])
    assert len([each for each in compiled if "secret" in each]) == 2, "known: nothing to do"


async def test_where_airflows_inside_has_changed_each_secret_is_masked_by_its_public_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masked: list[str] = []
    monkeypatch.setattr(masking, "mask_secret", masked.append)
    monkeypatch.delattr(type(_secrets_masker()), "_adaptations")
    await BatchMask()(["secret-one", "secret-two"])
    assert sorted(masked) == ["secret-one", "secret-two"]


def test_what_is_printed_becomes_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Console(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sys.stdout.write(f"printed by the log: {record.getMessage()}\n")

    caplog.set_level(logging.INFO, masking.log.name)
    handler = Console()
    masking.log.addHandler(handler)
    try:
        with printing_masked():
            sys.stdout.write("one\ntwo\n")
            sys.stderr.write("no end")
    finally:
        masking.log.removeHandler(handler)
    assert [record.getMessage() for record in caplog.records] == ["one", "two", "no end"]
