"""Start, stop and interrupt on every backend, in every state that a session can be in."""

import pytest

from tests.support.api import Api
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

SENT = "Interrupt signal sent"


class TestStartSession:
    @pytest.mark.parametrize("status", ["stopped", "failed"])
    def test_an_ended_session_is_on_its_way(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        before = api.get_session(session_id).ok()
        answer = api.start_session(session_id)
        assert answer.status == 202
        ended = {"completed_at", "error", "status"}
        assert answer.body == {key: value for key, value in before.items() if key not in ended} | {"status": "pending"}

    def test_a_stopped_session_takes_messages_again(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "stopped")
        api.start_session(session_id).ok()
        stage.settle(api, session_id, "running")
        assert "completed_at" not in api.get_session(session_id).ok()
        assert api.say(session_id, "Say hello")["status"] == "completed"

    @pytest.mark.parametrize("status", ["pending", "running"])
    def test_a_session_that_runs_or_is_about_to_is_refused(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        assert api.start_session(session_id).error == (422, "session_already_running")
        assert api.get_session(session_id).ok()["status"] == status

    def test_a_second_start_is_refused(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "stopped")
        api.start_session(session_id).ok()
        stage.settle(api, session_id, "running")
        assert api.start_session(session_id).error == (422, "session_already_running")

    def test_a_stopping_session_is_refused(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "stopping")
        assert ambient_api.start_session(session_id).error == (409, "session_stopping")

    def test_a_completed_session_is_on_its_way(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "completed")
        answer = ambient_api.start_session(session_id)
        assert (answer.status, answer.body["status"]) == (202, "pending")
        assert "completed_at" not in answer.body

    @pytest.mark.parametrize("phase", [None, "Hibernating"])
    def test_a_session_in_no_known_phase_is_refused(
        self, ambient: PlatformStage, ambient_api: Api, phase: str | None
    ) -> None:
        session_id = ambient.in_phase(ambient_api, phase)
        assert ambient_api.start_session(session_id).error == (409, "session_state_unknown")
        assert ambient_api.stop_session(session_id).error == (409, "session_state_unknown")


class TestStopSession:
    @pytest.mark.parametrize("status", ["running", "pending"])
    def test_the_session_stops(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        before = api.get_session(session_id).ok()
        before.pop("activity", None)
        answer = api.stop_session(session_id)
        assert (answer.status, answer.body) == (202, before | {"status": "stopping"})
        stage.settle(api, session_id, "stopped")
        assert api.get_session(session_id).ok()["completed_at"]

    @pytest.mark.parametrize("status", ["stopped", "failed"])
    def test_a_session_that_has_ended_is_refused(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        assert api.stop_session(session_id).error == (422, "session_already_ended")
        assert api.get_session(session_id).ok()["status"] == status

    def test_a_second_stop_is_refused_once_the_session_has_stopped(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        api.stop_session(session_id).ok()
        stage.settle(api, session_id, "stopped")
        assert api.stop_session(session_id).error == (422, "session_already_ended")

    def test_a_stopping_session_may_be_stopped_again(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "stopping")
        answer = ambient_api.stop_session(session_id)
        assert (answer.status, answer.body["status"]) == (202, "stopping")

    def test_a_completed_session_is_refused(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "completed")
        assert ambient_api.stop_session(session_id).error == (422, "session_already_ended")

    def test_the_conversation_is_kept(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        api.say(session_id, "Remember the number 7")
        before = api.output(session_id).ok()
        api.stop_session(session_id).ok()
        stage.settle(api, session_id, "stopped")
        assert api.output(session_id).ok() == before
        api.start_session(session_id).ok()
        stage.settle(api, session_id, "running")
        api.say(session_id, "Say hello")
        assert api.output(session_id).ok()["messages"][: len(before["messages"])] == before["messages"]


class TestInterruptSession:
    def test_the_active_run_ends_and_the_session_goes_on(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        run_id = stage.begin_run(api, session_id)
        answer = api.interrupt_session(session_id)
        assert (answer.status, answer.body) == (200, {"message": SENT, "interrupted": True})
        assert api.get_run(session_id, run_id).ok()["status"] == stage.interrupted
        assert api.get_session(session_id).ok()["status"] == "running"
        assert api.say(session_id, "Say hello")["status"] == "completed"

    def test_nothing_is_interrupted_however_often_an_idle_session_is_asked(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        run = api.say(session_id, "Say hello")
        for _ in range(2):
            assert api.interrupt_session(session_id).body == {"message": SENT, "interrupted": False}
        assert api.get_run(session_id, run["run_id"]).ok() == run

    @pytest.mark.parametrize("status", ["pending", "stopped", "failed"])
    def test_nothing_is_interrupted_in_a_session_that_does_not_run(
        self, embedded: EmbeddedStage, embedded_api: Api, status: str
    ) -> None:
        session_id = embedded.session(embedded_api, status)
        answer = embedded_api.interrupt_session(session_id)
        assert (answer.status, answer.body) == (200, {"message": SENT, "interrupted": False})
        assert embedded_api.get_session(session_id).ok()["status"] == status

    @pytest.mark.parametrize("status", ["pending", "stopped", "failed"])
    def test_nothing_is_interrupted_where_the_platform_reaches_no_runner(
        self, ambient: PlatformStage, ambient_api: Api, status: str
    ) -> None:
        session_id = ambient.session(ambient_api, status)
        answer = ambient_api.interrupt_session(session_id)
        assert (answer.status, answer.body) == (200, {"message": SENT, "interrupted": False})

    def test_the_end_is_not_claimed_when_it_is_not_seen(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = ambient.begin_run(ambient_api, session_id)
        ambient.platform.runner.obeys = False
        answer = ambient_api.interrupt_session(session_id)
        assert (answer.status, answer.body) == (200, {"message": SENT, "interrupted": None})
        assert ambient_api.get_run(session_id, run_id).ok()["status"] == "running"
