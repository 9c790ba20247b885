"""Fake platform: a test double of the Ambient Code Platform's backend, served over HTTP in a thread of its own.

It imitates the part of the platform's API that `app.backends.ambient` calls, with the shapes, statuses and error texts
of the real one and with its oddities: it accepts a start or stop in every phase, a run for any session, and exports the
log of any session of a name, whatever its project. It knows nothing of this project's code. There are no pods: a
`Runner` (`tests.support.platform_runner`) writes the logs.

    with FakePlatform() as platform:
        platform.add_session("demo", "s1", phase="Running")
        ... requests to platform.url ...
        assert platform.last("get").headers["authorization"] == "Bearer t"

A test drives it in five ways:

state     `add_session`, `set_phase` and `sessions`; `runner.append` for a log
time      nothing happens by itself: `settle()` does what the platform's operator would do sooner or later, `auto=True`
          does it before each request, and `runner.pace` says how far a run gets
tokens    any token may do anything unless `tokens` maps it to a project and a role
failures  `next` and `always` replace the response to an operation by a reaction of `tests.support.platform_failures`
requests  `requests`, `operations()` and `last()` tell what was received

The operations are health, list, create, get, update, rename, annotate, delete, start, stop, run, interrupt, events,
export and logs. With `rewrites`, as the platform does since March 2026, the end of a run deletes what does not last.
"""

import asyncio
import json
import re
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from tests.support.platform_failures import Reaction
from tests.support.platform_runner import Runner

