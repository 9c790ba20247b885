"""Stages: a running server for each backend, with sessions in any state that a test needs."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from app.agents import demo
from app.backends.ambient.backend import AmbientBackend
from app.conform.contract import Contract
from app.factory import create_app
from app.models.caller import Role
from app.settings import Settings
from app.store.keys import AccessKeys
from tests.support.api import Api, served_contract, unique_project
from tests.support.deadline import eventually
from tests.support.platform import FakePlatform
from tests.support.platform_backend import NO_FILE
from tests.support.server import Background, listening, serving
from tests.support.store import SECRETS_KEY, migrated_store_url

STATES = ("pending", "running", "stopped", "failed")
"""The states in which a session can be kept on every backend."""

TASK = "Say hello"


class Stage(ABC):
    """A running server with one backend, shared by tests that each use a project of their own."""

    name: str
    defaults: ClassVar[dict[str, Any]]
    """The fields of a new session beside those that the client sent."""
    usage: ClassVar[dict[str, Any]]
    """The usage fields of a run that has ended."""
    interrupted: str
    """The status of an interrupted run."""
    task = TASK

    def __init__(self, url: str, contract: Contract) -> None:
        self.url = url
        self.contract = contract

    def api(self, project: str | None = None, role: Role = Role.ADMIN) -> Api:
        """Return a client with a role in a project; default: a new project."""
        project = project or unique_project()
        return Api(self.url, self.contract, token=self.token(project, role), project=project)

    @abstractmethod
    def token(self, project: str, role: Role) -> str:
        """Return a token with the role in the project."""

    @abstractmethod
    def session(self, api: Api, status: str, *, task: str = TASK, **body: Any) -> str:
        """Create a session that stays in `status` and return its id. If it is running, its task's run has ended."""

    @abstractmethod
    def workspace(self, api: Api, session_id: str) -> Path:
        """Return the directory of a session's workspace."""

    @abstractmethod
    def settle(self, api: Api, session_id: str, status: str) -> None:
        """Wait until the session has reached `status`."""

    @abstractmethod
    def begin_run(self, api: Api, session_id: str) -> str:
        """Start a run that stays active until it is interrupted, and return its id."""

    @abstractmethod
    def fail_run(self, api: Api, session_id: str) -> dict[str, Any]:
        """Start a run that the agent ends with an error, and return its summary."""

    @abstractmethod
    def stream_run(self, api: Api, session_id: str, deltas: int) -> AbstractContextManager[str]:
        """Start a run that sends that many deltas, a few at a time, and ends; yield its id."""

    @abstractmethod
    def nothing_happens(self, api: Api) -> AbstractContextManager[None]:
        """Fail if the block changes anything in the backend."""


