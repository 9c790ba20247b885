"""The work of an agent: its changes and files are shown as text, downloaded, uploaded and pushed."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from app.models.caller import Role
from tests.browser.conftest import OpenConsole, Scripted
from tests.browser.console import Console
from tests.browser.test_looks import LOOKS, faults
from tests.support.api import Api
from tests.support.repositories import git, make_repository
from tests.support.scripted import echo
from tests.support.stage import EmbeddedStage

SCRIPT = "<script>document.title = 'hacked'</script>"
WORDS = "\u05e9\u05dc\u05d5\u05dd \U0001f468\u200d\U0001f469\u200d\U0001f467"  # right to left, and an emoji of several
PAGE = f"{SCRIPT}\n\u202e{WORDS}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A bare repository with three files."""
    url = make_repository(tmp_path, "shop", README="one\ntwo\nthree\n", guide="a guide\n" * 20, old="old\n")
    git(tmp_path, "clone", "--quiet", "--bare", url, "shop.git")
    return tmp_path / "shop.git"


@pytest.fixture
def session_id(embedded: EmbeddedStage, embedded_api: Api, shop: Path, tmp_path: Path) -> str:
    """A session with two repositories, in which files are changed, renamed, deleted and new."""
    repos = [{"url": shop.as_uri()}, {"url": make_repository(tmp_path, "docs")}]
    session_id = embedded.session(embedded_api, "running", display_name="Mend the shop", repos=repos)
    workspace = workspace_of(embedded, embedded_api, session_id)
    (workspace / "shop/README").write_text("one\n2\nthree\n")
    (workspace / "shop/guide").rename(workspace / "shop/manual <b>")
    (workspace / "shop/old").unlink()
    (workspace / "docs/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (workspace / "docs/page.html").write_text(PAGE)
    return session_id


def workspace_of(embedded: EmbeddedStage, api: Api, session_id: str) -> Path:
    return embedded.directory / "workspaces" / str(api.project) / session_id


def show(console: Console, session_id: str, tab: str) -> None:
    expect(console.page.get_by_label("Sessions", exact=True)).to_be_visible()
    console.page.goto(f"{console.url}/#/sessions/{session_id}/{tab}")


def take_away(capability: str, console: Console) -> None:
    """Let the server's answer to who the user is lack a capability."""

    def respond(route: Route) -> None:
        response = route.fetch()
        identity = response.json()
        identity["capabilities"].remove(capability)
        route.fulfill(response=response, body=json.dumps(identity))

    console.page.route("**/v1/whoami", respond)


def file(console: Console, path: str) -> Locator:
    """The changes of one file."""
    return console.page.locator(".file").filter(has=console.page.get_by_text(path, exact=True))


def test_changes_are_shown_by_repository(console: Console, session_id: str) -> None:
    show(console, session_id, "changes")
    expect(console.page.locator("#changes-summary")).to_have_text("5 files changed +3 \u22122")
    expect(console.page.locator("#changed-files h3")).to_have_text(["docs", "shop"])

    readme = file(console, "shop/README")
    expect(readme.get_by_label("1 line added")).to_have_text("+1")
    expect(readme.locator(".line")).to_have_text(["one", "\u2212two", "+2", "three"])
    expect(file(console, "shop/manual <b>")).to_contain_text("renamedshop/manual <b> from shop/guide")
    expect(file(console, "shop/manual <b>")).to_contain_text("The contents are the same.")
    expect(file(console, "shop/old").locator(".removed").last).to_have_text("\u2212old")
    expect(file(console, "docs/logo.png")).to_contain_text("The file is binary.")
    expect(file(console, "docs/page.html").locator("code").first).to_have_text(SCRIPT)
    expect(file(console, "docs/page.html").locator("code").last).to_have_text(f"\ufffd{WORDS}")
    assert faults(console.page) == []

    with console.page.expect_download() as download:
        console.press("Download patch")
    assert Path(download.value.path()).read_text().startswith("diff --git a/docs/logo.png b/docs/logo.png\n")
    file(console, "shop/README").get_by_role("button").click()
    expect(console.page.get_by_role("heading", name="shop/README")).to_be_focused()
    expect(console.page.get_by_label("Contents of shop/README")).to_have_text("one2three")


def test_the_work_is_pushed_to_a_branch(console: Console, session_id: str, shop: Path) -> None:
    show(console, session_id, "changes")
    console.press("Push…")
    assert faults(console.page) == []
    console.field("Repository").select_option("shop")
    expect(console.field("Branch")).to_have_value("ambient/mend-the-shop")
    console.field("Branch").fill("-")
    console.press("Push")
    expect(console.page.locator("#push-problem")).to_contain_text("branch")
    console.field("Branch").fill("mend")
    console.field("Commit message").fill("Mend it")
    console.press("Push")
    expect(console.page.locator("#push-dialog")).to_be_hidden()
    commit = git(shop, "rev-parse", "mend").strip()
    expect(console.page.locator("#toast")).to_have_text(f"Pushed {commit[:10]} to mend.")
    assert git(shop, "log", "-1", "--format=%s", "mend").strip() == "Mend it"


@pytest.mark.parametrize("look", ["light", "phone-dark"])
def test_files_are_shown_as_text_and_downloaded(
    open_console: OpenConsole, embedded: EmbeddedStage, session_id: str, key: str, look: str
) -> None:
    console = open_console(embedded.url, **LOOKS[look])
    console.sign_in(key)
    show(console, session_id, "files")
    tree = console.page.locator("#file-tree")
    tree.get_by_text("docs").click()
    expect(tree.get_by_role("button")).to_have_text(["logo.png9 B", "page.html74 B", "README5 B"])
    tree.get_by_role("button", name="page.html").click()
    contents = console.page.get_by_label("Contents of docs/page.html")
    expect(contents.locator("code").first).to_have_text(SCRIPT)
    assert faults(console.page) == []
    assert console.page.evaluate("document.documentElement.scrollWidth") == console.page.viewport_size["width"]  # type: ignore[index]
    with console.page.expect_download() as download:
        console.press("Download")
    assert download.value.suggested_filename == "page.html"
    assert Path(download.value.path()).read_text() == PAGE
    console.press("Close")
    tree.get_by_role("button", name="logo.png").click()
    expect(console.page.get_by_text("This file is no text.")).to_be_visible()
    console.press("Close")
    with console.page.expect_download() as download:
        console.press(".zip")
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert "docs/page.html" in archive.namelist()
    assert console.page.title() != "hacked"


def test_files_go_with_the_message(console: Console, embedded_api: Api) -> None:
    console.create("say hello")
    expect(console.button("Attach files")).to_be_enabled()
    chosen = console.page.get_by_role("list", name="Attached files")
    for name in ("notes.txt", "wrong.txt", "notes.txt"):
        file = {"name": name, "mimeType": "text/html", "buffer": b"<b>notes</b>"}
        console.page.locator("#attach-input").set_input_files(file)  # type: ignore[arg-type]
        expect(chosen.get_by_role("listitem").last).to_contain_text(name)
    assert "--data-binary '@notes.txt'" in console.command
    console.press("Do not send wrong.txt")
    assert faults(console.page) == []
    console.send("look")
    expect(console.log.locator(".user").last.get_by_role("listitem")).to_have_text(["notes.txt", "notes.txt"])
    expect(chosen).to_be_hidden()
    [sent] = [each for each in embedded_api.output(console.id).ok()["messages"] if "attachments" in each]
    assert embedded_api.read_file(console.id, sent["attachments"][0]["path"]).content == b"<b>notes</b>"
    assert embedded_api.diff(console.id).ok()["files"] == []


def test_files_go_with_the_task(console: Console, embedded_api: Api) -> None:
    console.press("New session")
    console.field("Task").fill("look")
    files = [{"name": name, "mimeType": "text/html", "buffer": b"<b>notes</b>"} for name in ("a.html", "b.html")]
    console.field("Files").set_input_files(files)  # type: ignore[arg-type]
    assert faults(console.page) == []
    console.press("Create")
    expect(console.log.locator(".user").get_by_role("listitem")).to_have_text(["a.html", "b.html"])
    [sent] = [each for each in embedded_api.output(console.id).ok()["messages"] if "attachments" in each]
    assert embedded_api.read_file(console.id, sent["attachments"][1]["path"]).content == b"<b>notes</b>"
    console.press("New session")
    assert console.field("Files").input_value() == ""


def test_files_are_named_in_the_message_where_none_go_along(
    open_console: OpenConsole, embedded: EmbeddedStage, embedded_api: Api, key: str
) -> None:
    console = open_console(embedded.url)
    take_away("attachments", console)
    console.sign_in(key)
    console.create("say hello")
    expect(console.button("Attach files")).to_be_enabled()
    notes = {"name": "notes.txt", "mimeType": "text/html", "buffer": b"<b>notes</b>"}
    for _ in range(2):
        console.page.locator("#attach-input").set_input_files(notes)  # type: ignore[arg-type]
        expect(console.page.locator("#attaching")).to_be_empty()
    expect(console.field("Message")).to_have_value("`uploads/notes.txt` `uploads/notes (2).txt` ")
    assert embedded_api.read_file(console.id, "uploads/notes.txt").content == b"<b>notes</b>"
    assert "--data-binary '@notes.txt'" in console.command

    console.tab("Files")
    console.page.locator("#file-tree").get_by_text("uploads").click()
    expect(console.page.locator("#file-tree").get_by_role("button")).to_have_text(
        ["notes (2).txt12 B", "notes.txt12 B"]
    )
    drop = (
        "panel => { const transfer = new DataTransfer(); transfer.items.add(new File(['dropped'], 'dropped.txt'));"
        "panel.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})); }"
    )
    console.page.locator("#panel-files").evaluate(drop)
    expect(console.page.get_by_role("button", name="dropped.txt")).to_be_visible()


def test_long_diffs_and_many_files_are_shown_in_parts(
    console: Console, embedded: EmbeddedStage, embedded_api: Api
) -> None:
    console.create("say hello")
    expect(console.log).to_contain_text("You said")
    console.settled()
    workspace = workspace_of(embedded, embedded_api, console.id)
    (workspace / "0.txt").write_text("a line\n" * 10_000 + "x" * 1_000_000 + "\n")
    for number in range(1, 5_000):
        (workspace / f"{number}.txt").write_text("a line\n")
    console.tab("Changes")
    console.press("Show more (200 of 5,000 files shown)")
    expect(console.button("Show more (700 of 5,000 files shown)")).to_be_visible()
    file(console, "0.txt").locator("summary").click()
    console.press("Show more (400 of 10,001 lines shown)")
    expect(console.button("Show more (2,400 of 10,001 lines shown)")).to_be_visible()
    assert console.page.locator(".line").count() < 3_000

    console.tab("Files")
    expect(console.button("Show more (200 of 5,000 entries shown)")).to_be_visible()
    console.page.locator("#file-tree").get_by_role("button", name="0.txt").first.click()
    expect(console.page.locator("#file-facts")).to_have_text("1.1 MB · text/plain · the first 1.0 MB are shown")


def test_what_the_server_or_the_session_cannot_do_is_disabled(
    open_console: OpenConsole, embedded: EmbeddedStage, embedded_api: Api
) -> None:
    session_id = embedded.session(embedded_api, "running")

    console = open_console(embedded.url)
    take_away("get_workspace_diff", console)
    console.sign_in(embedded.token(str(embedded_api.project), Role.VIEW))
    show(console, session_id, "changes")
    expect(console.page.get_by_role("tab", name="Changes")).to_be_disabled()
    expect(console.log).to_be_visible()
    console.tab("Files")
    expect(console.page.get_by_text("The workspace is empty.")).to_be_visible()
    expect(console.button("Upload")).to_be_hidden()

    console.page.unroute("**/v1/whoami")
    console.page.reload()
    console.tab("Changes")
    expect(console.page.get_by_text("No changes yet.")).to_be_visible()
    expect(console.button("Push…")).to_be_hidden()
    console.tab("Log")
    expect(console.page.locator("#session-log")).to_contain_text("completed")


def test_a_session_is_created_with_repositories_and_labels(console: Console, embedded_api: Api, shop: Path) -> None:
    console.press("New session")
    console.field("Task").fill("say hello")
    console.field("Clone repositories").check()
    console.page.get_by_role("textbox", name="Repository 1").fill(shop.as_uri())
    console.page.get_by_role("textbox", name="Branch 1").fill("main")
    console.press("Add a repository")
    console.press("Remove repository 2")
    console.field("Labels").fill("team=checkout, urgent")
    console.field("Approvals").select_option("Allow all")
    assert faults(console.page) == []
    console.press("Create")
    expect(console.page.locator("#facts")).to_contain_text("shop @ main")
    expect(console.page.locator("#facts")).to_contain_text("team=checkout")
    session = embedded_api.get_session(console.id).ok()
    assert session["repos"] == [{"url": shop.as_uri(), "branch": "main"}]
    assert session["labels"] == {"team": "checkout", "urgent": ""}
    assert session["approval_policy"] == "allow"
    console.press("New session")
    expect(console.field("A directory of the server")).to_have_count(0)


def test_a_session_works_on_a_local_directory(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("src")
    make_repository(root, "shop")
    with scripted(echo, local_roots={"demo": [root]}) as console:
        console.press("New session")
        console.field("Task").fill("say hello")
        console.field("A directory of the server").check()
        console.page.get_by_role("textbox", name="Directory").fill(str(root / "nothing"))
        console.press("Create")
        expect(console.page.locator("#new-problem")).not_to_be_empty()
        console.page.get_by_role("textbox", name="Directory").fill(str(root / "shop"))
        console.field("How").select_option("in_place")
        assert faults(console.page) == []
        console.press("Create")
        expect(console.page.locator("#facts")).to_contain_text("shop (in place)")
        expect(console.state).to_have_text("Idle")
        (root / "shop/README").write_text("changed\n")
        console.tab("Changes")
        expect(file(console, "README").locator(".added").last).to_have_text("+changed")
        expect(console.button("Push…")).to_be_enabled()


def test_the_attachments_of_a_message_are_named(console: Console, embedded_api: Api) -> None:
    console.create("say hello")
    expect(console.button("Send")).to_be_enabled()
    embedded_api.write_file(console.id, "notes.txt", b"notes")
    embedded_api.send_message(console.id, "look", attachments=[{"path": "notes.txt"}]).ok()
    expect(console.log.locator(".user").last.get_by_role("listitem")).to_have_text("notes.txt")
