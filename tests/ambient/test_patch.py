"""Which of the platform's endpoints a change goes to, and what none of them can do."""

import pytest

from app.backends.ambient.patch import PatchParts, split_patch
from app.errors import NotSupported
from app.models.sessions import SessionPatch


def test_each_part_goes_to_its_endpoint() -> None:
    assert split_patch(SessionPatch()) == PatchParts()
    assert split_patch(SessionPatch(display_name="New", labels={})) == PatchParts(display_name="New")
    assert split_patch(SessionPatch(labels={"a": "1"})) == PatchParts(annotations={"a": "1"})


def test_a_name_goes_with_the_time_limit_when_both_change() -> None:
    assert split_patch(SessionPatch(timeout_seconds=5)) == PatchParts(spec={"timeout": 5})
    assert split_patch(SessionPatch(timeout_seconds=5, display_name="New", labels={"a": ""})) == PatchParts(
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
        split_patch(patch)


def test_a_name_may_have_fifty_characters_of_any_script() -> None:
    assert split_patch(SessionPatch(display_name="é" * 50)).display_name == "é" * 50
