"""The compiled contract as the one middleware inside Connexion."""

from collections.abc import Mapping
from typing import Any

from connexion.middleware.abstract import SpecMiddleware
from connexion.middleware.security import SecurityOperation
from connexion.security import SecurityHandlerFactory
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from app.backend import Backend
from app.contract import security
from app.contract.idempotency import InFlightKeys
from app.contract.operation import ContractError, Handler, HttpOperation
from app.contract.routing import Resource, Router

METHODS = ("get", "put", "post", "delete", "patch")


class CompiledContract(SpecMiddleware):  # type: ignore[misc]  # Connexion ships no types
    """Serves every operation of the document; any other path goes to the next app."""

    def __init__(self, next_app: ASGIApp, *, handlers: Mapping[str, Handler], backend: Backend, max_body: int) -> None:
        self._next_app = next_app
        self._handlers = handlers
        self._backend = backend
        self._max_body = max_body
        self._in_flight = InFlightKeys()
        self._router: Router[HttpOperation] = Router()

    def add_api(self, specification: Specification, *, security_map: dict[str, Any], **_options: Any) -> None:
        """Compile a specification: called by Connexion once, before the first request; raises `PlanError`."""
        missing = set(self._handlers)
        factory = SecurityHandlerFactory(security_map)
        for path, item in specification["paths"].items():
            for method in METHODS:
                if method in item:
                    plan = self._compile(specification, path, method, factory)
                    missing.discard(plan.operation_id)
                    self._router.add(specification.base_path + path, method.upper(), plan)
        if missing:
            raise ContractError(f"handlers without an operation in the document: {', '.join(sorted(missing))}")

    def _compile(
        self, specification: Specification, path: str, method: str, factory: SecurityHandlerFactory
    ) -> HttpOperation:
        operation = dict(specification.get_operation(path, method))
        operation["parameters"] = [*specification.get_path_params(path), *operation.get("parameters", [])]
        handler = self._handlers.get(operation["operationId"])
        if handler is None:
            raise ContractError(f"no handler for the operation {operation['operationId']}")
        verification = SecurityOperation(
            self._next_app,
            security_handler_factory=factory,
            security=operation.get("security", specification.security),
            security_schemes=specification.security_schemes,
        )
        return HttpOperation(
            operation,
            method.upper(),
            handler,
            authenticate=security.authenticator(verification.verification_fn),
            backend=self._backend,
            max_body=self._max_body,
            in_flight=self._in_flight,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the plan of the matched operation."""
        if scope["type"] != "http" or (found := self._router.find(scope["raw_path"])) is None:
            await self._next_app(scope, receive, send)
            return
        resource, segments = found
        if scope["method"] == "OPTIONS":
            await _send_options(send, resource)
            return
        plan = resource.method(scope["method"])
        scope["operation_id"], scope["allow"] = plan.operation_id, resource.allow
        await plan(scope, receive, send, segments)


async def _send_options(send: Send, resource: Resource[HttpOperation]) -> None:
    headers = [(b"allow", resource.allow.encode("ascii"))]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
