"""The web app's files: exact names only, right types, revalidated."""

from pathlib import Path

import pytest
from yarl import URL

from sluicegate.http.pages import Pages
from tests.http.fakes import serve


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    web = tmp_path / "web"
    (web / "vendor").mkdir(parents=True)
    (web / "__pycache__").mkdir()
    (web / "index.html").write_text("<!doctype html><title>x</title>")
    (web / "app.js").write_text("export {};")
    (web / "style.css").write_text("body{}")
    (web / "vendor" / "bundle.js").write_text("1")
    (web / "vendor" / "LICENSE").write_text("free")
    (web / "__init__.py").write_text("secret")
    (web / "notes.py").write_text("secret")
    (web / ".env").write_text("secret")
    (web / "__pycache__" / "x.js").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    return Pages(web)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/web/index.html", "text/html; charset=utf-8"),
        ("/web/app.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/vendor/bundle.js", "text/javascript; charset=utf-8"),
        ("/web/vendor/LICENSE", "text/plain; charset=utf-8"),
    ],
)
async def test_a_file_comes_with_its_type_and_a_tag(pages: Pages, path: str, content_type: str) -> None:
    async with serve(pages=pages) as server:
        async with server.client.get(path) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == content_type
            assert response.headers["Cache-Control"] == "no-cache"
            tag = response.headers["ETag"]
        for known in (tag, f'"other", {tag}', f"W/{tag}"):
            async with server.client.get(path, headers={"If-None-Match": known}) as response:
                assert response.status == 304
                assert await response.read() == b""
                assert response.headers["ETag"] == tag
        async with server.client.get(path, headers={"If-None-Match": '"other"'}) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/web/../outside.js",
        "/web/%2e%2e/outside.js",
        "/web/..%2foutside.js",
        "/web/vendor/../../outside.js",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/app.js%00",
        "/web/app.js/",
        "/web/vendor",
        "/web/",
        "/web/.env",
        "/web/__init__.py",
        "/web/notes.py",
        "/web/__pycache__/x.js",
        "/web/" + "x" * 4000,
        "/favicon.ico",
    ],
)
async def test_nothing_else_is_served(pages: Pages, path: str) -> None:
    async with serve(pages=pages) as server:
        url = URL(f"http://127.0.0.1:{server.port}{path}", encoded=True)
        async with server.client.get(url) as response:
            assert response.status == 404
            assert b"secret" not in await response.read()


async def test_without_the_app_the_api_still_serves(tmp_path: Path) -> None:
    async with serve(pages=Pages(tmp_path / "none")) as server:
        async with server.client.get("/") as response:
            assert response.status == 404
        async with server.client.get("/healthz") as response:
            assert response.status == 200


async def test_the_package_brings_its_page() -> None:
    async with serve() as server, server.client.get("/") as response:
        assert response.status == 200
        assert "<title>" in await response.text()
