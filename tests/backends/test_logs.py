"""The log of a session on each backend."""

import re
from typing import Any

import pytest

from tests.support import platform_failures as failures
from tests.support.api import Api
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
        assert embedded_api.logs(session_id)
        embedded_api.delete_session(session_id).ok()
        assert embedded_api.call("get_session_logs", session_id).error == (404, "session_not_found")

    def test_another_project_does_not_see_it(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        with embedded.api() as other:
            assert other.call("get_session_logs", session_id).error == (404, "session_not_found")


class TestPlatform:
    def test_a_platform_that_tells_nothing_of_pods_says_so(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient.platform.next("pod_events", failures.respond(404, b"404 page not found", content_type="text/plain"))
        assert ambient_api.call("get_session_logs", session_id).error == (422, "not_supported")

    def test_the_lines_are_the_events_of_the_pod(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        assert ambient_api.logs(session_id) == []
        scheduled = {
            "type": "Normal",
            "reason": "Scheduled",
            "message": "Assigned",
            "timestamp": "2026-11-29T18:19:30Z",
        }
        failed = {
            "type": "Warning",
            "reason": "Failed",
            "message": "No such\nimage",
            "timestamp": "2026-11-29T18:19:31Z",
        }
        ambient.platform.pod_events[session_id] = [scheduled | {"count": 1}, failed | {"count": 3}]
        lines = [
            "2026-11-29T18:19:30Z Normal Scheduled: Assigned",
            "2026-11-29T18:19:31Z Warning Failed: No such image (3 times)",
        ]
        assert ambient_api.logs(session_id) == lines
        assert ambient_api.logs(session_id, tail=1) == lines[-1:]

    def test_the_session_is_looked_for_first(self, ambient: PlatformStage, ambient_api: Api) -> None:
        assert ambient_api.call("get_session_logs", "s1").error == (404, "session_not_found")
        assert "pod_events" not in ambient.platform.operations()[-1:]

    @pytest.mark.parametrize(("status", "said"), [(403, (403, "forbidden")), (500, (500, "backend_error"))])
    def test_a_refusal_keeps_its_status(
        self, ambient: PlatformStage, ambient_api: Api, status: int, said: tuple[int, str]
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient.platform.next("pod_events", failures.error(status, "No"))
        assert ambient_api.call("get_session_logs", session_id).error == said

    def test_a_page_is_no_log(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        ambient.platform.next("pod_events", failures.html)
        assert ambient_api.call("get_session_logs", session_id).error == (502, "backend_unavailable")
