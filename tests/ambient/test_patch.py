"""Which of the platform's endpoints a change goes to, and what none of them can do."""

import pytest

from app.backends.ambient.patch import Changes, changes
from app.errors import NotSupported
from app.models.sessions import SessionPatch


def test_each_part_goes_to_its_endpoint() -> None:
    assert changes(SessionPatch()) == Changes()
    assert changes(SessionPatch(display_name="New", labels={})) == Changes(display_name="New")
    assert changes(SessionPatch(labels={"a": "1"})) == Changes(annotations={"a": "1"})


def test_a_name_goes_with_the_time_limit_when_both_change() -> None:
    assert changes(SessionPatch(timeout_seconds=5)) == Changes(spec={"timeout": 5})
    assert changes(SessionPatch(timeout_seconds=5, display_name="New", labels={"a": ""})) == Changes(
        spec={"timeout": 5, "displayName": "New"}, annotations={"a": ""}
    )


@pytest.mark.parametrize(
    "patch",
    [
        SessionPatch(labels={"a": "1", "b": None}),
        SessionPatch(display_name="x" * 51),
        SessionPatch(display_name="a\tb", timeout_seconds=5),
    ],
)
def test_what_the_platform_cannot_do_is_not_supported(patch: SessionPatch) -> None:
    with pytest.raises(NotSupported):
        changes(patch)


def test_a_name_may_have_fifty_characters_of_any_script() -> None:
    assert changes(SessionPatch(display_name="é" * 50)).display_name == "é" * 50
