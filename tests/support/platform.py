"""Fake platform: a test double of the Ambient Code Platform's backend, served over HTTP in a thread of its own.

It imitates the part of the platform's API that `app.backends.ambient` calls, with the shapes, statuses and error texts
of the real one and with its oddities: it accepts a start or stop in every phase, a run for any session, and exports the
log of any session of a name, whatever its project. It knows nothing of this project's code. There are no pods: a
`Runner` (`tests.support.platform_runner`) writes the logs.

    with FakePlatform() as platform:
        platform.add_session("demo", "s1", phase="Running")
        ... requests to platform.url ...
        assert platform.last("get").headers["authorization"] == "Bearer t"

A test drives it in these ways:

state     `add_session`, `set_phase` and `sessions`; `runner.append` for a log; `without_runner` names sessions whose
          runner has died, which the platform does not notice
time      nothing happens by itself: `settle()` does what the platform's operator would do sooner or later,
          `operator.step()` the next step of that, `auto=True` does it before each request, and `runner.pace` says how
          far a run gets
tokens    any token may do anything unless it is `revoked`, or `tokens` maps tokens to projects and roles; as the real
          one, the platform believes for 30 seconds of its `clock` that a token has access to a project
conflicts a write takes `write_seconds`, within which another one to the same session conflicts
version   `rewrites`, or `second_generation`, which has another API
restarts  `kill_backend()` and `restart_backend()`
failures  `next` and `always` replace the response to an operation by a reaction of `tests.support.platform_failures`
requests  `requests`, `operations()` and `last()` tell what was received

The operations are health, access, runner_types, models, list, create, get, update, switch_model, rename, annotate,
delete, start, stop, run, interrupt, events, capabilities, export, pod_events, list_files, read_file and write_file; the
files are those of `files.workspace(name)`. With `rewrites`, as the platform does since March 2026, the end of a run
deletes what does not last.
"""

import asyncio
import json
import re
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from tests.support.cutting import stop_accepting
from tests.support.platform_failures import Reaction
from tests.support.platform_files import PlatformFiles
from tests.support.platform_operator import DESIRED, PREFIX, Operator, now
from tests.support.platform_runner import Runner

Json = dict[str, Any]
HANDLER_ARGS = {"handler_cancellation": True, "max_line_size": 2**17, "max_field_size": 2**17}
NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
MODELS = ("claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5", "gemini-2.5-flash", "gemini-2.5-pro")
AGENT_STATE_AGE = 5.0
RUNNER_TYPES = (
    ("gemini-cli", "Gemini CLI", "google"),
    ("claude-agent-sdk", "Claude Agent SDK", "anthropic"),
)
REVIEW_AGE = 30.0
REFUSALS = {
    "list": (500, "Failed to list agentic sessions"),
    "get": (500, "Failed to get agentic session"),
    "create": (500, "Failed to validate API key configuration"),
    "update": (500, "Failed to update agentic session"),
    "switch_model": (500, "Failed to update session record"),
    "rename": (403, "Unauthorized to update session in this project"),
    "annotate": (500, "Failed to patch session"),
    "delete": (500, "Failed to delete agentic session"),
    "start": (500, "Failed to update session"),
    "stop": (500, "Failed to update session"),
    "run": (403, "Unauthorized"),
    "interrupt": (403, "Unauthorized"),
    "export": (403, "Unauthorized"),
    "events": (403, "Unauthorized"),
    "capabilities": (403, "Unauthorized"),
    "write_file": (403, "Unauthorized to modify session workspace"),
}
"""Status and text where Kubernetes refuses the platform's call with the caller's token. Few have a proper 403."""

BLIND = REFUSALS | {
    "annotate": (500, "Failed to get session"),
    "update": (500, "Failed to get agentic session"),
    "start": (500, "Failed to get agentic session"),
    "stop": (500, "Failed to get agentic session"),
}
"""The same for a token that may not even read the session."""

CONFLICTS = {
    "annotate": "Failed to patch session",
    "rename": "Failed to update display name",
    "switch_model": "Failed to update session record",
    "update": "Failed to update agentic session",
    "start": "Failed to update session",
    "stop": "Failed to update session",
}
"""The platform's error text, with a 500, when a session has changed between its reading and its writing."""

READS = {
    *("list", "get", "export", "events", "pod_events", "access", "runner_types", "models", "capabilities"),
    *("list_files", "read_file"),
}


