"""Secrets between tasks."""

from __future__ import annotations

from likepion_provider.steps.sealing import Seal


def test_a_sealed_cookie_opens_under_the_same_key_only() -> None:
    sealed = Seal("key-of-a-test").close("session=canary")
    assert "canary" not in sealed
    assert Seal("key-of-a-test").open(sealed) == "session=canary"
    assert Seal("another-key").open(sealed) == ""
    assert Seal("key-of-a-test").open(sealed[:-4] + "AAA=") == ""
    assert Seal("key-of-a-test").open("no token") == ""
