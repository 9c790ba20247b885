"""Sessions on every backend: create, list, read, delete."""

import re
from typing import Any
from unittest.mock import ANY

import pytest

from tests.support.api import Api
from tests.support.stage import STATES, EmbeddedStage, PlatformStage, Stage

RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def created(stage: Stage, **members: Any) -> dict[str, Any]:
    """The whole answer to create_session."""
    answer = {"id": ANY, "status": "pending", "created_at": ANY, "message": "Session created"}
    known_run = {"run_id": ANY} if stage.name == "embedded" else {}
    return answer | known_run | stage.defaults | members


class TestCreateSession:
    def test_the_answer_is_the_session_when_only_a_task_is_given(self, stage: Stage, api: Api) -> None:
        answer = api.create_session(task="Say hello")
        assert answer.status == 201
        assert answer.body == created(stage, task="Say hello")
        assert answer.headers["Location"] == f"/v1/sessions/{answer.body['id']}"

    def test_every_field_is_read_back_when_every_field_is_given(self, stage: Stage, api: Api, repository: str) -> None:
        model = {"model": "model-1"} if stage.name == "ambient" else {}  # the demo agent has none
        answer = api.create_session(
            task="Say hello",
            display_name="Hello",
            **model,
            repos=[{"url": repository, "branch": "main"}],
            active_workflow={"git_url": repository, "branch": "main", "path": "docs"},
            environment_variables={"GREETING": "hello"},
        )
        expected = {
            "task": "Say hello",
            "display_name": "Hello",
            **model,
            "repos": [{"url": repository, "branch": "main"}],
        }
        assert answer.status == 201
        assert answer.body == created(stage, **expected)
        session = api.get_session(answer.body["id"]).ok()
        assert {key: session.get(key) for key in expected} == expected

    def test_the_answer_names_the_run_of_the_task_on_the_embedded_backend(self, embedded_api: Api) -> None:
        answer = embedded_api.create_session(task="Say hello").ok()
        run = embedded_api.wait_for_run(answer["id"], answer["run_id"])
        assert run["user_message"] == "Say hello"
        session = embedded_api.get_session(answer["id"]).ok()
        assert "run_id" not in session
        assert session["result"] == run["answer"] != ""

    def test_nulls_and_empty_strings_read_as_absent(self, stage: Stage, api: Api) -> None:
        empty = {"display_name": "", "model": "", "repos": None, "active_workflow": None, "environment_variables": None}
        answer = api.create_session(task="Say hello", **empty)
        assert answer.status == 201
        assert answer.body == created(stage, task="Say hello")

    def test_camel_case_names_mean_the_same_on_the_platform(self, ambient: PlatformStage, ambient_api: Api) -> None:
        workflow = {"branch": "main", "path": "docs"}
        present = {"active_workflow": {"git_url": "https://h/r", **workflow}, "environment_variables": {"A": "1"}}
        camel_case = {"activeWorkflow": {"gitUrl": "https://h/r", **workflow}, "environmentVariables": {"A": "1"}}
        for body in (present, camel_case):
            assert ambient_api.create_session(task="x", **body).status == 201
            assert ambient.platform.last("create").json() == {
                "initialPrompt": "x",
                "activeWorkflow": {"gitUrl": "https://h/r", "branch": "main", "path": "docs"},
                "environmentVariables": {"A": "1"},
            }

    def test_camel_case_names_mean_the_same_on_the_embedded_backend(
        self, embedded: EmbeddedStage, embedded_api: Api, repository: str
    ) -> None:
        workflow = {"branch": "main", "path": "docs"}
        bodies: tuple[dict[str, Any], ...] = (
            {"active_workflow": {"git_url": repository, **workflow}},
            {"activeWorkflow": {"gitUrl": repository, **workflow}, "environmentVariables": {"A": "1"}},
        )
        for body in bodies:
            session_id = embedded.session(embedded_api, "running", task="list the files", **body)
            assert "docs/guide.md" in str(embedded_api.output(session_id).ok()["messages"])

    def test_the_agent_finds_the_repositories(
        self, embedded: EmbeddedStage, embedded_api: Api, repository: str
    ) -> None:
        repos = [{"url": repository}, {"url": repository, "branch": "main"}]
        session_id = embedded.session(embedded_api, "running", task="list the files", repos=repos)
        [call] = [
            call
            for message in embedded_api.output(session_id).ok()["messages"]
            for call in message.get("tool_calls", [])
        ]
        assert {"shop/README.md", "shop-2/README.md"} <= set(call["result"].splitlines())

    @pytest.mark.parametrize("url", ["ext::sh -c id", "-u", "git://h/r", "relative", "file://host/r", "https://"])
    def test_a_way_in_that_is_closed_is_refused(self, embedded_api: Api, url: str) -> None:
        answer = embedded_api.create_session(task="x", repos=[{"url": url}])
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.repos[0].url"])

    @pytest.mark.parametrize(
        ("body", "faults"),
        [
            ({}, ["body.task"]),
            ({"task": None}, ["body.task"]),
            ({"task": ""}, ["body.task"]),
            ({"task": " \n\t "}, ["body.task"]),
            ({"task": "a\x00b"}, ["body.task"]),
            ({"task": 1}, ["body.task"]),
            ({"task": "x" * 1_000_001}, ["body.task"]),
            ({"task": "x", "prompt": "y"}, ["body.prompt"]),
            ({"task": "x", "Task": "y", "label": {}}, ["body.Task", "body.label"]),
            ({"task": "x", "repos": [{}]}, ["body.repos[0].url"]),
            ({"task": "x", "repos": [{"url": "https://h/r", "depth": 1}]}, ["body.repos[0].depth"]),
            ({"task": "x", "repos": {"url": "https://h/r"}}, ["body.repos"]),
            ({"task": "x", "active_workflow": {"branch": "main"}}, ["body.active_workflow.git_url"]),
            ({"task": "x", "active_workflow": {"git_url": " "}}, ["body.active_workflow.git_url"]),
            ({"task": "x", "activeWorkflow": {"gitUrl": " "}}, ["body.active_workflow.git_url"]),
            ({"task": "x", "environment_variables": {"A": 1}}, ["body.environment_variables.A"]),
            ({"task": "x", "environment_variables": {"1A": "1"}}, ["body.environment_variables.1A"]),
        ],
    )
    def test_a_bad_body_is_refused_and_its_faults_are_named(
        self, stage: Stage, api: Api, body: dict[str, Any], faults: list[str]
    ) -> None:
        with stage.nothing_happens(api):
            answer = api.create_session(**body)
        assert answer.error == (400, "invalid_request")
        assert sorted(answer.faults) == sorted(faults)

    def test_both_spellings_of_a_field_are_refused(self, api: Api) -> None:
        both = {"environment_variables": {"A": "1"}, "environmentVariables": {"A": "1"}}
        answer = api.create_session(task="x", **both)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.environment_variables"])

    def test_a_null_beside_the_other_spelling_reads_as_absent(self, api: Api) -> None:
        both = {"environment_variables": None, "environmentVariables": {"A": "1"}}
        assert api.create_session(task="x", **both).status == 201


