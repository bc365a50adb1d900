"""Sessions: signed cookies that say who has signed in."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, Literal, TypeVar

import msgspec
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from litestar.datastructures import Cookie

from opinionlens_server.shared_state import SharedState

SESSION_COOKIE: Final = "olens_session"
NOTICE_COOKIE: Final = "olens_notice"
NOTICE_SECONDS: Final = 60

Role = Literal["client", "admin"]
"""A client holds an API key."""

T = TypeVar("T")


class Session(msgspec.Struct, frozen=True):
    """The signed-in client of a cookie."""

    id: str
    role: Role
    name: str = ""
    """What the person wants to be called beside their labels; empty: not said yet."""


class Notice(msgspec.Struct, frozen=True):
    """A message for the next page."""

    text: str
    failed: bool = False


class Sessions:
    """Issues and checks sessions.

    Parameters
    ----------
    secret : str
        Signs them.
    fingerprint : str
        Of the credentials: changing them makes all sessions invalid.
    lifetime : int
        Seconds.
    secure : bool
        Whether cookies are for HTTPS only, even if a request came by HTTP.
    state : SharedState
        Remembers which sessions were ended. Sessions that are older than it are not valid: where it
        was lost, nobody knows which of them were ended.
    """

    def __init__(
        self, secret: str, fingerprint: str, lifetime: int, secure: bool, state: SharedState
    ) -> None:
        def serializer(salt: str) -> URLSafeTimedSerializer:
            return URLSafeTimedSerializer(
                secret + fingerprint, salt=salt, signer_kwargs={"digest_method": hashlib.sha256}
            )

        self._sessions = serializer("session")
        self._notices = serializer("notice")
        self._lifetime = lifetime
        self._secure = secure
        self._state = state

    def open(self, role: Role, name: str = "") -> Session:
        """A new session."""
        return Session(secrets.token_urlsafe(16), role, name)

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if there is none, or it is forged, too old or ended."""
        session = _load(self._sessions, cookie, self._lifetime, Session)
        if session is None or self._is_forgotten(cookie or "") or self._was_ended(session):
            return None
        return session

    def has_expired(self, cookie: str | None) -> bool:
        """Whether a cookie is one of ours that was valid once."""
        try:
            self._sessions.loads(cookie or "", max_age=self._lifetime)
        except SignatureExpired:
            return True
        except BadSignature:
            return False
        return False

    def end(self, session: Session) -> None:
        """Make `session` invalid in all workers."""
        now = time.time()
        with self._state.writing() as database:
            database.execute("DELETE FROM ended_sessions WHERE until < ?", (now,))
            database.execute(
                "INSERT OR IGNORE INTO ended_sessions VALUES (?, ?)",
                (session.id, now + self._lifetime),
            )

    def cookie(self, session: Session | None, https: bool) -> Cookie:
        """The cookie of `session`; None removes it from the browser."""
        return self._cookie(self._sessions, SESSION_COOKIE, session, self._lifetime, https)

    def notice_cookie(self, notice: Notice | None, https: bool) -> Cookie:
        """Carries a notice over a redirect; None removes it from the browser."""
        return self._cookie(self._notices, NOTICE_COOKIE, notice, NOTICE_SECONDS, https)

    def read_notice(self, cookie: str | None) -> Notice | None:
        """The notice of a cookie."""
        return _load(self._notices, cookie, NOTICE_SECONDS, Notice)

    def _cookie(
        self,
        serializer: URLSafeTimedSerializer,
        name: str,
        content: Session | Notice | None,
        seconds: int,
        https: bool,
    ) -> Cookie:
        return Cookie(
            key=name,
            value=str(serializer.dumps(msgspec.to_builtins(content))) if content else "",
            max_age=seconds if content else 0,
            path="/",
            httponly=True,
            samesite="lax",
            secure=https or self._secure,
        )

    def _is_forgotten(self, cookie: str) -> bool:
        """Whether a valid cookie is older than what is known of ended sessions."""
        made = self._state.made
        _, issued = self._sessions.loads(cookie, return_timestamp=True)
        # What was made after now was made before the clock was set back, and tells nothing.
        return bool(issued.timestamp() < made <= time.time())

    def _was_ended(self, session: Session) -> bool:
        with self._state.reading() as database:
            query = "SELECT 1 FROM ended_sessions WHERE id = ?"
            return database.execute(query, (session.id,)).fetchone() is not None


def _load(
    serializer: URLSafeTimedSerializer, cookie: str | None, seconds: int, kind: type[T]
) -> T | None:
    try:
        return msgspec.convert(serializer.loads(cookie or "", max_age=seconds), kind)
    except (BadSignature, msgspec.ValidationError):
        return None
