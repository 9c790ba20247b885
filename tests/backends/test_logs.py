"""The log of a session on each backend."""

import re
from typing import Any

import pytest
from aiohttp import web

from tests.support import platform_failures as failures
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (session|git|agent|run [0-9a-f-]{36}): .+")


@pytest.mark.parametrize("tail", ["0", "10001", "x", "1.5", "-1", ""])
def test_a_wrong_number_of_lines_is_refused_before_the_backend(stage: Stage, api: Api, tail: str) -> None:
    with stage.nothing_happens(api):
        answer = api.call("get_session_logs", "s1", query={"tail": tail})
    assert (answer.error, answer.faults) == ((400, "invalid_request"), ["query.tail"])


class TestEmbedded:
    def test_it_tells_how_the_workspace_was_made_and_how_runs_went(
        self, embedded: EmbeddedStage, embedded_api: Api, repository: str
    ) -> None:
        session_id = embedded.session(embedded_api, "running", repos=[{"url": repository, "branch": "main"}])
        failed = embedded.fail_run(embedded_api, session_id)
        embedded_api.stop_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "stopped")
        lines = embedded_api.logs(session_id)
        assert all(LINE.fullmatch(line) for line in lines)
        [task, _] = embedded_api.list_runs(session_id).ok()["runs"]
        assert [line[25:] for line in lines] == [
            "session: the workspace is being made",
            f"git: cloning {repository} (main) as shop",
            "session: the workspace is ready",
            f"run {task['run_id']}: begins",
            f"run {task['run_id']}: completed",
            f"run {failed['run_id']}: begins",
            f"run {failed['run_id']}: error: {failed['error']}",
            "session: stops",
        ]
        assert embedded_api.logs(session_id, tail=2) == lines[-2:]

    def test_a_clone_that_fails_shows_what_git_says_without_secrets_and_paths(
        self, embedded: EmbeddedStage, embedded_api: Api
    ) -> None:
        body: dict[str, Any] = {"environment_variables": {"MODEL_KEY": "no-such-repository", "DEBUG": "1"}}
        session_id = embedded.session(embedded_api, "failed", **body)
        text = "\n".join(embedded_api.logs(session_id))
        assert "git: fatal: '" in text
        assert "failed: Repository 1 (***) could not be cloned" in text
        assert "no-such-repository" not in text
        assert "workspaces" not in text

    def test_it_goes_with_the_session(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        files = embedded.database.parent / "logs" / str(embedded_api.project)
        assert [path.name for path in files.iterdir()] == [f"{session_id}.log"]
        embedded_api.delete_session(session_id).ok()
        assert embedded_api.call("get_session_logs", session_id).error == (404, "session_not_found")
        eventually(lambda: list(files.iterdir()), lambda left: left == [])

    def test_another_project_does_not_see_it(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        with embedded.api() as other:
            assert other.call("get_session_logs", session_id).error == (404, "session_not_found")


class TestPlatform:
    def test_a_platform_without_logs_says_so(self, platform: PlatformStage, platform_api: Api) -> None:
        session_id = platform.session(platform_api, "running")
        assert platform_api.call("get_session_logs", session_id).error == (422, "not_supported")

    def test_what_the_platform_has_is_passed_through(self, platform: PlatformStage, platform_api: Api) -> None:
        async def logs(request: web.Request) -> web.StreamResponse:
            count = int(request.query["tailLines"])
            return web.Response(text="".join(f"line {number} ü\n" for number in range(count)))

        session_id = platform.session(platform_api, "running")
        platform.platform.always("logs", logs)
        assert platform_api.logs(session_id, tail=2) == ["line 0 ü", "line 1 ü"]
        assert len(platform_api.logs(session_id)) == 1000

    def test_the_session_is_looked_for_first(self, platform: PlatformStage, platform_api: Api) -> None:
        assert platform_api.call("get_session_logs", "s1").error == (404, "session_not_found")
        assert "logs" not in platform.platform.operations()[-1:]

    @pytest.mark.parametrize(("status", "said"), [(403, (403, "forbidden")), (500, (500, "backend_error"))])
    def test_a_refusal_keeps_its_status(
        self, platform: PlatformStage, platform_api: Api, status: int, said: tuple[int, str]
    ) -> None:
        session_id = platform.session(platform_api, "running")
        platform.platform.next("logs", failures.error(status, "No"))
        assert platform_api.call("get_session_logs", session_id).error == said

    def test_a_page_is_no_log(self, platform: PlatformStage, platform_api: Api) -> None:
        session_id = platform.session(platform_api, "running")
        platform.platform.next("logs", failures.html)
        assert platform_api.call("get_session_logs", session_id).error == (502, "backend_unavailable")