Json = dict[str, Any]
HANDLER_ARGS = {"handler_cancellation": True, "max_line_size": 2**17, "max_field_size": 2**17}
PREFIX = "ambient-code.io/"
MODELS = ("claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5", "gemini-2.5-flash", "gemini-2.5-pro")
REFUSALS = {
    "create": (500, "Failed to create agentic session"),
    "update": (500, "Failed to update agentic session"),
    "rename": (403, "Unauthorized to update session in this project"),
    "annotate": (500, "Failed to patch session"),
    "delete": (500, "Failed to delete agentic session"),
    "start": (500, "Failed to update session"),
    "stop": (500, "Failed to update session"),
    "run": (403, "Unauthorized"),
    "interrupt": (403, "Unauthorized"),
}
"""Status and text for a role that does not suffice. Only the agui endpoints have a proper 403."""


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
    """The platform; `tokens` maps each token to its project and role (view, edit, admin)."""

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
        self.model_manifest = model_manifest
        self.requests: list[Recorded] = []
        self.sessions: dict[str, dict[str, Json]] = defaultdict(dict)
        self.runner = Runner(rewrites=rewrites)
        self._next: dict[str, list[Reaction]] = defaultdict(list)
        self._always: dict[str, Reaction] = {}
        self._last_name = 0
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
                "creationTimestamp": _now(),
                "labels": {},
                "annotations": {},
                "managedFields": [{"manager": "backend", "operation": "Update"}],
            },
            "spec": {"displayName": "", "llmSettings": {"model": "sonnet", "temperature": 0.7, "maxTokens": 0}}
            | {"timeout": 0, "userContext": {"userId": "system-serviceaccount", "displayName": "", "groups": None}}
            | spec,
        }
        if phase is not None or status is not None:
            resource["status"] = ({} if phase is None else {"phase": phase, "startTime": _now()}) | (status or {})
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
                self._settle(name, resource)

    def _settle(self, name: str, resource: Json) -> None:
        annotations = resource["metadata"]["annotations"]
        desired = annotations.pop(f"{PREFIX}desired-phase", None)
        status = resource.setdefault("status", {})
        phase = status.get("phase")
        if phase in {"Running", "Stopping", "Pending", "Creating"} and (desired == "Stopped" or phase == "Stopping"):
            status |= {"phase": "Stopped", "completionTime": _now(), "stoppedReason": "user"}
            self.runner.kill(name)
        elif phase in {None, "Pending", "Creating"} or desired == "Running":
            status.pop("completionTime", None)
            status |= {"phase": "Running", "startTime": _now()}
            status["conditions"] = [{"type": "Ready", "status": "True", "reason": "Running", "message": "Running"}]
            if phase is None and (prompt := resource["spec"].get("initialPrompt")):
                self.runner.prompt(name, prompt)

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

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**30, handler_args=HANDLER_ARGS)
        base = "/api/projects/{project}/agentic-sessions"
        one = base + "/{session}"
        for method, path, handler in (
            ("GET", "/health", self._health),
            ("GET", base, self._list),
            ("POST", base, self._create),
            ("GET", one, self._get),
            ("PUT", one, self._update),
            ("PUT", one + "/displayname", self._rename),
            ("PATCH", one, self._annotate),
            ("DELETE", one, self._delete),
            ("POST", one + "/start", self._start),
            ("POST", one + "/stop", self._stop_session),
            ("POST", one + "/agui/run", self._run),
            ("POST", one + "/agui/interrupt", self._interrupt),
            ("GET", one + "/agui/events", self._events),
            ("GET", one + "/export", self._export),
            ("GET", one + "/logs", self._logs),
        ):
            operation = handler.__name__.strip("_").removesuffix("_session")
            app.router.add_route(method, path, self._recorded(operation, handler))
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await self._stop.wait()
        await runner.cleanup()

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
            if self.auto:
                self.settle()
            if waiting := self._next[operation]:
                return await waiting.pop(0)(request)
            if operation in self._always:
                return await self._always[operation](request)
            refusal = None if operation == "health" else self._refusal(operation, request)
            return refusal or await handler(request)

        return react

    def _refusal(self, operation: str, request: web.Request) -> web.Response | None:
        """Return the refusal of a request for its token, or None if the token suffices."""
        token = request.headers.get("X-Forwarded-Access-Token") or re.sub(
            r"(?i)^bearer\s+", "", request.headers.get("Authorization", "")
        )
        project = request.match_info["project"]
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", project):
            return _error(400, "Invalid project name format")
        if not token:
            return _error(401, "User token required")
        home, role = self.tokens.get(token, (None, None)) if self.tokens else (project, "admin")
        if home != project:
            known = home is not None
            return _error(403, "Unauthorized to access project") if known else _error(401, "Token expired or invalid")
        allowed = role == "admin" or (role == "edit" and operation != "delete") or operation not in REFUSALS
        return None if allowed else _error(*REFUSALS[operation])

    # The endpoints

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

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
        page: Json = {"items": found[offset : offset + limit], "totalCount": len(found)}
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
        spec["environmentVariables"] = {"RUNNER_TYPE": "claude-agent-sdk"} | (body.get("environmentVariables") or {})
        if repos := body.get("repos"):
            spec["repos"] = [{"branch": "main", "autoPush": False} | repo for repo in repos]
        # The real one answers 500 to a second session within a second.
        self._last_name = max(int(time.time()), self._last_name + 1)
        name = f"session-{self._last_name}"
        made = self.add_session(request.match_info["project"], name, phase=None, **spec)
        made["metadata"]["annotations"] |= body.get("annotations") or {}
        if parent := body.get("parent_session_id"):
            made["metadata"]["annotations"]["vteam.ambient-code/parent-session-id"] = parent
        reply = {"message": "Agentic session created successfully", "name": name, "uid": f"uid-{name}"}
        return web.json_response(reply | {"autoBranch": f"ambient/{name}"}, status=201)

    def _session(self, request: web.Request) -> Json | None:
        return self.sessions[request.match_info["project"]].get(request.match_info["session"])

    async def _get(self, request: web.Request) -> web.Response:
        if (resource := self._session(request)) is None:
            return _error(404, "Session not found")
        return web.json_response(resource | {"autoBranch": f"ambient/{resource['metadata']['name']}"})

    async def _update(self, request: web.Request) -> web.Response:
        """Change the display name; a timeout is accepted and ignored, as the real one does."""
        body, resource = await _object(request), self._session(request)
        if resource is None:
            return _error(404, "Session not found")
        if (phase := resource.get("status", {}).get("phase")) in {"Running", "Creating"}:
            text = "Cannot modify session specification while the session is running"
            return web.json_response({"error": text, "phase": phase}, status=409)
        resource["spec"] |= {key: value for key, value in (body or {}).items() if key == "displayName"}
        return web.json_response(resource)

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
        resource["metadata"]["annotations"][f"{PREFIX}desired-phase"] = phase
        return web.json_response(resource, status=202)

    def _is_up(self, request: web.Request) -> bool:
        status: Json = (self._session(request) or {}).get("status", {})
        return status.get("phase") == "Running"

    async def _run(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if body is None:
            return _error(400, "invalid input: unexpected end of JSON input")
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

    async def _export(self, request: web.Request) -> web.Response:
        """Return the log of that session name, whatever the project, even if the session was deleted."""
        name = request.match_info["session"]
        if name not in self.runner.logs:
            return _error(404, "Session not found")
        lines = self.runner.logs[name]
        events = b"null" if lines is None else b"[%b]" % b",".join(lines)
        head = {"sessionId": name, "projectName": request.match_info["project"], "exportDate": _now()}
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

    async def _logs(self, _request: web.Request) -> web.Response:
        """Respond as a platform without this endpoint."""
        return web.Response(status=404, text="404 page not found")


async def _object(request: web.Request) -> Json | None:
    """Return the first JSON value of a body if it is an object; the rest and the content type are ignored."""
    try:
        value, _ = json.JSONDecoder().raw_decode((await request.text()).lstrip())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