class Recorded(NamedTuple):
    """A request that the platform has received."""

    operation: str
    project: str
    session: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class FakePlatform:
    """The platform; `tokens`, which a test may change, maps each token to its project and role (view, edit, admin)."""

    def __init__(
        self,
        *,
        auto: bool = False,
        tokens: dict[str, tuple[str, str]] | None = None,
        model_manifest: bool = False,
        rewrites: bool = True,
    ) -> None:
        self.url = ""
        self.auto = auto
        self.tokens = tokens or {}
        self.revoked: set[str] = set()
        self.pod_events: dict[str, list[Json]] = {}
        self.kubernetes_is_away = False
        self.second_generation = False
        self.write_seconds = 0.0
        self.conflicts = 0
        self._writes: Counter[str] = Counter()
        self._reviews: dict[tuple[str, str], tuple[float, bool]] = {}
        self.model_manifest = model_manifest
        self.requests: list[Recorded] = []
        self.sessions: dict[str, dict[str, Json]] = defaultdict(dict)
        self.runner = Runner(rewrites=rewrites, note_event=self._note_event)
        self.operator = Operator(self.runner, lambda: self.clock())  # noqa: PLW0108 - tests set another
        self.without_runner = self.operator.without_runner
        self.files = PlatformFiles()
        self._next: dict[str, list[Reaction]] = defaultdict(list)
        self._always: dict[str, Reaction] = {}
        self._last_name = 0
        self._agent_states: dict[str, tuple[float, str | None]] = {}
        self.clock: Callable[[], float] = time.monotonic
        self.heartbeat = 15.0
        self._streams: list[asyncio.Queue[bytes | None]] = []

    # For tests

    def add_session(
        self, project: str, name: str, *, phase: str | None = "Running", status: Json | None = None, **spec: Any
    ) -> Json:
        """Store a session and return it; without a phase it has no status, as if it had just been created."""
        resource: Json = {
            "apiVersion": "vteam.ambient-code/v1alpha1",
            "kind": "AgenticSession",
            "metadata": {
                "name": name,
                "namespace": project,
                "uid": f"uid-{name}",
                "generation": 1,
                "creationTimestamp": now(),
                "labels": {},
                "annotations": {},
                "managedFields": [{"manager": "backend", "operation": "Update"}],
            },
            "spec": {"displayName": "", "llmSettings": {"model": "sonnet", "temperature": 0.7, "maxTokens": 0}}
            | {"timeout": 0, "userContext": {"userId": "system-serviceaccount", "displayName": "", "groups": None}}
            | spec,
        }
        if phase is not None or status is not None:
            resource["status"] = ({} if phase is None else {"phase": phase, "startTime": now()}) | (status or {})
        self.sessions[project][name] = resource
        return resource

    def set_phase(self, project: str, name: str, phase: str) -> None:
        self.sessions[project][name].setdefault("status", {})["phase"] = phase

    def next(self, operation: str, *reactions: Reaction) -> None:
        """React to the next requests of an operation, one reaction each."""
        self._next[operation].extend(reactions)

    def always(self, operation: str, reaction: Reaction) -> None:
        """React to all requests of an operation in the same way."""
        self._always[operation] = reaction

    def operations(self) -> list[str]:
        """Return the operations of all requests, in order."""
        return [request.operation for request in self.requests]

    def last(self, operation: str) -> Recorded:
        """Return the last request of an operation."""
        return next(request for request in reversed(self.requests) if request.operation == operation)

    def drop_streams(self) -> None:
        """Cut all live streams, as a restart of the backend does."""
        for lines in list(self._streams):
            self._loop.call_soon_threadsafe(lines.put_nowait, None)

    @property
    def streams(self) -> int:
        """Return how many live streams are open."""
        return len(self._streams)

    def settle(self) -> None:
        """Do what the platform's operator would do sooner or later: every session reaches its desired phase."""
        for sessions in self.sessions.values():
            for name, resource in sessions.items():
                self.operator.settle(name, resource)

    def _note_event(self, name: str, kind: str) -> None:
        for sessions in self.sessions.values():
            if name in sessions:
                self.operator.note_event(name, kind, sessions[name])

    def kill_backend(self) -> None:
        """Kill the backend: nobody listens, all streams end, and runners that are at work are cut off."""
        self.runner.cut_off()
        self._agent_states.clear()
        asyncio.run_coroutine_threadsafe(self._go_down(), self._loop).result(10)

    def restart_backend(self) -> None:
        """Start a killed backend at its address."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    # The server

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, value, trace)

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.files.close()

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**30, handler_args=HANDLER_ARGS)
        base = "/api/projects/{project}/agentic-sessions"
        one = base + "/{session}"
        for method, path, handler in (
            ("GET", "/health", self._health),
            ("GET", "/api/ambient", self._second_generation),
            ("GET", "/api/projects/{project}/runner-types", self._runner_types),
            ("GET", "/api/projects/{project}/models", self._models),
            ("GET", base, self._list),
            ("POST", base, self._create),
            ("GET", one, self._get),
            ("PUT", one, self._update),
            ("PUT", one + "/displayname", self._rename),
            ("POST", one + "/model", self._switch_model),
            ("PATCH", one, self._annotate),
            ("DELETE", one, self._delete),
            ("POST", one + "/start", self._start),
            ("POST", one + "/stop", self._stop_session),
            ("POST", one + "/agui/run", self._run),
            ("POST", one + "/agui/interrupt", self._interrupt),
            ("GET", one + "/agui/events", self._events),
            ("GET", one + "/agui/capabilities", self._capabilities),
            ("GET", one + "/export", self._export),
            ("GET", one + "/pod-events", self._pod_events),
            ("GET", one + "/workspace", self._list_files),
            ("GET", one + "/workspace/{path:[\\s\\S]*}", self._read_file),
            ("PUT", one + "/workspace/{path:[\\s\\S]*}", self._write_file),
            ("GET", "/api/projects/{project}/access", self._access),
        ):
            operation = handler.__name__.strip("_").removesuffix("_session")
            app.router.add_route(method, path, self._recorded(operation, handler))
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self._server, self._port = runner, 0
        await self._listen()
        self._port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        started.set()
        await self._stop.wait()
        await stop_accepting(self._listener)
        await runner.cleanup()

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._site = web.SockSite(self._server, self._listener)
        await self._site.start()

    async def _go_down(self) -> None:
        await stop_accepting(self._listener)
        await self._site.stop()
        for connection in list(self._server.server.connections if self._server.server else ()):
            if connection.transport:
                connection.transport.abort()

    def _recorded(self, operation: str, handler: Reaction) -> Reaction:
        async def react(request: web.Request) -> web.StreamResponse:
            match = request.match_info
            self.requests.append(
                Recorded(
                    operation=operation,
                    project=match.get("project", ""),
                    session=match.get("session", ""),
                    query=dict(request.query),
                    headers={key.lower(): value for key, value in request.headers.items()},
                    body=await request.read(),
                )
            )
            if self.second_generation and operation != "second_generation":
                return web.Response(status=404, text="404 page not found")
            if self.auto:
                self.settle()
            if waiting := self._next[operation]:
                return await waiting.pop(0)(request)
            if operation in self._always:
                return await self._always[operation](request)
            refusal = None if operation in {"health", "second_generation"} else self._refusal(operation, request)
            return refusal or await self._conflict(operation, request) or await handler(request)

        return react

    async def _conflict(self, operation: str, request: web.Request) -> web.Response | None:
        """Return the refusal of a write whose session another one has changed since it was read, else None."""
        if operation not in CONFLICTS or not self.write_seconds:
            return None
        name = request.match_info["session"]
        read = self._writes[name]
        await asyncio.sleep(self.write_seconds)
        if self._writes[name] != read:
            self.conflicts += 1
            return _error(500, CONFLICTS[operation])
        self._writes[name] += 1
        return None

    def _refusal(self, operation: str, request: web.Request) -> web.Response | None:
        """Return the refusal of a request for its token, or None if the token suffices.

        The platform asks Kubernetes whether a token has access to a project and believes the answer for 30 seconds.
        What it then does with the token may be refused all the same.
        """
        token = request.headers.get("X-Forwarded-Access-Token") or re.sub(
            r"(?i)^bearer\s+", "", request.headers.get("Authorization", "")
        )
        project = request.match_info["project"]
        if not re.fullmatch(NAME, project):
            return _error(400, "Invalid project name format")
        if not token:
            return _error(401, "User token required")
        role = self._role(token, project)
        if refusal := self._review(token, project, allowed=role is not None):
            return refusal
        if role is None or self.kubernetes_is_away:
            return _error(*BLIND[operation]) if operation in BLIND else None
        if operation == "update" and (refusal := self._refusal_to_change(request)):
            return refusal  # before the role is looked at
        is_enough = operation in READS or role == "admin" or (role == "edit" and operation != "delete")
        return None if is_enough else _error(*REFUSALS[operation])

    def _review(self, token: str, project: str, *, allowed: bool) -> web.Response | None:
        at, before = self._reviews.get((token, project), (-REVIEW_AGE, False))
        if self.clock() < at + REVIEW_AGE:
            allowed = before
        elif self.kubernetes_is_away:
            return _error(500, "Failed to perform access review")
        elif not self._is_known(token):
            return _error(401, "Token expired or invalid")
        else:
            self._reviews[token, project] = self.clock(), allowed
        return None if allowed else _error(403, "Unauthorized to access project")

    def _is_known(self, token: str) -> bool:
        return token not in self.revoked and (not self.tokens or token in self.tokens)

    def _role(self, token: str, project: str) -> str | None:
        if not self._is_known(token):
            return None
        home, role = self.tokens[token] if self.tokens else (project, "admin")
        return role if home == project else None

    # The endpoints

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _second_generation(self, _request: web.Request) -> web.Response:
        if not self.second_generation:
            return web.Response(status=404, text="404 page not found")
        return web.json_response({"kind": "APIVersionList", "id": "ambient", "href": "/api/ambient"})

    async def _runner_types(self, _request: web.Request) -> web.Response:
        auth = {"requiredSecretKeys": ["ANTHROPIC_API_KEY"], "secretKeyLogic": "any", "vertexSupported": True}
        types = [
            {"id": id_, "displayName": name, "description": "", "framework": id_, "provider": provider, "auth": auth}
            for id_, name, provider in RUNNER_TYPES
        ]
        return web.json_response(types)

    async def _models(self, _request: web.Request) -> web.Response:
        models = [
            {"id": id_, "label": id_.title(), "provider": "google" if id_.startswith("gemini") else "anthropic"}
            for id_ in MODELS
        ]
        return web.json_response({"models": models, "defaultModel": MODELS[0]})

    async def _access(self, request: web.Request) -> web.Response:
        """Tell `view` from more; the role edit counts as admin."""
        token = request.headers["Authorization"].removeprefix("Bearer ")
        role = "view" if self._role(token, request.match_info["project"]) in {"view", None} else "admin"
        answer = {"allowed": role == "admin", "project": request.match_info["project"], "reason": "", "userRole": role}
        return web.json_response(answer)

    async def _list(self, request: web.Request) -> web.Response:
        try:
            limit, offset = (int(request.query.get(key, value)) for key, value in (("limit", "20"), ("offset", "0")))
        except ValueError:
            return _error(400, "Invalid pagination parameters")
        limit, offset = min(limit, 100) if limit > 0 else 20, max(offset, 0)
        search = request.query.get("search", "").lower()
        found = [
            resource
            for name, resource in reversed(self.sessions[request.match_info["project"]].items())
            if any(
                search in text.lower()
                for text in (name, resource["spec"].get("displayName", ""), resource["spec"].get("initialPrompt", ""))
            )
        ]
        page: Json = {"items": [self.as_read(one) for one in found[offset : offset + limit]], "totalCount": len(found)}
        page |= {"limit": limit, "offset": offset, "hasMore": offset + limit < len(found)}
        if page["hasMore"]:
            page["nextOffset"] = offset + limit
        return web.json_response(page)

    async def _create(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if body is None:
            return _error(400, "Invalid request body")
        settings = {"model": "sonnet", "temperature": 0.7} | (body.get("llmSettings") or {}) | {"maxTokens": 0}
        if self.model_manifest and settings["model"] not in MODELS:
            return _error(400, "Model is not available for this runner type")
        spec: Json = {"displayName": body.get("displayName", ""), "llmSettings": settings}
        spec |= {key: body[key] for key in ("initialPrompt", "activeWorkflow") if body.get(key)}
        runner = body.get("runnerType") or "claude-agent-sdk"
        if runner not in {id_ for id_, _, _ in RUNNER_TYPES}:
            return _error(400, f"Runner type '{runner}' is not enabled. Contact your platform administrator.")
        spec["environmentVariables"] = {"RUNNER_TYPE": runner} | (body.get("environmentVariables") or {})
        if repos := body.get("repos"):
            spec["repos"] = [{"branch": "main", "autoPush": False} | repo for repo in repos]
        # The real one answers 500 to a second session within a second.
        self._last_name = max(int(time.time()), self._last_name + 1)
        name = f"session-{self._last_name}"
        made = self.add_session(request.match_info["project"], name, phase=None, **spec)
        made["metadata"]["annotations"] |= body.get("annotations") or {}
        self.operator.rules[name] = {key: body.get(key) for key in ("inactivityTimeout", "stopOnRunFinished")}
        if parent := body.get("parent_session_id"):
            made["metadata"]["annotations"]["vteam.ambient-code/parent-session-id"] = parent
        reply = {"message": "Agentic session created successfully", "name": name, "uid": f"uid-{name}"}
        return web.json_response(reply | {"autoBranch": f"ambient/{name}"}, status=201)

    def _session(self, request: web.Request) -> Json | None:
        return self.sessions[request.match_info["project"]].get(request.match_info["session"])

    async def _get(self, request: web.Request) -> web.Response:
        if (resource := self._session(request)) is None:
            return _error(404, "Session not found")
        branch = f"ambient/{resource['metadata']['name']}"
        return web.json_response(self.as_read(resource) | {"autoBranch": branch})

    def as_read(self, resource: Json) -> Json:
        """Return a session with what its log tells of the agent, at most five seconds old, unless a test has set it."""
        status, name = resource.get("status", {}), resource["metadata"]["name"]
        if status.get("phase") != "Running" or "agentStatus" in status:
            return resource
        at, derived = self._agent_states.get(name, (-AGENT_STATE_AGE, None))
        if self.clock() >= at + AGENT_STATE_AGE:
            derived = self.runner.agent_status(name)
            self._agent_states[name] = self.clock(), derived
        return resource | {"status": status | {"agentStatus": derived}} if derived else resource

    async def _update(self, request: web.Request) -> web.Response:
        """Change the display name; a timeout is accepted and ignored, as the real one does."""
        body, resource = await _object(request), self._session(request)
        if resource is None:
            return _error(404, "Session not found")
        resource["spec"] |= {key: value for key, value in (body or {}).items() if key == "displayName"}
        return web.json_response(resource)

    async def _switch_model(self, request: web.Request) -> web.Response:
        """Change the model of a running session to any name."""
        body, resource = await _object(request), self._session(request)
        if resource is None:
            return _error(404, "Session not found")
        if not self._is_up(request):
            return _error(409, "session is not running")
        if self.runner.is_at_work(request.match_info["session"]):
            text = "Cannot switch model while agent is generating a response. Wait for the current turn to complete."
            return web.json_response({"detail": text}, status=422)
        resource["spec"]["llmSettings"]["model"] = str((body or {}).get("model", ""))
        return web.json_response(resource)

    def _refusal_to_change(self, request: web.Request) -> web.Response | None:
        phase = (self._session(request) or {}).get("status", {}).get("phase")
        if phase not in {"Running", "Creating"}:
            return None
        text = "Cannot modify session specification while the session is running"
        return web.json_response({"error": text, "phase": phase}, status=409)

    async def _rename(self, request: web.Request) -> web.Response:
        name, resource = str((await _object(request) or {}).get("displayName", "")), self._session(request)
        if not name.strip():
            return _error(400, "display name cannot be empty")
        if len(name) > 50:
            return _error(400, "display name cannot exceed 50 characters")
        if resource is None:
            return _error(404, "Session not found")
        resource["spec"]["displayName"] = name
        return web.json_response(resource)

    async def _annotate(self, request: web.Request) -> web.Response:
        """Merge annotations and ignore everything else; null does not delete one."""
        body, resource = await _object(request), self._session(request)
        if resource is None:
            return _error(404, "Session not found")
        annotations: Json = resource["metadata"]["annotations"]
        given = (body or {}).get("metadata", {}).get("annotations", {})
        annotations |= {key: value for key, value in given.items() if isinstance(value, str)}
        return web.json_response({"message": "Session patched successfully", "annotations": annotations})

    async def _delete(self, request: web.Request) -> web.Response:
        if self.sessions[request.match_info["project"]].pop(request.match_info["session"], None) is None:
            return _error(404, "Session not found")
        return web.Response(status=204)

    async def _start(self, request: web.Request) -> web.Response:
        return self._desire(request, "Running")

    async def _stop_session(self, request: web.Request) -> web.Response:
        return self._desire(request, "Stopped")

    def _desire(self, request: web.Request, phase: str) -> web.Response:
        """Note the desired phase, whatever the present one is, and return the session as it was."""
        if (resource := self._session(request)) is None:
            return _error(404, "Session not found")
        requested = f"{PREFIX}{'start' if phase == 'Running' else 'stop'}-requested-at"
        resource["metadata"]["annotations"] |= {DESIRED: phase, requested: now()}
        return web.json_response(resource, status=202)

    def _is_up(self, request: web.Request) -> bool:
        status: Json = (self._session(request) or {}).get("status", {})
        return status.get("phase") == "Running" and request.match_info["session"] not in self.without_runner

    async def _run(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if body is None:
            return _error(400, "invalid input: unexpected end of JSON input")
        if not isinstance(body.get("state") or {}, dict):
            return _error(400, "invalid input: json: cannot unmarshal array into Go struct field RunAgentInput.state")
        name = request.match_info["session"]
        accepted = self.runner.accept(name, body, up=self._is_up(request))
        return web.json_response({"runId": accepted["runId"], "threadId": accepted["threadId"]})

    async def _interrupt(self, request: web.Request) -> web.Response:
        name, project = request.match_info["session"], request.match_info["project"]
        if not self._is_up(request):
            host = f"session-{name}.{project}.svc.cluster.local"
            return _error(502, f'Post "http://{host}:8001/interrupt": dial tcp: lookup {host}: no such host')
        if not self.runner.interrupt(name):
            return _error(500, '{"detail":"No active session manager"}')
        return web.json_response({"message": "Interrupt signal sent"})

    async def _capabilities(self, request: web.Request) -> web.Response:
        framework = "claude-agent-sdk" if self._is_up(request) else "unknown"
        return web.json_response({"framework": framework, "agent_features": [], "platform_features": []})

    async def _export(self, request: web.Request) -> web.Response:
        """Return the log of that session name, whatever the project, even if the session was deleted."""
        name = request.match_info["session"]
        if not re.fullmatch(NAME, name):
            return _error(400, "Invalid session name")
        if name not in self.runner.logs:
            return _error(404, "Session not found")
        lines = self.runner.logs[name]
        events = b"null" if lines is None else b"[%b]" % b",".join(lines)
        head = {"sessionId": name, "projectName": request.match_info["project"], "exportDate": now()}
        body = json.dumps(head).encode().removesuffix(b"}") + b',"aguiEvents":%b,"hasLegacy":false}' % events
        disposition = {"Content-Disposition": f'attachment; filename="{name}-export.json"'}
        return web.Response(body=body, content_type="application/json", headers=disposition)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send the log and then what comes; with an empty log not even the head is sent until the first event."""
        name = request.match_info["session"]
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()

        def listen(line: bytes) -> None:
            self._loop.call_soon_threadsafe(lines.put_nowait, line)

        with self.runner.lock:
            pending = list(self.runner.logs.get(name) or ())
            self.runner.listeners.setdefault(name, []).append(listen)
        self._streams.append(lines)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            while True:
                line = pending.pop(0) if pending else await self._line(lines)
                if line is None:
                    break
                if not response.prepared:
                    await response.prepare(request)
                await response.write(line if line.startswith(b":") else b"data: %b\n\n" % line)
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the reader has left
        finally:
            self._streams.remove(lines)
            self.runner.listeners[name].remove(listen)
        return response

    async def _line(self, lines: "asyncio.Queue[bytes | None]") -> bytes | None:
        try:
            async with asyncio.timeout(self.heartbeat):
                return await lines.get()
        except TimeoutError:
            return b": heartbeat\n\n"

    async def _pod_events(self, request: web.Request) -> web.Response:
        """Return what has happened to the session's pod; nothing if there is no such session."""
        return web.json_response({"events": self.pod_events.get(request.match_info["session"], [])})

    async def _list_files(self, request: web.Request) -> web.Response:
        return self.files.list(request, up=self._is_up(request))

    async def _read_file(self, request: web.Request) -> web.Response:
        return await self.files.read(request, up=self._is_up(request))

    async def _write_file(self, request: web.Request) -> web.Response:
        session = self._session(request)
        running = (session or {}).get("status", {}).get("phase") == "Running"
        return await self.files.write(request, exists=session is not None, running=running, up=self._is_up(request))


async def _object(request: web.Request) -> Json | None:
    """Return the first JSON value of a body if it is an object; the rest and the content type are ignored."""
    try:
        value, _ = json.JSONDecoder().raw_decode((await request.text()).lstrip())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
