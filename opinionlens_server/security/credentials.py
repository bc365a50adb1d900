"""The secrets of the settings: the admin's token or secret, and API keys."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from typing import Final

from opinionlens_server.security.throttle import Throttle
from pipelines.config.settings import Serving
from pipelines.files import sha256_of

HASHED: Final = "sha256:"
"""Prefix of an API key of which the settings hold only the SHA-256."""


class Credentials:
    """Compares secrets with those of the settings."""

    def __init__(self, serving: Serving, throttle: Throttle) -> None:
        self._token = serving.admin_token.encode()
        self._hash = serving.admin_secret_hash
        self._keys = frozenset(map(_digest_of_key, serving.api_keys))
        self._throttle = throttle
        self._verifying = asyncio.Lock()
        self._pepper = secrets.token_bytes(32)
        self._verified = b""

    @property
    def has_admin(self) -> bool:
        """Whether an admin token or secret is set."""
        return bool(self._token or self._hash)

    @property
    def needs_key(self) -> bool:
        """Whether predicting needs an API key."""
        return bool(self._keys)

    @property
    def fingerprint(self) -> str:
        """Changes with the credentials, so that changing them ends all sessions."""
        parts = [self._token, self._hash.encode(), *map(str.encode, sorted(self._keys))]
        return sha256_of(b"\0".join(parts))

    def is_key(self, secret: bytes) -> bool:
        """Whether `secret` is an API key."""
        return sha256_of(secret) in self._keys

    async def count_wrong_key(self, client: str) -> None:
        """Count a wrong API key of `client`.

        Right keys are never refused: many clients may share one address.

        Raises
        ------
        TooManyRequestsException
            If `client` has sent too many wrong secrets.
        """
        await asyncio.to_thread(self._throttle.check, client)
        await asyncio.to_thread(self._throttle.count_failure, client)

    async def is_admin(self, secret: bytes, client: str) -> bool:
        """Whether `secret` is the admin's.

        Raises
        ------
        TooManyRequestsException
            If `client` has sent too many wrong secrets.
        """
        # One at a time: parallel guesses are no faster, and Argon2's memory is allocated once.
        async with self._verifying:
            await asyncio.to_thread(self._throttle.check, client)
            if await self._matches(secret):
                return True
            await asyncio.to_thread(self._throttle.count_failure, client)
            return False

    async def forget_failures(self, client: str) -> None:
        """Reset the count of wrong secrets of a client that has signed in."""
        await asyncio.to_thread(self._throttle.forget, client)

    async def _matches(self, secret: bytes) -> bool:
        if self._token and hmac.compare_digest(secret, self._token):
            return True
        if not self._hash or not secret:
            return False
        # Scripts send the secret with every request, and Argon2 is slow on purpose.
        digest = hmac.digest(self._pepper, secret, "sha256")
        if hmac.compare_digest(digest, self._verified):
            return True
        if not await asyncio.to_thread(_verify, self._hash, secret):
            return False
        self._verified = digest
        return True


def _digest_of_key(key: str) -> str:
    """Hexadecimal SHA-256."""
    hashed = key.startswith(HASHED)
    return key.removeprefix(HASHED).lower() if hashed else sha256_of(key.encode())


def _verify(hashed: str, secret: bytes) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, secret)
    except (VerificationError, InvalidHashError):
        return False
