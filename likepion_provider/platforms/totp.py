"""The code of this half minute (RFC 6238), from the secret that the manager hands out."""

from __future__ import annotations

from likepion_provider.errors import LoginRefused
from likepion_provider.platforms.base import Job, Platform

#: Many sites hand out 80 bits (16 letters). The account has what it was given; refusing it helps nobody.
_MIN_SECRET_BITS = 40


def totp_code(platform: Platform, job: Job) -> str:
    """The account's code right now; spaces in the secret are left out.

    :raises LoginRefused: the secret is missing or not base32.
    """
    import pyotp  # late: few accounts have a second factor

    class Totp(pyotp.TOTP):
        min_secret_length_bits = _MIN_SECRET_BITS

    secret = job.credentials.twofa.replace(" ", "")
    try:
        if secret:
            return Totp(secret).now()
    except ValueError:
        pass
    found = "is not base32" if secret else "is missing"
    message = f"{platform.title} asks {job.task.label} for a code, and the account's TOTP secret {found}"
    raise LoginRefused(message, platform=platform.name)
