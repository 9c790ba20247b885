"""From raw paths to resources."""

import pytest

from app.contract.routing import Router, decode_segment
from app.errors import BadRequest, MethodNotAllowed


@pytest.fixture
def router() -> Router[str]:
    router: Router[str] = Router()
    router.add("/v1/sessions/{id}", "GET", "get")
    router.add("/v1/sessions/{id}", "DELETE", "delete")
    router.add("/v1/sessions/mine", "GET", "mine")
    router.add("/v1/sessions", "POST", "create")
    return router


def test_a_literal_goes_before_a_parameter_whatever_their_order(router: Router[str]) -> None:
    mine, other = router.find(b"/v1/sessions/mine"), router.find(b"/v1/sessions/s1")
    assert mine is not None
    assert other is not None
    assert mine[0].method("GET") == "mine"
    assert other[0].method("GET") == "get"
    assert other[1] == {"id": "s1"}


def test_an_encoded_slash_stays_in_its_segment(router: Router[str]) -> None:
    found = router.find(b"/v1/sessions/a%2Fb")
    assert found is not None
    assert decode_segment("id", found[1]["id"]) == "a/b"


def test_an_encoded_literal_is_the_literal(router: Router[str]) -> None:
    assert router.find(b"/v1/%73essions") is not None


@pytest.mark.parametrize(
    "path", [b"/", b"", b"//v1/sessions", b"/v1/sessions/", b"/v1/sessions/a/b", b"/V1/sessions", b"/v1//sessions"]
)
def test_another_path_is_not_found(router: Router[str], path: bytes) -> None:
    assert router.find(path) is None


def test_a_405_lists_every_method_of_the_path(router: Router[str]) -> None:
    found = router.find(b"/v1/sessions/s1")
    assert found is not None
    with pytest.raises(MethodNotAllowed) as caught:
        found[0].method("PATCH")
    assert caught.value.headers == {"Allow": "DELETE, GET, HEAD, OPTIONS"}


def test_head_is_answered_wherever_get_is(router: Router[str]) -> None:
    found = router.find(b"/v1/sessions/s1")
    assert found is not None
    assert found[0].method("HEAD") == "get"


def test_a_segment_is_refused_when_it_is_no_utf8() -> None:
    with pytest.raises(BadRequest):
        decode_segment("id", "%ff")
