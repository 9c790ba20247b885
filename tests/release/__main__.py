"""`python -m tests.release check`: does the document break clients of a release? `… prepare VERSION`: make a release.

A release is a version in pyproject.toml and in the document, a heading in CHANGELOG.md, and the document itself under
openapi/released/. Both commands change or read files only; committing and tagging is left to people.
"""

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from app import spec
from tests.release.compatibility import breaking_changes

ROOT = Path(__file__).resolve().parents[2]
OASDIFF = ROOT / ".venv/oasdiff"
VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")
Version = tuple[int, ...]


class ReleaseError(Exception):
    """The release cannot be made; the message says why."""


def main(*arguments: str) -> None:
    """Run one of the commands."""
    try:
        match arguments:
            case ("check",):
                check(ROOT)
            case ("prepare", version):
                prepare(ROOT, version)
            case _:
                sys.exit("usage: python -m tests.release check | prepare VERSION")
    except ReleaseError as error:
        sys.exit(str(error))


def check(root: Path) -> None:
    """Compare the document with the last released one; raise `ReleaseError` if it breaks clients."""
    released = _released(root)
    if not released:
        print("no document was released yet: every change is permitted")  # noqa: T201
        return
    last = released[max(released)]
    with tempfile.NamedTemporaryFile(suffix=".yaml") as current:
        current.write(_document(root))
        current.flush()
        if changes := breaking_changes(OASDIFF, last, Path(current.name)):
            raise ReleaseError("\n".join([f"the document breaks clients of {last.stem}:", *changes]))


def prepare(root: Path, version: str) -> None:
    """Set the version everywhere and keep the document as released.

    Raises `ReleaseError` if the version is no newer one, the changelog has no changes, or the document breaks clients.
    """
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION must be three numbers such as 1.2.3, not {version!r}")
    released = _released(root)
    if released and _numbers(version) <= max(released):
        raise ReleaseError(f"{version} is not newer than {released[max(released)].stem}")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    heading, _, rest = text.partition("## [Unreleased]\n")
    if not rest.partition("\n## ")[0].strip():
        raise ReleaseError("CHANGELOG.md has no changes under [Unreleased]")
    if f"\n## [{version}]" in rest:
        raise ReleaseError(f"CHANGELOG.md has {version} already")
    check(root)
    today = datetime.now(UTC).date()
    changelog.write_text(f"{heading}## [Unreleased]\n\n## [{version}] - {today}\n{rest}", encoding="utf-8")
    _replace(root / "pyproject.toml", r'(?m)^version = ".*"$', f'version = "{version}"')
    _replace(root / "openapi/openapi.yaml", r"(?m)^  version: .*$", f"  version: {version}")
    target = root / f"openapi/released/v{version}.yaml"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(_document(root))
    print(f"commit this, then: git tag v{version}")  # noqa: T201


def _document(root: Path) -> bytes:
    return spec.as_yaml(spec.published(spec.load(root / "openapi"))).encode()


def _released(root: Path) -> dict[Version, Path]:
    return {_numbers(path.stem[1:]): path for path in (root / "openapi/released").glob("v*.yaml")}


def _numbers(version: str) -> Version:
    return tuple(int(number) for number in version.split("."))


def _replace(path: Path, pattern: str, replacement: str) -> None:
    changed, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    if not count:
        raise ReleaseError(f"{path.name} has no version")
    path.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
