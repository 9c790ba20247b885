"""Changes as calls of the platform, and those that it does not support."""

import pytest

from app.backends.ambient.patch import PatchParts, split_patch
from app.errors import NotSupported
from app.models.sessions import SessionUpdate


def test_each_part_goes_to_its_own_endpoint() -> None:
    assert split_patch(SessionUpdate()) == PatchParts()
    assert split_patch(SessionUpdate(display_name="New", labels={})) == PatchParts(display_name="New")
    assert split_patch(SessionUpdate(labels={"a": "1"})) == PatchParts(annotations={"a": "1"})


def test_name_is_part_of_the_spec_when_the_time_limit_changes_too() -> None:
    assert split_patch(SessionUpdate(timeout_seconds=5)) == PatchParts(spec={"timeout": 5})
    assert split_patch(SessionUpdate(timeout_seconds=5, display_name="New", labels={"a": ""})) == PatchParts(
        spec={"timeout": 5, "displayName": "New"}, annotations={"a": ""}
    )


@pytest.mark.parametrize(
    "patch",
    [
        SessionUpdate(labels={"a": "1", "b": None}),
        SessionUpdate(display_name="x" * 51),
        SessionUpdate(display_name="a\tb", timeout_seconds=5),
    ],
)
def test_change_that_the_platform_cannot_make_is_not_supported(patch: SessionUpdate) -> None:
    with pytest.raises(NotSupported):
        split_patch(patch)


def test_name_may_have_fifty_characters_of_any_script() -> None:
    assert split_patch(SessionUpdate(display_name="é" * 50)).display_name == "é" * 50
