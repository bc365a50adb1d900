from __future__ import annotations

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from opinionlens_server.security.public_messages import public_message
from pipelines.config.settings import Settings

HIDDEN = "(a path of the server)"


@pytest.mark.parametrize(
    ("message", "public"),
    [
        ("The cache /srv/models has no model 'x'.", f"The cache {HIDDEN} has no model 'x'."),
        ("/srv/my models/x: No space left", f"{HIDDEN}: No space left"),
        ("Cannot read '/srv/a.json' (gone).", f"Cannot read '{HIDDEN}' (gone)."),
        ("sqlite:////srv/mlflow.db: locked", f"{HIDDEN}: locked"),
        ("file:///srv/x. Try again.", f"{HIDDEN}. Try again."),
        ("see http://registry:5000/a/b", "see http://registry:5000/a/b"),
        ("1/2 of the texts and/or words", "1/2 of the texts and/or words"),
    ],
)
def test_paths_are_hidden_and_the_rest_stays(message: str, public: str) -> None:
    assert public_message(message) == public


def test_the_error_of_a_missing_model_names_no_folder(
    client: TestClient[Litestar], settings: Settings
) -> None:
    answer = client.get("/api/v1/models/nonexistent-v1")

    assert answer.status_code == 404
    assert "nonexistent-v1" in answer.json()["detail"]
    assert str(settings.root) not in answer.text


def test_a_state_folder_that_cannot_be_used_is_not_named(
    client: TestClient[Litestar], app: Litestar, admin: dict[str, bytes]
) -> None:
    folder = app.state.services.shared.folder
    (folder / "state.db").write_bytes(b"not a database" * 100)
    for suffix in ("-wal", "-shm"):
        (folder / f"state.db{suffix}").unlink(missing_ok=True)

    answer = client.get("/api/v1/models/registry", headers=admin)

    assert answer.status_code == 507
    assert str(folder) not in answer.text
