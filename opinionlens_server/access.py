"""Who a secret belongs to: the admin, a holder of an API key, or nobody."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from typing import Any, Final

from litestar.connection import ASGIConnection

from opinionlens_server.throttle import Throttle
from pipelines.settings import Serving

HASHED: Final = "sha256:"
"""Marks an API key of which the settings hold only the SHA-256."""

Connection = ASGIConnection[Any, Any, Any, Any]


class Access:
    """Compares secrets with those of the settings.

    Parameters
    ----------
    serving : Serving
        Holds the admin's token, the hash of the admin's secret, and the API keys.
    throttle : Throttle
        Ends guessing.
    """

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
        """Whether anyone can be the admin."""
        return bool(self._token or self._hash)

    @property
    def needs_key(self) -> bool:
        """Whether predicting needs an API key."""
        return bool(self._keys)

    @property
    def fingerprint(self) -> str:
        """Changes with the credentials, so that sessions end when those are changed."""
        parts = [self._token, self._hash.encode(), *sorted(self._keys)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def is_key(self, secret: bytes) -> bool:
        """Whether `secret` is an API key."""
        return hashlib.sha256(secret).digest() in self._keys

    async def is_admin(self, secret: bytes, client: str) -> bool:
        """Whether `secret` is the admin's.

        Raises
        ------
        TooManyRequestsException
            If `client` was wrong too often.
        """
        # One after the other: nobody guesses faster by guessing in parallel, and the memory that
        # Argon2 takes is taken once.
        async with self._verifying:
            await asyncio.to_thread(self._throttle.check, client)
            if await self._matches(secret):
                return True
            await asyncio.to_thread(self._throttle.note_failure, client)
            return False

    async def welcome(self, client: str) -> None:
        """Forget the failures of a client that signed in."""
        await asyncio.to_thread(self._throttle.forget, client)

    async def _matches(self, secret: bytes) -> bool:
        if self._token and hmac.compare_digest(secret, self._token):
            return True
        if not self._hash or not secret:
            return False
        # Scripts send the secret with every request; Argon2 is slow on purpose.
        digest = hmac.digest(self._pepper, secret, "sha256")
        if hmac.compare_digest(digest, self._verified):
            return True
        if not await asyncio.to_thread(_verify, self._hash, secret):
            return False
        self._verified = digest
        return True


def bearer(connection: Connection) -> bytes | None:
    """The secret in the header ``Authorization: Bearer SECRET``."""
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        return None
    # Headers arrive as Latin-1; as bytes, a secret may hold any character.
    return secret.strip().encode("latin-1", "replace")


def presented_key(connection: Connection) -> bytes | None:
    """The API key of a request, from ``X-API-Key`` or ``Authorization``."""
    key = connection.headers.get("x-api-key")
    return bearer(connection) if key is None else key.strip().encode("latin-1", "replace")


def address(connection: Connection) -> str:
    """Where a request comes from."""
    return connection.client.host if connection.client else ""


def _digest_of_key(key: str) -> bytes:
    if key.startswith(HASHED):
        return bytes.fromhex(key.removeprefix(HASHED))
    return hashlib.sha256(key.encode()).digest()


def _verify(hashed: str, secret: bytes) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, secret)
    except (VerificationError, InvalidHashError):
        return False