class TestListSessions:
    def test_an_empty_project_has_an_empty_page(self, api: Api) -> None:
        answer = api.list_sessions()
        assert answer.status == 200
        assert answer.body == {"items": [], "total": 0, "limit": 20, "offset": 0, "has_more": False}

    def test_pages_follow_one_another_newest_first(self, stage: Stage, api: Api) -> None:
        ids = [stage.session(api, "running", task=f"Task {number}") for number in range(5)]
        pages = [api.list_sessions(limit=2, offset=offset).ok() for offset in (0, 2, 4)]
        assert [[item["id"] for item in page.pop("items")] for page in pages] == [
            [ids[4], ids[3]],
            [ids[2], ids[1]],
            [ids[0]],
        ]
        assert pages == [
            {"total": 5, "limit": 2, "offset": 0, "has_more": True, "next_offset": 2},
            {"total": 5, "limit": 2, "offset": 2, "has_more": True, "next_offset": 4},
            {"total": 5, "limit": 2, "offset": 4, "has_more": False},
        ]

    def test_an_item_is_what_reading_the_session_gives(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        [item] = api.list_sessions().ok()["items"]
        assert item | {"activity": "idle"} == api.get_session(session_id).ok()

    @pytest.mark.parametrize("offset", [5, 2**31 - 1])
    def test_a_page_beyond_the_end_is_empty(self, stage: Stage, api: Api, offset: int) -> None:
        stage.session(api, "running")
        page = api.list_sessions(offset=offset).ok()
        assert page == {"items": [], "total": 1, "limit": 20, "offset": offset, "has_more": False}

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("MEND", {"checkout", "basket"}),
            ("the basket", {"basket"}),
            ("cart", {"basket"}),
            ("100%", set()),
            ("_", set()),
            ("", {"checkout", "basket"}),
        ],
    )
    def test_search_finds_texts_in_name_and_task(self, stage: Stage, api: Api, search: str, found: set[str]) -> None:
        ids = {
            "checkout": stage.session(api, "running", task="Mend the checkout"),
            "basket": stage.session(api, "running", task="mend the basket", display_name="Cart"),
        }
        page = api.list_sessions(search=search).ok()
        assert {item["id"] for item in page["items"]} == {ids[name] for name in found}
        assert page["total"] == len(found)

    def test_search_finds_a_part_of_the_id(self, stage: Stage, api: Api) -> None:
        ids = [stage.session(api, "running") for _ in range(2)]
        page = api.list_sessions(search=ids[0][3:].upper()).ok()
        assert [item["id"] for item in page["items"]] == [ids[0]]

    def test_status_keeps_the_sessions_in_one_of_the_states(self, stage: Stage, api: Api) -> None:
        stopped, running = stage.session(api, "stopped"), stage.session(api, "running")
        failed = stage.session(api, "failed")

        def ids(**query: Any) -> list[str]:
            page = api.list_sessions(**query).ok()
            assert page["total"] == len(page["items"])
            return [item["id"] for item in page["items"]]

        assert ids(status="stopped") == [stopped]
        assert ids(status=["stopped", "failed"]) == [failed, stopped]
        assert ids(status=["completed", "unknown"]) == []
        assert ids() == [failed, running, stopped]

    def test_status_and_pages_work_together(self, stage: Stage, api: Api) -> None:
        ids = [stage.session(api, status) for status in ("stopped", "running", "stopped", "stopped")]
        page = api.list_sessions(status="stopped", limit=2, offset=1).ok()
        assert [item["id"] for item in page.pop("items")] == [ids[2], ids[0]]
        assert page == {"total": 3, "limit": 2, "offset": 1, "has_more": False}

    @pytest.mark.parametrize(
        ("query", "fault"),
        [
            ("limit=0", "query.limit"),
            ("limit=101", "query.limit"),
            ("limit=1_0", "query.limit"),
            ("limit=+1", "query.limit"),
            ("limit=", "query.limit"),
            ("limit=1&limit=2", "query.limit"),
            ("offset=-1", "query.offset"),
            ("offset=2147483648", "query.offset"),
            ("offset=%D9%A1", "query.offset"),
            ("search=%00", "query.search"),
            ("search=%FF", "query"),
            ("status=done", "query.status[0]"),
            ("status=running&status=Stopped", "query.status[1]"),
            ("page=1", "query.page"),
            ("Limit=1", "query.Limit"),
        ],
    )
    def test_a_bad_query_is_refused_and_its_fault_is_named(
        self, stage: Stage, api: Api, query: str, fault: str
    ) -> None:
        with stage.nothing_happens(api):
            answer = api.call("list_sessions", query=query)
        assert answer.error == (400, "invalid_request")
        assert answer.faults == [fault]

    def test_other_projects_stay_out_of_sight(self, stage: Stage, api: Api) -> None:
        mine = stage.session(api, "running")
        with stage.api() as other:
            theirs = stage.session(other, "running")
            assert [item["id"] for item in api.list_sessions().ok()["items"]] == [mine]
            assert api.get_session(theirs).error == (404, "session_not_found")


