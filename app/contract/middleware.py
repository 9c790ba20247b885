"""The compiled contract as the one middleware inside Connexion: it compiles the document and routes requests."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from connexion.middleware.abstract import SpecMiddleware
from connexion.middleware.main import API
from connexion.middleware.security import SecurityOperation
from connexion.security import SecurityHandlerFactory
from connexion.spec import OpenAPISpecification, Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from app.contract import security
from app.contract.http_operation import HttpOperation, Responses
from app.contract.operation import ContractError, Handler, Operation
from app.errors import MethodNotAllowed
from app.port.backend import Backend
from app.server.connections import UNBOUNDED
from app.server.ratelimit import RateLimiter
from app.server.request import RequestContext
from app.server.streaming import OpenStreams

METHODS = ("get", "put", "post", "delete", "patch")


def own_api(document: dict[str, Any]) -> API:
    """Return the server's own document for Connexion, which does not validate it at each start: the tests do."""
    return API(_OwnSpecification(document), base_path=None, security_map=security.SECURITY_MAP)


class _OwnSpecification(OpenAPISpecification):  # type: ignore[misc]  # Connexion ships no types
    @classmethod
    def _validate_spec(cls, _spec: dict[str, Any]) -> None:
        pass


class CompiledContract(SpecMiddleware):  # type: ignore[misc]  # Connexion ships no types
    """Serves every operation of the document; a request for any other path goes to the next app.

    `operations` has those of all documents that were added, by their ids, for callers that do not use HTTP.
    """

    def __init__(
        self,
        next_app: ASGIApp,
        *,
        handlers: Mapping[str, Handler],
        backend: Backend,
        max_body: int,
        max_raw_body: int,
        streams: OpenStreams | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self.operations: dict[str, Operation] = {}
        self._next_app = next_app
        self._handlers = handlers
        self._backend = backend
        self._max_body = max_body
        self._max_raw_body = max_raw_body
        self._limiter = limiter or RateLimiter(UNBOUNDED, UNBOUNDED)
        self._streams = OpenStreams() if streams is None else streams
        self._router = Router()

    def add_api(self, specification: Specification, *, security_map: dict[str, Any], **_options: Any) -> None:
        """Compile a document. Connexion calls it once, before the first request. Raises `ContractError`."""
        definitions = [
            (path, method, specification.get_operation(path, method))
            for path, item in specification["paths"].items()
            for method in METHODS
            if method in item
        ]
        paths = {definition["operationId"]: specification.base_path + path for path, _, definition in definitions}
        if unknown := self._handlers.keys() - paths:
            raise ContractError(f"handlers without an operation in the document: {', '.join(sorted(unknown))}")
        factory = SecurityHandlerFactory(security_map)
        in_flight: set[bytes] = set()
        for path, method, definition in definitions:
            operation_id = definition["operationId"]
            handler = self._handlers.get(operation_id)
            if handler is None:
                raise ContractError(f"no handler for the operation {operation_id}")
            parameters = [*specification.get_path_params(path), *definition.get("parameters", [])]
            operation = Operation(
                {**definition, "parameters": parameters}, handler, backend=self._backend, in_flight=in_flight
            )
            verification = SecurityOperation(
                self._next_app,
                security_handler_factory=factory,
                security=definition.get("security", specification.security),
                security_schemes=specification.security_schemes,
            )
            self.operations[operation_id] = operation
            self._router.add(
                paths[operation_id],
                method.upper(),
                HttpOperation(
                    operation,
                    method.upper(),
                    Responses(definition, paths),
                    authenticate=security.authenticator(verification.verification_fn),
                    max_body=self._max_body,
                    max_raw_body=self._max_raw_body,
                    streams=self._streams,
                    limiter=self._limiter,
                ),
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to its operation."""
        if scope["type"] != "http" or (found := self._router.find(scope["raw_path"])) is None:
            await self._next_app(scope, receive, send)
            return
        resource, segments = found
        context = RequestContext.of(scope)
        context.allow = resource.allow
        if context.method == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", resource.allow.encode())]})
            await send({"type": "http.response.body", "body": b""})
            return
        operation = resource.operation(context.method)
        context.operation_id = operation.operation_id
        await operation(context, receive, send, segments)


# Routing


class Resource:
    """One path of the document, with an operation for each of its methods."""

    def __init__(self, template: str) -> None:
        self.segments = template.split("/")
        self.operations: dict[str, HttpOperation] = {}
        numbered = list(enumerate(self.segments))
        # From the last to the first, because resources of one length most often differ at the end.
        self._literals = [(index, name) for index, name in reversed(numbered) if not name.startswith("{")]
        self._parameters = [(index, name[1:-1]) for index, name in numbered if name.startswith("{")]

    @cached_property
    def allow(self) -> str:
        """Return the value of an `Allow` header: HEAD wherever GET is, OPTIONS always."""
        implied = {"HEAD", "OPTIONS"} if "GET" in self.operations else {"OPTIONS"}
        return ", ".join(sorted(self.operations.keys() | implied))

    def operation(self, method: str) -> HttpOperation:
        """Return the operation for a method; raise `MethodNotAllowed`."""
        operation = self.operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise MethodNotAllowed(self.allow)
        return operation

    def match(self, segments: list[str], decoded: list[str]) -> dict[str, str] | None:
        """Return the path parameters, still encoded, of a path with as many segments; None if it is another path."""
        for index, expected in self._literals:
            if expected != decoded[index]:
                return None
        parameters = {name: segments[index] for index, name in self._parameters}
        return parameters if all(parameters.values()) else None


class Router:
    """All paths of the document. A literal segment takes precedence over a parameter."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Resource]] = {}

    def add(self, template: str, method: str, operation: HttpOperation) -> None:
        """Register the operation for a method (upper case) of a path template."""
        segments = template.split("/")
        resources = self._by_length.setdefault(len(segments), [])
        resource = next((known for known in resources if known.segments == segments), None)
        if resource is None:
            resource = Resource(template)
            resources.append(resource)
            resources.sort(key=lambda known: [segment.startswith("{") for segment in known.segments])
        resource.operations[method] = operation

    def find(self, raw_path: bytes) -> tuple[Resource, dict[str, str]] | None:
        """Return the resource at a raw path, and its path parameters, still encoded.

        The path is split before it is decoded, so that an encoded slash stays inside its segment.
        """
        segments = raw_path.decode("latin-1").split("/")
        decoded = [unquote(segment) for segment in segments] if b"%" in raw_path else segments
        for resource in self._by_length.get(len(segments), ()):
            if (parameters := resource.match(segments, decoded)) is not None:
                return resource, parameters
        return None
