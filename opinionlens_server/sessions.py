"""Sessions: signed cookies that say who signed in, and the tokens of forms that belong to them."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, Literal

import msgspec
from itsdangerous import BadSignature, SignatureExpired, URLSafeSerializer, URLSafeTimedSerializer
from litestar.datastructures import Cookie

from opinionlens_server.state import SharedState

SESSION_COOKIE: Final = "olens_session"
NOTICE_COOKIE: Final = "olens_notice"
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "x-csrf-token"

NOTICE_SECONDS: Final = 60

_SIGNER: Final = {"digest_method": hashlib.sha256}

Role = Literal["visitor", "client", "admin"]
"""A visitor has only opened the sign-in form; a client holds an API key."""


class Session(msgspec.Struct, frozen=True):
    """Who sends a cookie."""

    id: str
    role: Role


class Notice(msgspec.Struct, frozen=True):
    """What the next page should say."""

    text: str
    failed: bool = False


class Sessions:
    """Issues and checks sessions.

    Parameters
    ----------
    secret : str
        Signs them.
    fingerprint : str
        Of the credentials: sessions that were opened with other ones are worth nothing.
    lifetime : int
        Seconds.
    secure : bool
        Whether cookies go over HTTPS only, whatever a request came by.
    state : SharedState
        Remembers which sessions were ended.
    """

    def __init__(
        self, secret: str, fingerprint: str, lifetime: int, secure: bool, state: SharedState
    ) -> None:
        key = secret + fingerprint
        self._sessions = URLSafeTimedSerializer(key, salt="session", signer_kwargs=_SIGNER)
        self._notices = URLSafeTimedSerializer(key, salt="notice", signer_kwargs=_SIGNER)
        self._forms = URLSafeSerializer(key, salt="form", signer_kwargs=_SIGNER)
        self._lifetime = lifetime
        self._secure = secure
        self._state = state

    def open(self, role: Role) -> Session:
        """A new session; signing in opens another one than the sign-in form had."""
        return Session(secrets.token_urlsafe(16), role)

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if there is none, or it is forged, too old or ended."""
        if not cookie:
            return None
        try:
            content = self._sessions.loads(cookie, max_age=self._lifetime)
            session = msgspec.convert(content, Session)
        except (BadSignature, msgspec.ValidationError):
            return None
        return None if session.role != "visitor" and self._was_ended(session) else session

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
        """Let nobody use `session` again, in no worker."""
        now = time.time()
        with self._state.database() as database:
            database.execute("DELETE FROM ended_sessions WHERE until < ?", (now,))
            database.execute(
                "INSERT OR IGNORE INTO ended_sessions VALUES (?, ?)",
                (session.id, now + self._lifetime),
            )

    def cookie(self, session: Session, https: bool) -> Cookie:
        """The cookie to send."""
        value = self._sessions.dumps(msgspec.to_builtins(session))
        return self._cookie(SESSION_COOKIE, str(value), self._lifetime, https)

    def no_cookie(self, https: bool) -> Cookie:
        """What makes a browser forget its session."""
        return self._cookie(SESSION_COOKIE, "", 0, https)

    def csrf_token(self, session: Session) -> str:
        """The token that the forms of `session` carry; other sites cannot read it."""
        return str(self._forms.dumps(session.id))

    def is_csrf_token(self, session: Session, token: str | None) -> bool:
        """Whether `token` came with a form of `session`."""
        try:
            return bool(self._forms.loads(token or "") == session.id)
        except BadSignature:
            return False

    def notice_cookie(self, notice: Notice | None, https: bool) -> Cookie:
        """Carries a notice over a redirect; None takes it away."""
        if notice is None:
            return self._cookie(NOTICE_COOKIE, "", 0, https)
        value = self._notices.dumps(msgspec.to_builtins(notice))
        return self._cookie(NOTICE_COOKIE, str(value), NOTICE_SECONDS, https)

    def read_notice(self, cookie: str | None) -> Notice | None:
        """The notice of a cookie."""
        try:
            content = self._notices.loads(cookie or "", max_age=NOTICE_SECONDS)
            return msgspec.convert(content, Notice)
        except (BadSignature, msgspec.ValidationError):
            return None

    def _cookie(self, name: str, value: str, seconds: int, https: bool) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="lax",
            secure=https or self._secure,
        )

    def _was_ended(self, session: Session) -> bool:
        with self._state.database() as database:
            query = "SELECT 1 FROM ended_sessions WHERE id = ?"
            return database.execute(query, (session.id,)).fetchone() is not None
