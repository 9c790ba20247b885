"""Document and handlers name the same operations, and a server whose two sides disagree does not start."""

import ast
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from connexion.middleware import ConnexionMiddleware

import handlers
from app import spec
from app.contract.middleware import METHODS, CompiledContract, own_api
from app.contract.operation import ContractError
from app.errors import NotFound
from app.models.caller import Caller
from app.models.sessions import Session
from app.port.backend import PARTS, Backend
from tests.support.contract import CannedBackend, lifespan

Handler = Callable[..., Awaitable[Any]]

MODULES: dict[str, ModuleType] = {
    found.name: importlib.import_module(f"handlers.{found.name}") for found in pkgutil.iter_modules(handlers.__path__)
}
HANDLERS: dict[str, Handler] = {
    name: function
    for module in MODULES.values()
    for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
    if not name.startswith("_") and function.__module__ == module.__name__
}


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        item[method]["operationId"]: item[method]
        for item in document["paths"].values()
        for method in METHODS
        if method in item
    }


OPERATIONS = operations(spec.load())
METHODS_OF_THE_PORT = {"whoami": "backend.whoami"} | {
    name: f"backend.{part}.{name}"
    for part, port in PARTS.items()
    for name, _ in inspect.getmembers(port, inspect.iscoroutinefunction)
}


async def nothing_else(scope: Any, _receive: Any, _send: Any) -> None:
    if scope["type"] == "http":
        raise NotFound


async def start(document: dict[str, Any], functions: dict[str, Handler]) -> None:
    contract = functools.partial(
        CompiledContract, handlers=functions, backend=CannedBackend(), max_body=1000, max_raw_body=1000
    )
    app = ConnexionMiddleware(nothing_else, middlewares=[contract])
    app.apis.append(own_api(document))
    await app({"type": "http", "raw_path": b"/", "path": "/", "headers": []}, _none, _none)


async def _none(*_arguments: Any) -> Any:
    return {"type": "http.disconnect"}


def test_operations_and_handlers_have_the_same_names() -> None:
    assert set(OPERATIONS) == set(HANDLERS)


def test_every_module_serves_a_tag_and_every_tag_has_its_module() -> None:
    tags = {tag["name"].lower() for tag in spec.load()["tags"]}
    assert set(MODULES) == tags


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_a_handler_lives_in_the_module_of_its_tag(operation_id: str) -> None:
    assert [f"handlers.{tag.lower()}" for tag in OPERATIONS[operation_id]["tags"]] == [
        HANDLERS[operation_id].__module__
    ]


@pytest.mark.parametrize("operation_id", HANDLERS)
def test_a_handler_is_a_few_plain_statements(operation_id: str) -> None:
    function = ast.parse(inspect.getsource(HANDLERS[operation_id])).body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    assert ast.get_docstring(function)
    assert 1 <= len(function.body) - 1 <= 6
    assert not [node for node in ast.walk(function) if isinstance(node, ast.Try | ast.If | ast.For | ast.While)]


@pytest.mark.parametrize("operation_id", HANDLERS)
def test_a_handler_calls_the_method_of_its_own_name(operation_id: str) -> None:
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(inspect.getsource(HANDLERS[operation_id])))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("backend.")
    }
    assert called == {METHODS_OF_THE_PORT[operation_id]}


async def test_the_contract_starts_when_both_sides_agree() -> None:
    with pytest.raises(NotFound):
        await start(spec.load(), HANDLERS)


@pytest.mark.parametrize("operation_id", ["whoami", "send_message", "get_workspace_patch"])
async def test_the_start_fails_when_a_handler_is_missing(operation_id: str) -> None:
    fewer = {name: function for name, function in HANDLERS.items() if name != operation_id}
    with pytest.raises(ContractError, match=f"no handler for the operation {operation_id}"):
        await start(spec.load(), fewer)


async def test_the_start_fails_when_a_handler_has_no_operation() -> None:
    with pytest.raises(ContractError, match="handlers without an operation in the document: surprise"):
        await start(spec.load(), {**HANDLERS, "surprise": HANDLERS["get_session"]})


async def _without_backend(caller: Caller, *, session_id: str) -> None: ...


async def _with_more(backend: Backend, caller: Caller, *, session_id: str, wait: int, after: str) -> None: ...


async def _with_body(backend: Backend, caller: Caller, *, session_id: str, body: Session) -> None: ...


@pytest.mark.parametrize("handler", [_without_backend, _with_more, _with_body])
async def test_the_start_fails_when_a_handler_takes_other_arguments(handler: Handler) -> None:
    with pytest.raises(ContractError, match="get_session: the document gives"):
        await start(spec.load(), {**HANDLERS, "get_session": handler})


async def test_the_start_fails_when_the_document_gives_a_parameter_that_no_handler_takes() -> None:
    document = spec.load()
    surprise = {"name": "surprise", "in": "query", "schema": {"type": "integer"}}
    operations(document)["get_run"].setdefault("parameters", []).append(surprise)
    with pytest.raises(ContractError, match="get_run: the document gives"):
        await start(document, HANDLERS)


async def test_a_server_does_not_come_up_when_the_contract_fails() -> None:
    contract = functools.partial(
        CompiledContract, handlers={}, backend=CannedBackend(), max_body=1000, max_raw_body=1000
    )
    app = ConnexionMiddleware(nothing_else, middlewares=[contract])
    app.apis.append(own_api(spec.load()))
    with pytest.raises(ContractError):
        async with lifespan(app):
            pytest.fail("the server came up")
