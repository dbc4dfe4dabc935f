"""Secrets between tasks."""

from __future__ import annotations

from likepion_provider.steps.sealing import Seal


def test_a_sealed_cookie_opens_under_the_same_key_and_for_its_account_only() -> None:
    sealed = Seal("key-of-a-test").close("session=canary", "account-1")
    assert "canary" not in sealed
    assert Seal("key-of-a-test").open(sealed, "account-1") == "session=canary"
    assert Seal("key-of-a-test").open(sealed, "account-2") == ""
    assert Seal("another-key").open(sealed, "account-1") == ""
    assert Seal("key-of-a-test").open(sealed[:-4] + "AAA=", "account-1") == ""
    assert Seal("key-of-a-test").open("no token", "account-1") == ""
