"""Codes from the secrets that sites really hand out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from types import SimpleNamespace

import pytest

from likepion_provider.errors import LoginRefused
from likepion_provider.models import Credentials, SecondaryTask
from likepion_provider.platforms.totp import totp_code

SITE = SimpleNamespace(name="site", title="Site")


def job(secret: str) -> SimpleNamespace:
    task = SecondaryTask("a", "p", "g", "site.example", username="pod")
    return SimpleNamespace(task=task, credentials=Credentials(twofa=secret))


def rfc6238(secret: bytes, step: int) -> str:
    """By the letter of RFC 4226, section 5.3."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


@pytest.mark.parametrize("bits", [80, 128, 160])
@pytest.mark.parametrize("gap", ["", " "])
def test_short_and_spaced_secrets_give_their_code(bits: int, gap: str) -> None:
    secret = bytes(range(bits // 8))
    letters = base64.b32encode(secret).decode().rstrip("=")
    text = gap.join(letters[start : start + 4] for start in range(0, len(letters), 4))
    steps = {int(time.time()) // 30}
    code = totp_code(SITE, job(text))  # type: ignore[arg-type]
    steps.add(int(time.time()) // 30)
    assert code in {rfc6238(secret, step) for step in steps}


@pytest.mark.parametrize(("secret", "words"), [("", "is missing"), ("not base32!", "is not base32")])
def test_a_secret_that_gives_no_code_is_the_accounts_fault(secret: str, words: str) -> None:
    with pytest.raises(LoginRefused, match=words):
        totp_code(SITE, job(secret))  # type: ignore[arg-type]
