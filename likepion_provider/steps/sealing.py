"""Secrets between tasks: a cookie that an import renewed travels to the insert sealed, never in clear.

Fernet (AES-128-CBC and HMAC-SHA256) with a key derived from the manager's API key by HKDF (RFC 5869), so whoever may
read the accounts anyway can open it, and nobody else; the owner is part of the key.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

from likepion_provider.masking import hide

#: A sealed value is of no use after the claim it belongs to is long over.
MAX_AGE_S = 24 * 3600


class Seal:
    """Seals and opens short texts.

    :param api_key: the manager's API key; must not be empty.
    """

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key.encode()

    def close(self, text: str, owner: str) -> str:
        """The sealed form; safe to store for a while.

        :param owner: the id of the account, or the post, that it belongs to: it opens for no other.
        """
        return self._cipher(owner).encrypt(text.encode()).decode()

    def open(self, sealed: str, owner: str) -> str:
        """The text again; empty where it is too old, was changed, or was sealed for another owner or API key.

        A renewed cookie is a convenience: losing it costs a login, so it is no error.
        """
        from cryptography.fernet import InvalidToken

        try:
            text = self._cipher(owner).decrypt(sealed.encode(), ttl=MAX_AGE_S).decode()
        except InvalidToken:
            return ""
        hide([text])
        return text

    def _cipher(self, owner: str) -> Fernet:
        # Late: the cipher's library is needed only where a cookie was renewed.
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = b"likepion_provider sealed values v2 " + owner.encode()
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return Fernet(base64.urlsafe_b64encode(key.derive(self._api_key)))