class PlatformStage(Stage):
    """The platform backend in front of a fake platform."""

    name = "ambient"
    defaults: ClassVar[dict[str, Any]] = {"model": "sonnet", "agent": "claude-agent-sdk"}
    usage: ClassVar[dict[str, Any]] = {
        "usage": {
            "input_tokens": 3,
            "output_tokens": 71,
            "total_tokens": 74,
            "cached_input_tokens": 12,
            "cost_usd": 0.06,
        }
    }
    interrupted = "interrupted"

    def __init__(self, url: str, contract: Contract, platform: FakePlatform) -> None:
        super().__init__(url, contract)
        self.platform = platform

    def token(self, project: str, role: Role) -> str:
        return f"token-of-{role}-in-{project}"

    def session(self, api: Api, status: str, *, task: str = TASK, **body: Any) -> str:
        session_id: str = api.create_session(task=task, **body).ok()["id"]
        if status == "running":
            self.settle(api, session_id, status)
            return session_id
        resource = self._resource(api, session_id)
        resource["status"] = {"phase": status.capitalize()}
        if status in {"stopped", "completed", "failed"}:
            resource["status"]["completionTime"] = "2026-03-09T13:00:00Z"
        if status == "failed":
            ready = {"type": "Ready", "status": "False", "reason": "PodFailed", "message": "The runner exited with 1"}
            resource["status"]["conditions"] = [ready]
        return session_id

    def workspace(self, api: Api, session_id: str) -> Path:  # noqa: ARG002 - names are unique
        return self.platform.files.workspace(session_id)

    def in_phase(self, api: Api, phase: str | None) -> str:
        """Create a session with a phase of the platform, or without one, and return its id."""
        session_id: str = api.create_session(task=TASK).ok()["id"]
        if phase is not None:
            self._resource(api, session_id)["status"] = {"phase": phase}
        return session_id

    def reset(self) -> None:
        """Reset the behaviour of the platform."""
        self.platform._next.clear()
        self.platform._always.clear()
        self.platform.tokens.clear()
        self.platform.runner.pace = "finish"
        self.platform.runner.obeys = True

    def settle(self, api: Api, session_id: str, status: str) -> None:
        def look() -> Any:
            self.platform.settle()
            return api.get_session(session_id).ok()["status"]

        eventually(look, lambda seen: seen == status)

    def begin_run(self, api: Api, session_id: str) -> str:
        self.platform.runner.pace = "open"
        run_id: str = api.send_message(session_id, "Take your time").ok()["run_id"]
        self.platform.runner.pace = "finish"
        return run_id

    def fail_run(self, api: Api, session_id: str) -> dict[str, Any]:
        run_id = self.begin_run(api, session_id)
        ids = {"threadId": session_id, "runId": run_id}
        self.platform.runner.append(session_id, {"type": "RUN_ERROR", "message": "The model is overloaded"} | ids)
        self.platform.runner.kill(session_id)
        run: dict[str, Any] = api.get_run(session_id, run_id).ok()
        return run

    @contextmanager
    def stream_run(self, api: Api, session_id: str, deltas: int) -> Iterator[str]:
        run_id = self.begin_run(api, session_id)
        writer = threading.Thread(target=self._append_deltas, args=(session_id, run_id, deltas))
        writer.start()
        yield run_id
        writer.join()

    def _append_deltas(self, session_id: str, run_id: str, deltas: int) -> None:
        delta = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "runId": run_id, "threadId": session_id}
        for number in range(deltas):
            self.platform.runner.append(session_id, delta | {"delta": f"{number} "})
            time.sleep(0.001)
        self.platform.runner.finish(session_id)

    @contextmanager
    def nothing_happens(self, api: Api) -> Iterator[None]:  # noqa: ARG002 - the platform sees every project
        before = len(self.platform.requests)
        yield
        assert self.platform.requests[before:] == []

    def _resource(self, api: Api, session_id: str) -> dict[str, Any]:
        return self.platform.sessions[str(api.project)][session_id]


