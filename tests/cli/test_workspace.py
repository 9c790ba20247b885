"""`sessions diff`, `files`, `get`, `put`, `archive` and `push`, with bytes and names of every kind."""

import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Client
from tests.support.api import Api
from tests.support.cutting import cutting
from tests.support.repositories import git, make_repository
from tests.support.stage import EmbeddedStage

HOSTILE = "a \x1b[2J\tb\u202e.txt"
QUOTED = '"a \\033[2J\\tb\\342\\200\\256.txt"'
LATIN_1 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def workspace(embedded: EmbeddedStage, embedded_api: Api, session: str) -> Path:
    """The directory of the session, which is empty."""
    return embedded.directory / "workspaces" / str(embedded_api.project) / session


class TestDiff:
    def test_it_is_the_patch_that_git_applies(
        self, client: Client, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        (workspace / "docs").mkdir()
        (workspace / "docs/one.bin").write_bytes(os.urandom(5000))
        (workspace / HOSTILE).write_text("x\n")

        done = client("sessions", "diff", session)
        (tmp_path / "a.patch").write_bytes(done.stdout_bytes)
        (tmp_path / "part.patch").write_bytes(client("sessions", "diff", session, "docs/").stdout_bytes)

        for patch, paths in (("a.patch", {"docs/one.bin", HOSTILE}), ("part.patch", {"one.bin"})):
            target = tmp_path / f"applied {patch}"
            target.mkdir()
            subprocess.run(["git", "apply", f"../{patch}"], cwd=target, check=True)  # noqa: S603, S607 - our own
            assert {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()} == paths

    def test_a_list_of_the_changes_has_one_line_for_each_file(
        self, client: Client, session: str, workspace: Path
    ) -> None:
        (workspace / HOSTILE).write_text("x\ny\n")
        (workspace / "data").write_bytes(b"\0\1")

        done = client("sessions", "diff", session, "--stat")

        assert done.stdout == f"added\t2\t0\t{QUOTED}\nadded\t-\t-\tdata\n"
        assert done.stderr == "2 files have changed (+2 -0).\n"
        assert json.loads(client("sessions", "diff", session, "--json").stdout)["file_count"] == 2

    def test_without_changes_it_is_empty(self, client: Client, session: str) -> None:
        done = client("sessions", "diff", session)

        assert (done.exit_code, done.output) == (0, "")


class TestFiles:
    def test_each_is_a_line_whatever_its_name(self, client: Client, session: str, workspace: Path) -> None:
        (workspace / "docs/deep").mkdir(parents=True)
        (workspace / "docs/deep/x").touch()
        for name in (HOSTILE, LATIN_1, "two  spaces"):
            (workspace / name).write_text("12")

        rows = [line.split("\t") for line in client("sessions", "files", session, "--depth", "2").stdout.splitlines()]

        assert [(size, name) for size, _, name in rows] == [
            ("2", QUOTED),
            ("2", '"caf\\351"'),
            ("-", "docs/"),
            ("2", "two  spaces"),
            ("-", "docs/deep/"),
        ]

    def test_the_rest_of_a_long_list_is_announced(self, client: Client, session: str, workspace: Path) -> None:
        for name in "ab":
            (workspace / name).touch()

        done = client("sessions", "files", session, ".", "--limit", "1", "--json")
        assert json.loads(done.stdout)["truncated"] is True
        assert client("sessions", "files", session, "--limit", "1").stderr == (
            "There is more: name a directory, or raise --limit.\n"
        )


class TestGet:
    @pytest.mark.parametrize("name", ["plain", HOSTILE, LATIN_1])
    def test_its_bytes_are_printed_as_they_are(self, client: Client, session: str, workspace: Path, name: str) -> None:
        data = os.urandom(200_000) + b"\r\n"
        (workspace / name).write_bytes(data)

        done = client("sessions", "get", session, name)

        assert (done.exit_code, done.stdout_bytes, done.stderr) == (0, data, "")

    def test_a_file_is_replaced_only_on_demand(
        self, client: Client, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        (workspace / "docs").mkdir()
        (workspace / "docs/notes").write_text("new")
        here = tmp_path / "out"
        here.mkdir()

        assert client("sessions", "get", session, "docs/notes", "-o", str(here)).exit_code == 0
        assert (here / "notes").read_text() == "new"
        (here / "notes").write_text("mine")
        refused = client("sessions", "get", session, "docs/notes", "-o", str(here / "notes"))
        assert (refused.exit_code, refused.stderr) == (1, f"{here / 'notes'} exists already; --force replaces it.\n")
        missing = client("sessions", "get", session, "docs/gone", "-o", str(here / "notes"), "--force")
        assert missing.exit_code == 1
        assert (here / "notes").read_text() == "mine"
        assert client("sessions", "get", session, "docs/notes", "-o", str(here / "notes"), "-f").exit_code == 0
        assert (here / "notes").read_text() == "new"
        assert client("sessions", "get", session, "docs/gone", "-o", str(here / "gone")).exit_code == 1
        assert [entry.name for entry in here.iterdir()] == ["notes"]

    def test_a_lost_connection_is_resumed(
        self, client: Client, embedded_api: Api, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        data = os.urandom(1_000_000)
        (workspace / "large").write_bytes(data)

        with cutting(int(embedded_api.url.rpartition(":")[2]), 300_000, 300_000) as relay:
            done = client("sessions", "get", session, "large", "-o", str(tmp_path / "large"), AMBIENT_URL=relay.url)

        assert done.exit_code == 0, done.stderr
        assert (tmp_path / "large").read_bytes() == data

    def test_nothing_is_left_of_a_file_that_changes_meanwhile(
        self, client: Client, embedded_api: Api, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        (workspace / "large").write_bytes(bytes(40_000_000))
        port = int(embedded_api.url.rpartition(":")[2])
        with cutting(port, 300_000) as relay:
            relay.on_cut = lambda: (workspace / "large").write_bytes(b"other")
            done = client("sessions", "get", session, "large", "-o", str(tmp_path / "large"), AMBIENT_URL=relay.url)

        assert done.exit_code == 1
        assert done.stderr.endswith("The file has changed while it was read; try again.\n")
        assert not (tmp_path / "large").exists()


class TestPut:
    @pytest.mark.parametrize("data", [b"", b"\0\xff\r\n" * 100_000])
    def test_a_file_or_standard_input_is_written(
        self, client: Client, session: str, workspace: Path, tmp_path: Path, data: bytes
    ) -> None:
        (tmp_path / "input").write_bytes(data)

        assert client("sessions", "put", session, str(tmp_path / "input")).exit_code == 0
        assert client("sessions", "put", session, str(tmp_path / "input"), "in/").exit_code == 0
        assert client("sessions", "put", session, "-", "in/piped", stdin=data).exit_code == 0

        assert {(workspace / name).read_bytes() for name in ("input", "in/input", "in/piped")} == {data}

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            (("-",), 2, "has to name a file for standard input"),
            (("no-such-file",), 1, "no-such-file cannot be read: No such file or directory."),
            (("/",), 2, "has to name a file"),
            ((__file__, "../x"), 1, "The workspace has no such file, or the path leads out of it."),
        ],
    )
    def test_a_wrong_path_is_named(
        self, client: Client, session: str, arguments: tuple[str, ...], status: int, message: str
    ) -> None:
        done = client("sessions", "put", session, *arguments)

        assert done.exit_code == status
        assert message in done.stderr


class TestArchive:
    def test_all_files_are_saved_or_sent_to_a_pipe(
        self, client: Client, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        (workspace / "docs").mkdir()
        (workspace / "docs/notes").write_text("hello")

        piped = client("sessions", "archive", session)
        with tarfile.open(fileobj=io.BytesIO(piped.stdout_bytes)) as archive:
            assert "docs/notes" in archive.getnames()
        assert client("sessions", "archive", session, "docs", "-o", str(tmp_path / "a.zip")).exit_code == 0
        assert zipfile.ZipFile(tmp_path / "a.zip").read("notes") == b"hello"
        assert client("sessions", "archive", session, "-o", str(tmp_path)).exit_code == 0
        assert tarfile.is_tarfile(tmp_path / f"{session}.tar.gz")

    def test_nothing_is_left_when_the_connection_breaks(
        self, client: Client, embedded_api: Api, session: str, workspace: Path, tmp_path: Path
    ) -> None:
        (workspace / "large").write_bytes(os.urandom(1_000_000))

        with cutting(int(embedded_api.url.rpartition(":")[2]), 300_000) as relay:
            done = client("sessions", "archive", session, "-o", str(tmp_path / "a.zip"), AMBIENT_URL=relay.url)

        assert (done.exit_code, done.stderr) == (4, "The connection was lost before the end.\n")
        assert not (tmp_path / "a.zip").exists()


class TestPush:
    def test_the_work_is_on_a_branch(
        self, client: Client, embedded: EmbeddedStage, embedded_api: Api, tmp_path: Path
    ) -> None:
        url = make_repository(tmp_path, "shop", README="shop\n")
        git(tmp_path, "clone", "--quiet", "--bare", url, "shop.git")
        bare = tmp_path / "shop.git"
        session = embedded.session(
            embedded_api, "running", task="append shop/README more", repos=[{"url": f"file://{bare}"}]
        )

        done = client("sessions", "push", session, "--branch", "mend", "--message", "Mend it", "--repo", "shop")

        assert done.exit_code == 0, done.stderr
        assert done.stdout == f"{git(bare, 'rev-parse', 'mend').strip()}\tmend\n"
        assert git(bare, "log", "--format=%s", "mend").splitlines() == ["Mend it", "README"]
        assert json.loads(client("sessions", "push", session, "-b", "mend", "--json").stdout)["branch"] == "mend"

    def test_a_refusal_is_one_line(self, client: Client, session: str) -> None:
        done = client("sessions", "push", session, "--branch", "mend")

        assert (done.exit_code, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
