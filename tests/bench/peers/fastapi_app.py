"""The measured operations with FastAPI: pydantic validates requests and responses."""

from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Body, Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tests.bench.peers import outputs, platform_requests
from tests.bench.peers.sources import PlatformError, Source

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Format = Literal["transcript", "compact", "events"]
Status = Literal["pending", "running", "stopping", "stopped", "completed", "failed", "unknown"]


class Repo(BaseModel):
    """A repository in the workspace."""

    url: str
    branch: str | None = None


class Session(BaseModel):
    """One agent in one workspace."""

    model_config = ConfigDict(extra="forbid")

    id: str
    status: Status
    display_name: str | None = None
    task: str | None = None
    model: str | None = None
    repos: list[Repo] | None = None
    created_at: str | None = None
    completed_at: str | None = None
    result: str | None = None
    error: str | None = None
    labels: dict[str, str] | None = None
    timeout_seconds: int | None = None
    parent_session_id: str | None = None


class SessionPage(BaseModel):
    """A page of a project's sessions."""

    items: list[Session]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_offset: int | None = None


class NewMessage(BaseModel):
    """A user message."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[str, StringConstraints(max_length=1_000_000, pattern=r"^\s*[^\s\x00][^\x00]*$")]
    on_busy: Literal["enqueue", "reject", "interrupt"] = "enqueue"


class AcceptedRun(BaseModel):
    """An accepted run."""

    run_id: str
    thread_id: str


class Caller(NamedTuple):
    """The client of a request."""

    token: str
    project: str


class ListQuery(BaseModel):
    """The query of a list of sessions."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    offset: int = Field(0, ge=0, le=2**31 - 1)
    search: str | None = Field(None, max_length=255)
    status: list[Status] = []
    label: list[str] = []


async def caller(
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    x_ambient_project: Annotated[str | None, Header(pattern=NAME)] = None,
) -> Caller:
    """Return the token and the project of a request."""
    if token is None or not token.credentials:
        raise HTTPException(401, "Missing or malformed token", {"WWW-Authenticate": "Bearer"})
    if x_ambient_project is None:
        raise HTTPException(400, "X-Ambient-Project is missing")
    return Caller(token.credentials, x_ambient_project)


KnownCaller = Annotated[Caller, Depends(caller)]
SessionId = Annotated[str, Path(pattern=NAME)]


def make(source: Source) -> FastAPI:
    """Return the application."""
    app = FastAPI()

    @app.get("/v1/sessions/{session_id}", response_model=Session, response_model_exclude_none=True)
    async def get_session(who: KnownCaller, session_id: SessionId) -> Any:
        return await source.get(platform_requests.session(*who, session_id))

    @app.get("/v1/sessions", response_model=SessionPage, response_model_exclude_none=True)
    async def list_sessions(who: KnownCaller, query: Annotated[ListQuery, Query()]) -> Any:
        return await source.get(platform_requests.page(*who, query.limit, query.offset))

    @app.post("/v1/sessions/{session_id}/message", response_model=AcceptedRun, status_code=202)
    async def send_message(who: KnownCaller, session_id: SessionId, message: Annotated[NewMessage, Body()]) -> Any:
        session = await source.get(platform_requests.session(*who, session_id))
        if session["status"] != "running":
            raise HTTPException(422, "The session is not running")
        return await source.get(platform_requests.run(*who, session_id, message.content))

    @app.get("/v1/sessions/{session_id}/output")
    async def get_session_output(who: KnownCaller, session_id: SessionId, format: Format = "transcript") -> Response:
        await source.get(platform_requests.session(*who, session_id))
        export = await source.body(platform_requests.export(*who, session_id))
        body = await run_in_threadpool(outputs.output, export, session_id, format)
        return Response(body, media_type="application/json")

    @app.get("/v1/sessions/{session_id}/runs")
    async def list_runs(who: KnownCaller, session_id: SessionId) -> Response:
        await source.get(platform_requests.session(*who, session_id))
        export = await source.body(platform_requests.export(*who, session_id))
        return Response(await run_in_threadpool(outputs.runs, export, session_id), media_type="application/json")

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        details = [{"location": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
        return JSONResponse({"error": "The request is not valid", "details": details}, 400)

    @app.exception_handler(PlatformError)
    async def failed(_request: Request, error: PlatformError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status)

    return app
