"""Corrections that users of the service have sent, with the texts, for as long as they agreed to.

A correction is a candidate for labelling. Nothing is ever trained on it before a person has looked.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from time import time
from typing import Final

import msgspec

from pipelines.config.settings import Settings
from pipelines.errors import StorageError
from pipelines.labelling.candidates import Candidate
from pipelines.labelling.sql_storage import Execute, SqlStorage, storable

KEY_LENGTH: Final = 200
"""Characters of a key."""

_DAY: Final = 24 * 60 * 60
_ROW: Final = 300
"""Bytes of a row without its text and key."""
_TABLE: Final = "feedback"
_SCHEMA: Final = (
    # The text comes last: adding up sizes does not read it.
    f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
        id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, until DOUBLE PRECISION NOT NULL,
        size INTEGER NOT NULL, label TEXT NOT NULL, prediction TEXT NOT NULL, model TEXT NOT NULL,
        key TEXT NOT NULL, text TEXT NOT NULL
    )""",
    f"CREATE INDEX IF NOT EXISTS {_TABLE}_size ON {_TABLE} (size)",
)


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A text with what it should be."""

    id: str
    """Not to be guessed: whoever knows it may delete the text."""
    at: datetime
    until: datetime
    """When it is deleted."""
    label: str
    """What the sender says it is."""
    prediction: str
    """What the model said."""
    model: str
    key: str
    """The sender's name for the text, such as the number of a review; empty without one."""
    text: str


class FeedbackStore:
    """The stored corrections; those whose time is over are deleted before any is read.

    Parameters
    ----------
    settings : Settings
        Storage, days and room are ``serving.feedback_storage``, ``serving.feedback_days`` and
        ``serving.feedback_max_bytes``.

    Raises
    ------
    MissingExtraError
        If the driver for PostgreSQL is not installed. All methods raise `StorageError`.
    """

    def __init__(self, settings: Settings) -> None:
        serving = settings.serving
        self._storage = SqlStorage(serving.feedback_storage, "serving.feedback_storage", _SCHEMA)
        self._seconds = serving.feedback_days * _DAY
        self._max_bytes = serving.feedback_max_bytes
        self._is_stale = False

    @property
    def may_hold_texts(self) -> bool:
        """False if nothing was ever stored: there is no file."""
        return self._storage.file is None or self._storage.file.exists()

    def add(self, text: str, label: str, prediction: str, model: str, key: str = "") -> Correction:
        """Store a correction.

        The same text with the same label and key is stored once, so that a request may be repeated.

        Raises
        ------
        StorageError
            If there is no room left for it within the limit of the settings.
        """
        now = time()
        added = Correction(
            id=secrets.token_hex(16),
            at=_moment(now),
            until=_moment(now + self._seconds),
            label=label,
            prediction=prediction,
            model=model,
            key=storable(key),
            text=storable(text),
        )
        size = _ROW + len(added.text.encode()) + len(added.key.encode())
        with self._storage.writing() as execute:
            if added.key and (found := self._find(execute, added)):
                return found
            (used,) = execute(f"SELECT COALESCE(SUM(size), 0) FROM {_TABLE}")[0]
            if used + size > self._max_bytes:
                raise StorageError(
                    "The storage of corrections is full. The operator can delete old ones with "
                    "`olens feedback purge`, or raise serving.feedback_max_bytes"
                )
            execute(
                f"INSERT INTO {_TABLE} (id, at, until, size, label, prediction, model, key, text) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(added.id, now, now + self._seconds, size, label, prediction, model),
                *(added.key, added.text),
            )
        return added

    def corrections(self) -> list[Correction]:
        """All corrections, the newest first."""
        self.delete_expired()
        with self._storage.reading() as execute:
            return _read(execute, "ORDER BY at DESC, id")

    def count(self) -> int:
        """How many corrections are kept."""
        if not self.may_hold_texts:
            return 0
        with self._storage.reading() as execute:
            return int(execute(f"SELECT COUNT(*) FROM {_TABLE}")[0][0])

    def delete_expired(self) -> int:
        """Delete corrections whose time is over; returns how many.

        The time that a sender was told holds, or a shorter one if the settings say so by now.
        """
        now = time()
        with self._storage.writing() as execute:
            old = execute(
                f"SELECT id FROM {_TABLE} WHERE until <= ? OR at <= ?", now, now - self._seconds
            )
            _delete(execute, [each for (each,) in old])
        if old or self._is_stale:
            self._storage.rewrite(_TABLE)
            self._is_stale = False
        return len(old)

    def delete(self, correction: str) -> bool:
        """Delete the correction with this ID; returns whether it was there.

        Writing the table anew, which may take a second, is left to the next `delete_expired`.
        """
        with self._storage.writing() as execute:
            found = execute(f"SELECT id FROM {_TABLE} WHERE id = ?", correction)
            _delete(execute, [correction])
        self._is_stale |= bool(found)
        return bool(found)

    def purge(
        self,
        *,
        ids: Collection[str] = (),
        keys: Collection[str] = (),
        containing: str = "",
        older_than_days: float | None = None,
        everything: bool = False,
    ) -> int:
        """Delete what one of the arguments names, and what is over its time.

        The tables are written anew in any case, so that no file of the database holds the texts any
        longer. Backups that were made before still do.

        Parameters
        ----------
        ids, keys : collection of str
            Of corrections.
        containing : str
            Part of a text, in any letter case.
        older_than_days : float, optional
            Age in days.
        everything : bool
            Delete all.

        Returns
        -------
        int
            How many were deleted.
        """
        part = storable(containing).casefold()
        oldest = None if older_than_days is None else time() - older_than_days * _DAY

        def is_named(each: Correction) -> bool:
            return (
                everything
                or each.id in ids
                or (each.key != "" and each.key in keys)
                or (part != "" and part in each.text.casefold())
                or (oldest is not None and each.at.timestamp() <= oldest)
            )

        expired = self.delete_expired()
        with self._storage.writing() as execute:
            named = [each.id for each in _read(execute) if is_named(each)]
            _delete(execute, named)
        self._storage.rewrite(_TABLE)
        return expired + len(named)

    def _find(self, execute: Execute, like: Correction) -> Correction | None:
        found = _read(
            execute, "WHERE key = ? AND label = ? AND text = ?", like.key, like.label, like.text
        )
        return found[0] if found else None


def candidates(corrections: Collection[Correction]) -> list[Candidate]:
    """The corrections as candidates for labelling: the answer, and what the sender says."""
    return [
        Candidate(
            text=each.text,
            label=each.prediction,
            suggestion=each.label,
            reason="confirmed" if each.label == each.prediction else "corrected",
            source=f"feedback {each.id}",
        )
        for each in corrections
    ]


def _read(execute: Execute, rest: str = "", *values: object) -> list[Correction]:
    columns = Correction.__struct_fields__
    rows = execute(f"SELECT {', '.join(columns)} FROM {_TABLE} {rest}", *values)
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    # Not strict: moments are stored as seconds since 1970.
    return msgspec.convert(named, list[Correction], strict=False)


def _delete(execute: Execute, ids: Collection[str]) -> None:
    for each in ids:
        execute(f"DELETE FROM {_TABLE} WHERE id = ?", each)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