class TestGetSession:
    @pytest.mark.parametrize("status", STATES)
    def test_the_state_is_told(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        session = api.get_session(session_id).ok()
        assert session == {"id": session_id, "status": status, "created_at": ANY, "task": ANY} | stage.defaults | {
            key: ANY
            for key in ("completed_at", "error", "repos", "result", "activity", "last_run_status")
            if key in session
        }

    def test_a_failed_session_says_why(self, stage: Stage, api: Api) -> None:
        session = api.get_session(stage.session(api, "failed")).ok()
        assert session["error"]
        assert "://" not in session["error"]

    def test_times_are_in_utc(self, stage: Stage, api: Api) -> None:
        session = api.get_session(stage.session(api, "stopped")).ok()
        for key in ("created_at", "completed_at"):
            assert re.fullmatch(RFC_3339, session[key])


class TestDeleteSession:
    @pytest.mark.parametrize("status", STATES)
    def test_the_session_is_gone_whatever_its_state_was(self, stage: Stage, api: Api, status: str) -> None:
        session_id = stage.session(api, status)
        answer = api.delete_session(session_id)
        assert (answer.status, answer.body) == (204, None)
        assert api.get_session(session_id).error == (404, "session_not_found")
        assert api.list_sessions().ok()["items"] == []

    def test_a_second_time_there_is_nothing_to_delete(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        api.delete_session(session_id).ok()
        assert api.delete_session(session_id).error == (404, "session_not_found")

    def test_a_session_with_an_active_run_is_deleted_all_the_same(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        stage.begin_run(api, session_id)
        assert api.delete_session(session_id).status == 204
        assert api.output(session_id).error == (404, "session_not_found")
        assert api.list_runs(session_id).error == (404, "session_not_found")

    def test_other_sessions_are_left_alone(self, stage: Stage, api: Api) -> None:
        gone, kept = stage.session(api, "running"), stage.session(api, "running")
        run = api.say(kept, "Say hello")
        api.delete_session(gone).ok()
        assert api.get_session(kept).ok()["status"] == "running"
        assert api.get_run(kept, run["run_id"]).ok() == run


class TestActivity:
    def test_a_running_session_works_waits_or_is_idle(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        assert api.get_session(session_id).ok()["activity"] == "idle"
        stage.begin_run(api, session_id)
        assert api.get_session(session_id).ok()["activity"] == "working"
        api.interrupt_session(session_id).ok()
        assert api.get_session(session_id, wait=60).ok()["activity"] == "idle"
        assert "activity" not in api.stop_session(session_id).ok()

    def test_the_answer_comes_when_the_work_has_ended(self, stage: Stage, api: Api) -> None:
        session_id = stage.session(api, "running")
        run_id = api.send_message(session_id, "Say hello").ok()["run_id"]
        assert api.get_session(session_id, wait=60).ok()["activity"] == "idle"
        assert api.get_run(session_id, run_id).ok()["status"] == "completed"

    def test_a_session_that_is_pending_is_waited_for(self, embedded_api: Api) -> None:
        created = embedded_api.create_session(task="slow 0").ok()
        assert embedded_api.get_session(created["id"], wait=60).ok()["activity"] == "idle"
        assert embedded_api.get_run(created["id"], created["run_id"]).ok()["status"] == "completed"

    def test_a_session_that_waits_for_a_decision_is_told_apart_and_found(self, embedded_api: Api) -> None:
        idle, working, waiting, stopped = (embedded_api.running_session() for _ in range(4))
        embedded_api.send_message(working, "slow 3000").ok()
        embedded_api.send_message(waiting, "ask now").ok()
        embedded_api.stop_session(stopped).ok()
        embedded_api.wait_for_status(stopped, "stopped")
        assert embedded_api.get_session(waiting, wait=60).ok()["activity"] == "waiting"
        for activity, session_id in (("idle", idle), ("working", working), ("waiting", waiting)):
            page = embedded_api.list_sessions(activity=activity).ok()
            assert [(one["id"], one["activity"]) for one in page["items"]] == [(session_id, activity)]
            assert page["total"] == 1
        found = embedded_api.list_sessions(activity=["idle", "waiting"]).ok()["items"]
        assert [one["id"] for one in found] == [waiting, idle]

    @pytest.mark.parametrize(
        ("state", "activity"), [("working", "working"), ("idle", "idle"), ("waiting_input", "waiting")]
    )
    def test_the_platform_s_list_has_what_the_platform_reports(
        self, ambient: PlatformStage, ambient_api: Api, state: str, activity: str
    ) -> None:
        session_id, other = (ambient.session(ambient_api, "running") for _ in range(2))
        sessions = ambient.platform.sessions[str(ambient_api.project)]
        sessions[session_id]["status"]["agentStatus"] = state
        sessions[other]["status"]["agentStatus"] = None
        page = ambient_api.list_sessions(activity=activity).ok()
        assert [(one["id"], one["activity"]) for one in page["items"]] == [(session_id, activity)]
        assert "activity" not in next(one for one in ambient_api.list_sessions().ok()["items"] if one["id"] == other)

    @pytest.mark.parametrize(("query", "fault"), [("wait=61", "query.wait"), ("wait=x", "query.wait")])
    def test_a_bad_wait_is_refused(self, stage: Stage, api: Api, query: str, fault: str) -> None:
        session_id = stage.session(api, "running")
        refused = api.call("get_session", session_id, query=query)
        assert (refused.error, refused.faults) == ((400, "invalid_request"), [fault])
