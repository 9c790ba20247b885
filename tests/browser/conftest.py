"""Fixtures: one Chromium for all tests, and for each test a page whose errors fail the test."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from app.factory import create_app
from app.models.caller import Role
from app.store.keys import AccessKeys
from tests.browser.console import Console
from tests.browser.proxy import Proxy
from tests.support.api import Api
from tests.support.scripted import Play, make_backend
from tests.support.server import Background, serving
from tests.support.stage import EmbeddedStage, settings
from tests.support.store import store_url

CHROMIUM = "/usr/bin/chromium"
OPTIONS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
OPTIONS += " --disable-component-update --disable-sync"

TIMEOUT = 20_000  # ms; a machine may be busy

OpenConsole = Callable[..., Console]
Scripted = Callable[..., AbstractContextManager[Console]]


@pytest.fixture(scope="session")
def browser(loop: Background) -> Iterator[Browser]:  # noqa: ARG001 - ends before the loop, for it holds the thread
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS.split())
        yield browser
        browser.close()


@pytest.fixture
def open_console(browser: Browser) -> Iterator[OpenConsole]:
    """Open the console of a server in its own browser profile. Errors of the page fail the test."""
    opened: list[Console] = []

    def open_(url: str, *, dark: bool = False, phone: bool = False, fragment: str = "") -> Console:
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": 360, "height": 740} if phone else {"width": 1200, "height": 800},
            has_touch=phone,
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        console = Console(page, url)
        watch(page, console.problems)
        opened.append(console)
        page.goto(f"{url}/{fragment}")
        return console

    yield open_
    problems = [problem for console in opened for problem in console.problems]
    for console in opened:
        console.page.context.close()
    assert problems == []


def watch(page: Page, problems: list[str]) -> None:
    """Collect uncaught errors, dialogs, and violations of the Content Security Policy."""

    def dialog(opened: Dialog) -> None:
        problems.append(opened.message)
        opened.dismiss()

    def message(logged: ConsoleMessage) -> None:
        if "Content Security Policy" in logged.text:
            problems.append(logged.text)

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", dialog)
    page.on("console", message)


@pytest.fixture
def key(embedded_api: Api) -> str:
    """The key of an admin of the test's project."""
    return str(embedded_api.token)


@pytest.fixture
def console(open_console: OpenConsole, embedded: EmbeddedStage, key: str) -> Console:
    """The console, signed in as an admin of the test's project."""
    console = open_console(embedded.url)
    console.sign_in(key)
    return console


@pytest.fixture
def proxied(
    open_console: OpenConsole, embedded: EmbeddedStage, loop: Background, key: str
) -> Iterator[tuple[Console, Proxy]]:
    """The console, signed in, behind a proxy that can abort its connections."""
    with Proxy.to(embedded.url, loop) as proxy:
        console = open_console(proxy.url)
        console.sign_in(key)
        yield console, proxy


@pytest.fixture
def scripted(open_console: OpenConsole, loop: Background, tmp_path: Path) -> Scripted:
    """The console, signed in, with an agent that plays a script; options are those of `make_backend`."""

    @contextmanager
    def play(script: Play, **options: Any) -> Iterator[Console]:
        backend = make_backend(tmp_path, script, **options)
        with serving(create_app(settings(), backend), loop) as url:
            with AccessKeys.open(store_url(tmp_path / "store.db")) as keys:
                _, key = keys.create(project="demo", role=Role.ADMIN, name="test", expires=None)
            console = open_console(url)
            console.sign_in(key)
            yield console

    return play
