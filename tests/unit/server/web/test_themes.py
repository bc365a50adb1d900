from __future__ import annotations

import pytest
from litestar import Litestar
from litestar.testing import TestClient

Client = TestClient[Litestar]


def chosen(client: Client) -> str:
    page = client.get("/").text
    return page.partition('data-theme="')[2].partition('"')[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_choice_is_in_every_page(client: Client, theme: str) -> None:
    answer = client.post("/theme", data={"theme": theme, "back": "/"})

    assert answer.status_code == 200
    assert answer.history[0].status_code == 303
    assert chosen(client) == theme
    nowhere = client.get("/nowhere", headers={"Accept": "text/html"}).text
    assert f'data-theme="{theme}"' in nowhere
    assert nowhere.count('aria-pressed="true"') == 1


def test_following_the_system_needs_no_cookie(client: Client) -> None:
    client.post("/theme", data={"theme": "dark"})
    client.post("/theme", data={"theme": "system"})

    assert "theme" not in client.cookies
    assert chosen(client) == "system"


@pytest.mark.parametrize("theme", ["", "pink", '"><script>'])
def test_another_value_means_the_system(client: Client, theme: str) -> None:
    client.post("/theme", data={"theme": theme})
    assert chosen(client) == "system"

    client.cookies.set("theme", "pink")
    assert chosen(client) == "system"


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("/admin", "/admin"),
        ("/", "/"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_the_way_back_stays_here(client: Client, back: str, expected: str) -> None:
    answer = client.post("/theme", data={"theme": "dark", "back": back}, follow_redirects=False)

    assert answer.headers["location"] == expected


def test_the_page_varies_by_cookie_and_htmx(client: Client) -> None:
    assert "Cookie" in client.get("/").headers["vary"]