class EmbeddedStage(Stage):
    """The embedded backend with the demo agent; `stuck_url` is a git server that never responds."""

    name = "embedded"
    defaults: ClassVar[dict[str, Any]] = {"approval_policy": "ask", "agent": "demo"}
    usage: ClassVar[dict[str, Any]] = {}
    interrupted = "interrupted"

    def __init__(self, url: str, contract: Contract, settings: Settings, stuck_url: str) -> None:
        super().__init__(url, contract)
        assert settings.store
        self.store = settings.store
        self.directory = settings.data_dir
        self._stuck_url = stuck_url

    def token(self, project: str, role: Role) -> str:
        with AccessKeys.open(self.store) as keys:
            _, secret = keys.create(project=project, role=role, name="test", expires=None)
        return secret

    def session(self, api: Api, status: str, *, task: str = TASK, **body: Any) -> str:
        if status == "pending":
            body["repos"] = [{"url": self._stuck_url}]
        elif status == "failed":
            body["repos"] = [{"url": f"{self.directory.as_uri()}/no-such-repository"}]
        session_id: str = api.create_session(task=task, **body).ok()["id"]
        if status == "stopped":
            self._run_task(api, session_id)
            api.stop_session(session_id).ok()
        if status == "running":
            self._run_task(api, session_id)
        api.wait_for_status(session_id, status)
        return session_id

    def workspace(self, api: Api, session_id: str) -> Path:
        return self.directory / "workspaces" / str(api.project) / session_id

    def _run_task(self, api: Api, session_id: str) -> None:
        [run] = api.list_runs(session_id).ok()["runs"]
        api.wait_for_run(session_id, run["run_id"])

    def settle(self, api: Api, session_id: str, status: str) -> None:
        api.wait_for_status(session_id, status)

    def begin_run(self, api: Api, session_id: str) -> str:
        run_id: str = api.send_message(session_id, "slow 3000").ok()["run_id"]
        eventually(lambda: api.get_run(session_id, run_id).ok(), lambda run: run["event_count"] > 0)
        return run_id

    def fail_run(self, api: Api, session_id: str) -> dict[str, Any]:
        return api.say(session_id, "fail")

    @contextmanager
    def stream_run(self, api: Api, session_id: str, deltas: int) -> Iterator[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo, "TICK_SECONDS", 0.001)
            yield api.send_message(session_id, f"slow {deltas}").ok()["run_id"]

    @contextmanager
    def nothing_happens(self, api: Api) -> Iterator[None]:
        before = self._contents(api)
        yield
        assert self._contents(api) == before

    def _contents(self, api: Api) -> list[tuple[Any, Any]]:
        sessions = api.list_sessions(limit=100).ok()["items"]
        return [(session, api.list_runs(session["id"]).ok()) for session in sessions]


def settings(**chosen: Any) -> Settings:
    """Return settings with a rate limit that no test reaches."""
    return Settings.model_validate(
        {
            "rate_limit_rps": 1_000_000,
            "rate_limit_burst": 1_000_000,
            "audit_log": "off",
            "secrets_key": SECRETS_KEY,
            **chosen,
        }
    )


@contextmanager
def platform_stage(loop: Background, *, timeout: float = 30, **chosen: Any) -> Iterator[PlatformStage]:
    """Yield a server in front of a fake platform, with a timeout of that many seconds and the chosen settings."""
    with (
        FakePlatform(rewrites=False) as platform,  # whose logs, as the embedded backend's, keep all events
        TemporaryDirectory() as data,
        platform_server(platform, loop, timeout, Path(data) / "idempotency.db", **chosen) as stage,
    ):
        yield stage


@contextmanager
def platform_server(
    platform: FakePlatform, loop: Background, timeout: float, idempotency_file: Path = NO_FILE, **chosen: Any
) -> Iterator[PlatformStage]:
    """Yield a server in front of a platform, which may be down, with a file for idempotency keys."""
    backend = AmbientBackend(
        platform.url, timeout, idempotency_file=idempotency_file, interrupt_timeout=2, poll_interval=0.05
    )
    with serving(create_app(settings(backend_url=platform.url, **chosen), backend), loop) as url:
        yield PlatformStage(url, served_contract(url), platform)


@contextmanager
def embedded_stage(loop: Background, directory: Path, **chosen: Any) -> Iterator[EmbeddedStage]:
    """Yield a server with its data in `directory`, whose demo agent does not pause between words."""
    chosen_settings = settings(
        data_dir=directory,
        backend_url=migrated_store_url(directory / "ambient.db"),
        git_protocols="https,http,file",
        git_hosts="127.0.0.1",
        **chosen,
    )
    with pytest.MonkeyPatch.context() as patch, listening() as stuck:
        patch.setattr(demo, "WORD_SECONDS", 0)
        with serving(create_app(chosen_settings), loop) as url:
            stuck_url = f"http://127.0.0.1:{stuck.getsockname()[1]}/stuck.git"
            yield EmbeddedStage(url, served_contract(url), chosen_settings, stuck_url)
