"""From raw paths to operations."""

from typing import cast

import pytest

from app.contract.http_operation import HttpOperation
from app.contract.input import Parameter
from app.contract.middleware import Router
from app.errors import BadRequest, MethodNotAllowed


def operation(name: str) -> HttpOperation:
    """Something that stands for an operation."""
    return cast(HttpOperation, name)


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add("/v1/sessions/{id}", "GET", operation("get"))
    router.add("/v1/sessions/{id}", "DELETE", operation("delete"))
    router.add("/v1/sessions/mine", "GET", operation("mine"))
    router.add("/v1/sessions", "POST", operation("create"))
    return router


def test_a_literal_takes_precedence_over_a_parameter_whatever_their_order(router: Router) -> None:
    mine, other = router.find(b"/v1/sessions/mine"), router.find(b"/v1/sessions/s1")
    assert mine is not None
    assert other is not None
    assert mine[0].operation("GET") == operation("mine")
    assert other[0].operation("GET") == operation("get")
    assert other[1] == {"id": "s1"}


def test_an_encoded_slash_stays_in_its_segment(router: Router) -> None:
    found = router.find(b"/v1/sessions/a%2Fb")
    assert found is not None
    assert path_parameter().parse_segment(found[1]["id"]) == "a/b"


def test_an_encoded_literal_is_the_literal(router: Router) -> None:
    assert router.find(b"/v1/%73essions") is not None


@pytest.mark.parametrize(
    "path", [b"/", b"", b"//v1/sessions", b"/v1/sessions/", b"/v1/sessions/a/b", b"/V1/sessions", b"/v1//sessions"]
)
def test_another_path_is_not_found(router: Router, path: bytes) -> None:
    assert router.find(path) is None


def test_a_405_lists_every_method_of_the_path(router: Router) -> None:
    found = router.find(b"/v1/sessions/s1")
    assert found is not None
    with pytest.raises(MethodNotAllowed) as caught:
        found[0].operation("PATCH")
    assert caught.value.headers == {"Allow": "DELETE, GET, HEAD, OPTIONS"}


def test_head_is_served_wherever_get_is(router: Router) -> None:
    found = router.find(b"/v1/sessions/s1")
    assert found is not None
    assert found[0].operation("HEAD") == operation("get")


def test_a_segment_is_refused_when_it_is_no_utf8() -> None:
    with pytest.raises(BadRequest):
        path_parameter().parse_segment("%ff")


def path_parameter() -> Parameter:
    return Parameter({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
