"""`run` without a terminal: how a task ended, and its changes. tests/e2e/test_cli.py has a terminal."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.cli import api as api_module
from app.cli import conversation, stream
from app.cli.api import ApiClient
from app.cli.changes import ChangesConflict, apply_changes, find_target
from app.cli.common import program
from app.cli.new_session import Approve, fields_of
from app.models.caller import Role
from tests.cli.conftest import Client, client_of
from tests.support.api import Api
from tests.support.cutting import cutting
from tests.support.deadline import eventually
from tests.support.repositories import git, make_repository
from tests.support.server import Background, free_port, serving
from tests.support.stage import EmbeddedStage, PlatformStage


@pytest.fixture
def source(roots: Path, request: pytest.FixtureRequest) -> Path:
    """A repository of the user's; one for each test."""
    name: str = request.node.name
    make_repository(roots, name, README="shop\n")
    return roots / name


def report_of(text: str) -> dict[str, Any]:
    """Return the one object that `--json` prints."""
    [line] = text.splitlines()
    report: dict[str, Any] = json.loads(line)
    return report


class TestTheEnd:
    @pytest.mark.parametrize(
        ("task", "status", "outcome", "answer"),
        [
            ("what did I say?", 0, "done", "This is your first message."),
            ("fail", 1, "failed", None),
            ("delete notes.txt", 3, "waiting", None),
            ("ask now", 3, "waiting", None),
        ],
    )
    def test_it_is_an_exit_status_and_an_object(
        self, client: Client, task: str, status: int, outcome: str, answer: str | None
    ) -> None:
        done = client("run", task, "--json")

        report = report_of(done.stdout)
        assert (done.exit_code, report["outcome"]) == (status, outcome), done.stderr
        assert answer in {None, report["run"].get("answer")}
        assert ("approvals" in report) is (outcome == "waiting")
        assert report["session_id"] in done.stderr

    @pytest.mark.parametrize(
        ("task", "decision", "answer"),
        [
            ("ask now", "allow", "Thank you, I will continue. (once)"),
            ("delete notes.txt", "allow", "There is no such file."),
            ("delete notes.txt", "deny", "The user denied it."),
        ],
    )
    def test_it_is_waited_for_when_approvals_are_decided_in_advance(
        self, client: Client, task: str, decision: str, answer: str
    ) -> None:
        done = client("run", task, "--approve", decision)

        assert (done.exit_code, done.stdout) == (0, f"{answer}\n"), done.stderr

    def test_only_the_answer_is_on_standard_output(self, client: Client) -> None:
        done = client("run", "-", stdin="list the files\n")

        assert (done.exit_code, done.stdout) == (0, "The workspace is empty.\n")
        session, call, *_, hint = done.stderr.splitlines()
        assert (session[:8], call) == ("Session ", '→ list_workspace {"limit":100}')
        assert hint.endswith(f" chat {session.removeprefix('Session ')}")

    def test_what_the_agent_waits_for_is_said_with_the_next_step(self, client: Client) -> None:
        done = client("run", "delete notes.txt")

        *_, question, hint = done.stderr.splitlines()
        assert question == "It waits for a decision: Delete notes.txt?"
        assert hint.startswith("To decide: ")

    def test_ctrl_c_that_is_too_late_for_a_run_that_ended_with_a_question_counts(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def follow(*arguments: Any, **options: Any) -> Iterator[stream.Frame]:
            yield from stream.follow(*arguments, **options)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(conversation, "follow", follow)
        done = client("run", "delete notes.txt", "--json")

        assert (done.exit_code, report_of(done.stdout)["outcome"]) == (130, "interrupted")

    def test_a_session_that_cannot_begin_is_a_failure_with_its_reason(self, client: Client) -> None:
        done = client("run", "slow 0", "--repo", "file:///nowhere/at-all", "--json")

        report = report_of(done.stdout)
        assert report["outcome"] == "failed"
        assert "could not be cloned" in report["error"]
        assert done.stderr.splitlines()[1:] == [report["error"]]

    def test_a_session_that_is_deleted_meanwhile_is_a_failure(self, client: Client, embedded_api: Api) -> None:
        def delete() -> None:
            [session] = eventually(lambda: embedded_api.list_sessions(activity="working").ok()["items"])
            embedded_api.delete_session(session["id"])

        with running(delete):
            done = client("run", "slow 3000")

        assert done.exit_code == 1
        assert "\nThe session has been deleted.\n" in done.stderr

    def test_a_key_that_may_only_view_is_refused(self, embedded: EmbeddedStage, client: Client) -> None:
        done = client("run", "slow 0", AMBIENT_KEY=embedded.token("demo", Role.VIEW))

        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "The token's role does not permit this.\n"


def test_a_task_on_the_platform_has_an_end_and_no_changes(
    ambient: PlatformStage, ambient_api: Api, tmp_path: Path
) -> None:
    client = client_of(ambient_api, tmp_path)

    def settle() -> None:
        eventually(lambda: ambient_api.list_sessions().ok()["items"])
        ambient.platform.settle()

    with running(settle):
        done = client("run", "Say hello", "--json", AMBIENT_PROJECT=str(ambient_api.project))

    assert done.exit_code == 0, done.stderr
    report = report_of(done.stdout)
    assert (report["outcome"], "changes" in report) == ("done", False)
    assert report["run"]["answer"]


class TestConnections:
    def test_a_lost_one_is_resumed(self, client: Client, embedded_api: Api) -> None:
        with cutting(int(embedded_api.url.rpartition(":")[2]), 1200, 1400, 1400, 1400) as relay:
            done = client("run", "slow 9", AMBIENT_URL=relay.url)
            assert relay.connections > 4

        assert (done.exit_code, done.stdout) == (0, "".join(f"tick {number} of 9\n" for number in range(1, 10)))
        assert "The connection was lost; trying again.\n" in done.stderr

    def test_a_server_that_is_not_there_is_named(self, client: Client) -> None:
        url = f"http://127.0.0.1:{free_port()}"

        done = client("run", "slow 0", "--json", AMBIENT_URL=url)

        assert (done.exit_code, report_of(done.stdout)["outcome"]) == (4, "unreachable")
        assert done.stderr == f"{url} cannot be reached. Is the server running?\n"

    def test_a_server_that_goes_away_leaves_the_command_that_waits(
        self, client: Client, embedded_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_module, "RECONNECT_SECONDS", 0.0)
        with cutting(int(embedded_api.url.rpartition(":")[2])) as relay:

            def close() -> None:
                eventually(lambda: embedded_api.list_sessions(activity="working").ok()["items"])
                relay.close()

            with running(close):
                done = client("run", "slow 3000", AMBIENT_URL=relay.url)

        assert done.exit_code == 4
        [session] = embedded_api.list_sessions().ok()["items"]
        assert done.stderr.endswith(f" sessions wait {session['id']}\n")


class TestChanges:
    @pytest.mark.parametrize("path", ["../x", "/tmp/x", ".git/hooks/pre-commit", "link/x"])  # noqa: S108 - never written
    def test_a_patch_of_a_server_that_means_harm_is_refused(self, loop: Background, tmp_path: Path, path: str) -> None:
        head = f"diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"

        async def patch(_request: Request) -> Response:
            return Response(head, media_type="application/octet-stream")

        make_repository(tmp_path, "mine")
        (tmp_path / "mine" / "link").symlink_to(tmp_path)
        with serving(Starlette(routes=[Route("/v1/sessions/s/workspace/patch", patch)]), loop) as url:
            client = ApiClient(url, key="", project="", on_loss=print)
            with pytest.raises(ChangesConflict, match="which is as it was"):
                apply_changes(client, "s", find_target(tmp_path / "mine"))

        assert not (tmp_path / "x").exists()
        assert not (tmp_path / "mine/.git/hooks/pre-commit").exists()

    def test_they_are_listed_and_applied_to_the_local_directory(self, local_client: Client, source: Path) -> None:
        done = local_client("run", "write docs/new.txt hello", "--dir", str(source), "--apply")

        assert (done.exit_code, done.stdout) == (0, "Wrote docs/new.txt.\n"), done.stderr
        assert "added  1  0  docs/new.txt\n1 file has changed (+1 -0).\nThey have been applied.\n" in done.stderr
        assert (source / "docs/new.txt").read_text() == "hello\n"
        assert git(source, "status", "--porcelain") == "?? docs/\n"

    def test_nothing_is_applied_where_a_part_conflicts(self, local_client: Client, source: Path) -> None:
        (source / "README").write_text("another shop\n")

        done = local_client("run", "append README more", "--dir", str(source), "--apply", "--json")

        report = report_of(done.stdout)
        assert (done.exit_code, report["outcome"], report["applied"]) == (5, "conflict", False)
        assert "patch failed: README:1" in report["error"]
        assert (source / "README").read_text() == "another shop\n"
        assert done.stderr.startswith(
            "The agent begins at the last commit; what you have not committed is not there.\n"
        )
        assert f"\nTo get the patch: {program()} sessions diff {report['session_id']}\n" in done.stderr

    def test_those_of_a_clone_are_applied_to_ones_own(
        self, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = make_repository(tmp_path, "shop", README="shop\n")
        git(tmp_path / "shop", "branch", "feature/x")
        mine = tmp_path / "mine"
        git(tmp_path, "clone", "--quiet", url, str(mine))
        (mine / "docs").mkdir()
        monkeypatch.chdir(mine / "docs")

        done = client("run", "append shop/README more", "--repo", f"{url}@feature/x", "--apply")

        assert done.exit_code == 0, done.stderr
        assert (mine / "README").read_text() == "shop\nmore\n"

    def test_those_of_an_empty_workspace_are_applied_where_one_is(
        self, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_repository(tmp_path, "shop")
        here = tmp_path / "shop" / "a" / "b"
        here.mkdir(parents=True)
        for directory in (here, tmp_path):
            monkeypatch.chdir(directory)
            assert client("run", "write new.txt hello", "--apply").exit_code == 0
            assert (directory / "new.txt").read_text() == "hello\n"

    def test_an_agent_in_place_changes_the_directory_itself(self, local_client: Client, source: Path) -> None:
        done = local_client("run", "write new.txt hello", "--dir", str(source), "--in-place")

        assert done.exit_code == 0, done.stderr
        assert (source / "new.txt").read_text() == "hello\n"

    def test_a_directory_that_the_server_does_not_permit_has_the_setting_that_does(
        self, local_client: Client, tmp_path: Path
    ) -> None:
        done = local_client("run", "slow 0", "--dir", str(tmp_path))

        assert (done.exit_code, done.stdout) == (1, "")
        assert f" LOCAL_ROOTS=demo={tmp_path}, or a directory above that." in done.stderr
        model = local_client("run", "slow 0", "--dir", str(tmp_path), "--model", "none")
        assert "LOCAL_ROOTS=" not in model.stderr
        missing = local_client("run", "slow 0", "--dir", str(tmp_path / "gone"))
        assert missing.stderr.endswith(f" There is no directory {tmp_path}/gone on this machine.\n")


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "url", "branch"),
        [
            ("https://h/o/shop", "https://h/o/shop", None),
            ("https://h/o/shop.git@v1.2", "https://h/o/shop.git", "v1.2"),
            ("https://user:p@h/o/shop@feature/x", "https://user:p@h/o/shop", "feature/x"),
            ("https://user:p@h/o/shop", "https://user:p@h/o/shop", None),
            ("https://h/@scope/shop", "https://h/@scope/shop", None),
            ("https://h/@scope/shop@main", "https://h/@scope/shop", "main"),
            ("git@h:o/shop", "git@h:o/shop", None),
            ("git@h:o/shop@main", "git@h:o/shop", "main"),
            ("ssh://git@h:22/o/shop", "ssh://git@h:22/o/shop", None),
            ("file:///srv/shop@main", "file:///srv/shop", "main"),
        ],
    )
    def test_the_ref_of_a_repository_is_behind_an_at_sign(self, text: str, url: str, branch: str | None) -> None:
        fields = fields_of(
            name="",
            agent="",
            model="",
            directory=None,
            in_place=False,
            repos=[text],
            env=[],
            labels=[],
            approve=Approve.ASK,
        )

        assert fields == {"repos": [{"url": url} | ({"branch": branch} if branch else {})]}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--env", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE is not set in your environment"),
            (("--label", "team"), "team has to be such as team=checkout"),
            (("--repo", "."), ". is a directory; use --dir for one"),
            (("--repo", "https://h/o/shop@"), "the ref after @ is missing"),
            (("--repo", "https://h/o/shop", "--dir", "."), "cannot be combined with --repo"),
            (("--in-place",), "only with --dir"),
            (("--dir", "app"), "; name that, or add --in-place"),
            (("--dir", "app", "--in-place", "--apply"), "the agent works in the directory itself"),
            (("--repo", "https://h/a", "--repo", "https://h/b", "--apply"), "more than one --repo"),
            (("--approve", "perhaps"), "'perhaps' is not one of"),
        ],
    )
    def test_one_that_is_wrong_is_named_before_a_request(
        self, client: Client, options: tuple[str, ...], message: str
    ) -> None:
        done = client("run", "slow 0", *options, AMBIENT_URL=f"http://127.0.0.1:{free_port()}")

        assert (done.exit_code, done.stdout) == (2, "")
        assert message in " ".join(done.stderr.split())


@contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread during the block."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()
