"""The console, the OpenAPI document and its reference, as a browser gets them."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest
import yaml

from app import spec, web
from app.models.sessions import Activity, SessionStatus
from tests.support.asgi import Client

DOCUMENT: dict[str, Any] = {"openapi": "3.0.3", "info": {"title": "A <b> title", "version": "1"}, "paths": {}}


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(web.create_app(DOCUMENT))


class Page(HTMLParser):
    """The files that a page asks for, and whether it has scripts or styles of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.inline = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in {"script", "link"}:
            self.files.append(named.get("src") or named.get("href") or "")
        self.inline = self.inline or tag == "style" or (tag == "script" and "src" not in named)


async def test_the_document_is_served_as_json(client: Client) -> None:
    answer = await client.get("/v1/openapi.json")

    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert answer.json == DOCUMENT


async def test_the_document_is_served_as_yaml(client: Client) -> None:
    answer = await client.get("/v1/openapi.yaml")

    assert (answer.status, answer.header("content-type")) == (200, "application/yaml")
    assert yaml.safe_load(answer.body) == DOCUMENT


async def test_the_reference_needs_nothing_from_elsewhere(client: Client) -> None:
    answer = await client.get("/v1/docs")
    page = Page(answer.body.decode())

    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert len(page.files) == 4
    assert all(file.startswith("/v1/docs/assets/") for file in page.files)
    assert [(await client.get(file)).status for file in page.files] == [200] * 4


async def test_the_reference_has_a_strict_policy(client: Client) -> None:
    answer = await client.get("/v1/docs")
    policy = answer.header("content-security-policy") or ""

    assert not Page(answer.body.decode()).inline
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert answer.header("x-content-type-options") == "nosniff"


async def test_the_manual_is_on_the_page_of_the_reference_chapter_by_chapter(client: Client) -> None:
    text = (await client.get("/v1/docs")).body.decode()

    for name, chapter in spec.manual().items():
        title = chapter.partition("\n")[0].removeprefix("# ")
        assert f'<a href="#{name}">{title}</a>' in text
        assert f'<section id="{name}">' in text
    assert "<td><code>session_not_found</code></td>" in text
    assert "&lt;token&gt;" in text


@pytest.mark.parametrize("path", ["/", "/v1/docs"])
async def test_the_title_is_escaped(client: Client, path: str) -> None:
    assert b"A &lt;b&gt; title" in (await client.get(path)).body


async def test_the_console_needs_nothing_from_elsewhere(client: Client) -> None:
    answer = await client.get("/")
    page = Page(answer.body.decode())
    waiting, seen = list(page.files), set[str]()
    while waiting:
        file = waiting.pop()
        seen.add(file)
        found = await client.get(file)
        assert (found.status, found.header("x-content-type-options")) == (200, "nosniff")
        imports = re.findall(r"^import [^;]*?\"(\.[^\"]*)\";$", found.body.decode(), re.MULTILINE)
        waiting += {urljoin(file, path) for path in imports} - seen

    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert {"/static/console/base.css", "/static/console/stream.js", "/static/vendor/purify.js"} <= seen


async def test_the_console_has_a_stricter_policy(client: Client) -> None:
    answer = await client.get("/")
    policy = answer.header("content-security-policy") or ""

    assert not Page(answer.body.decode()).inline
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'; trusted-types dompurify" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_the_console_has_a_word_for_every_state(client: Client) -> None:
    script = (await client.get("/static/console/words.js")).body.decode()
    states = re.findall(r"(\w+):", script.partition("const STATES = {")[2].partition("}")[0])

    assert set(states) == {*Activity, *SessionStatus} - {"unknown"}


async def test_the_reference_renders_the_document_with_the_manual_as_its_description(client: Client) -> None:
    script = (await client.get("/v1/docs/assets/reference.js")).body.decode()

    [url] = re.findall(r'fetch\("([^"]*)"\)', script)
    rendered = (await client.get(url)).json
    assert rendered["info"].pop("description").startswith("# Quick start\n")
    assert rendered == DOCUMENT


@pytest.mark.parametrize(
    "path", ["/", "/static/console/console.js", "/v1/docs", "/v1/openapi.yaml", "/v1/docs/assets/scalar.js"]
)
async def test_a_page_is_not_sent_again_when_the_browser_has_it(client: Client, path: str) -> None:
    etag = (await client.get(path)).header("etag") or ""

    answer = await client.get(path, ("If-None-Match", etag))

    assert (answer.status, answer.body) == (304, b"")


NO_PAGES = ["/v1", "/v1/docs/", "/v1/docs/assets/", "/v1/docs/assets/docs.js", "/v1/docs/assets/../reference.js"]
NO_PAGES += [
    "//v1/docs",
    "/v1//docs",
    "/v1/openapi.xml",
    "/v1/docs/assets/scalar.js\n",
    "*",
    "/static/reference/scalar.js",
]
NO_PAGES += [
    "/index.html",
    "/static/console/",
    "/static/console/purify.js",
    "/static/vendor/../reference/scalar.js",
    "/console",
]


@pytest.mark.parametrize("path", NO_PAGES)
async def test_any_other_path_is_the_apis_404(client: Client, path: str) -> None:
    answer = await client.get(path)

    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_another_method_is_the_apis_405(client: Client) -> None:
    answer = await client.request("POST", "/v1/docs")

    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert answer.header("allow") == "GET, HEAD, OPTIONS"


async def test_options_says_what_a_page_allows(client: Client) -> None:
    answer = await client.request("OPTIONS", "/v1/docs")

    assert answer.status == 200
    assert set((answer.header("allow") or "").split(", ")) == {"GET", "HEAD", "OPTIONS"}


async def test_head_has_the_length_of_get(client: Client) -> None:
    answer = await client.request("HEAD", "/v1/openapi.json")

    assert answer.body == b""
    assert answer.header("content-length") == str(len((await client.get("/v1/openapi.json")).body))


@pytest.mark.parametrize(
    "header",
    [("Host", "a b"), ("Content-Length", "x"), ("If-None-Match", "\xff"), ("Cookie", "\xff=;"), ("Range", "bytes=5-2")],
)
async def test_a_page_is_served_whatever_else_a_client_sends(client: Client, header: tuple[str, str]) -> None:
    answer = await client.request("GET", "/v1/docs", header, query=b"\xff=%ff")

    assert answer.status == 200
