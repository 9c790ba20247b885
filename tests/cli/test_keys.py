"""`keys`: create, list and revoke access keys, with and without a running server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.api import Api
from tests.support.command import invoke
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage
from tests.support.store import sqlite_only

CREATE = ("create", "--new-store", "--project", "shop", "--role", "view")

Keys = Callable[..., Result]


class TestWithoutServer:
    @pytest.mark.parametrize("command", [["list"], ["revoke", "nope"], ["create", "--project", "a", "--role", "view"]])
    def test_no_store_is_created_unless_the_option_asks_for_it(self, tmp_path: Path, command: list[str]) -> None:
        done = invoke(tmp_path, "keys", *command)

        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"There is no session store {tmp_path / 'data' / 'ambient.db'}. ")
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_new_key_is_one_line_and_its_store_is_named_beside_it(self, tmp_path: Path) -> None:
        first, second = (invoke(tmp_path, "keys", *CREATE) for _ in range(2))

        for done in (first, second):
            assert done.exit_code == 0
            [key] = done.stdout.splitlines()
            assert key.startswith("ak_")
            assert done.stderr.endswith(f" in {tmp_path / 'data' / 'ambient.db'}.\n")

    def test_a_key_that_is_not_known_cannot_be_revoked(self, tmp_path: Path) -> None:
        invoke(tmp_path, "keys", *CREATE)

        done = invoke(tmp_path, "keys", "revoke", "nope")

        assert (done.exit_code, done.stderr) == (1, "Key not found.\n")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--project", "Shop", "--role", "view"], "--project"),
            (["--project", "shop\n", "--role", "view"], "--project"),
            (["--project", "shop", "--role", "owner"], "--role"),
            (["--project", "shop", "--role", "view", "--name", "a\tb"], "--name"),
            (["--project", "shop", "--role", "view", "--expires", "1y"], "--expires"),
            (["--project", "shop", "--role", "view", "--expires", "soon"], "--expires"),
            (["--project", "shop", "--role", "view", "--expires", "99999d"], "--expires"),
            (["--project", "shop"], "--role"),
        ],
    )
    def test_a_wrong_option_is_named(self, tmp_path: Path, options: list[str], named: str) -> None:
        done = invoke(tmp_path, "keys", "create", *options)

        assert (done.exit_code, done.stdout) == (2, "")
        assert named in done.stderr.partition("Error: ")[2]

    def test_there_are_no_keys_before_a_platform(self, tmp_path: Path) -> None:
        done = invoke(tmp_path, "keys", "list", BACKEND_URL="http://backend:8080")

        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "BACKEND_URL" in done.stderr

    def test_a_store_that_cannot_be_created_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file where a directory should be")

        done = invoke(tmp_path, "keys", *CREATE)

        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)


class TestWithServer:
    @pytest.fixture
    def keys(self, tmp_path: Path, embedded: EmbeddedStage) -> Keys:
        """Run a command that uses the store of a running server."""

        def keys(*arguments: str) -> Result:
            return invoke(tmp_path, "keys", *arguments, BACKEND_URL=embedded.store)

        return keys

    @pytest.fixture
    def create(self, keys: Keys) -> Callable[..., str]:
        """Create a key and return it."""

        def create(*options: str, project: str = "demo", role: str = "view") -> str:
            done = keys("create", "--project", project, "--role", role, *options)
            assert done.exit_code == 0
            [key] = done.stdout.splitlines()
            assert key.startswith("ak_")
            return key

        return create

    @pytest.fixture
    def line_of(self, keys: Keys) -> Callable[[str], list[str]]:
        """Return the columns of the key of that name, as the list shows them."""

        def line_of(name: str) -> list[str]:
            head, *lines = (line.split("\t") for line in keys("list").stdout.splitlines())
            assert head == ["id", "project", "role", "name", "created", "expires", "revoked", "last used"]
            [found] = [line for line in lines if line[3] == name]
            return found

        return line_of

    @contextmanager
    def caller(self, server: EmbeddedStage, key: str, project: str | None = None) -> Iterator[Api]:
        with Api(server.url, server.contract, token=key, project=project) as api:
            yield api

    def test_a_role_permits_what_its_description_says(
        self, embedded: EmbeddedStage, create: Callable[..., str]
    ) -> None:
        keys = {role: create(role=role, project="roles") for role in ("view", "edit", "admin")}
        with self.caller(embedded, keys["view"]) as api:
            assert api.list_sessions().status == 200
            assert api.create_session(task="slow 0").error == (403, "forbidden")
        with self.caller(embedded, keys["edit"]) as api:
            session_id = api.create_session(task="slow 0").ok()["id"]
            assert api.delete_session(session_id).error == (403, "forbidden")
        with self.caller(embedded, keys["admin"]) as api:
            assert api.delete_session(session_id).status == 204

    def test_a_key_is_bound_to_its_project(self, embedded: EmbeddedStage, create: Callable[..., str]) -> None:
        key = create(project="mine")
        with self.caller(embedded, key, "mine") as api:
            assert api.list_sessions().status == 200
        with self.caller(embedded, key, "theirs") as api:
            assert api.list_sessions().error == (403, "forbidden")

    def test_a_revoked_key_is_refused_at_once(
        self, embedded: EmbeddedStage, keys: Keys, create: Callable[..., str], line_of: Callable[[str], list[str]]
    ) -> None:
        with self.caller(embedded, create("--name", "to-revoke")) as api:
            assert api.list_sessions().status == 200
            assert keys("revoke", line_of("to-revoke")[0]).exit_code == 0
            assert api.list_sessions().error == (401, "unauthorized")

    def test_a_key_expires(self, embedded: EmbeddedStage, create: Callable[..., str]) -> None:
        with self.caller(embedded, create("--expires", "1ms")) as api:
            response = eventually(api.list_sessions, lambda response: response.status == 401)
            assert response.error == (401, "unauthorized")
        with self.caller(embedded, create("--expires", "30d")) as api:
            assert api.list_sessions().status == 200

    def test_the_list_shows_everything_but_the_keys(
        self, keys: Keys, create: Callable[..., str], line_of: Callable[[str], list[str]]
    ) -> None:
        expiring = create("--name", "listed", "--expires", "30d", project="shown", role="edit")
        lasting = create("--name", "lasting", project="shown", role="admin")

        assert line_of("listed")[1:4] == ["shown", "edit", "listed"]
        assert line_of("listed")[5] != "-"
        assert line_of("lasting")[1:4] + line_of("lasting")[5:] == ["shown", "admin", "lasting", "-", "-", "-"]
        for key in (expiring, lasting):
            assert key.removeprefix("ak_") not in keys("list").stdout

    @sqlite_only
    def test_the_store_holds_no_key(self, embedded: EmbeddedStage, create: Callable[..., str]) -> None:
        key = create()
        stored = b"".join(path.read_bytes() for path in embedded.directory.glob("ambient.db*"))
        assert stored
        assert key.removeprefix("ak_").encode() not in stored


class TestRotation:
    def test_the_new_key_has_the_project_role_and_name_and_the_old_one_ends(
        self, embedded: EmbeddedStage, tmp_path: Path
    ) -> None:
        def run(*arguments: str) -> Result:
            return invoke(tmp_path, "keys", *arguments, BACKEND_URL=embedded.store)

        old = run("create", "--project", "rotated", "--role", "view", "--name", "ci").stdout.strip()
        [line] = [line for line in run("list").stdout.splitlines() if "\trotated\t" in line]
        done = run("rotate", line.split("\t")[0], "--overlap", "1h", "--expires", "30d")
        assert done.exit_code == 0
        before, after = (line.split("\t") for line in run("list").stdout.splitlines() if "\trotated\t" in line)
        assert before[1:4] == after[1:4] == ["rotated", "view", "ci"]
        assert before[5] != "-"
        assert before[5] < after[5]
        for key in (old, done.stdout.strip()):
            with Api(embedded.url, embedded.contract, token=key) as api:
                assert api.whoami().status == 200
        assert run("rotate", before[0], "--overlap", "1s").exit_code == 0

        def is_refused() -> bool:
            with Api(embedded.url, embedded.contract, token=old) as api:
                return api.whoami().status == 401

        eventually(is_refused)
        assert run("rotate", before[0]).stderr == "Key not found.\n"

    def test_the_list_has_the_last_use(self, embedded: EmbeddedStage, tmp_path: Path) -> None:
        def last_use() -> str:
            listed = invoke(tmp_path, "keys", "list", BACKEND_URL=embedded.store).stdout.splitlines()
            [line] = [line for line in listed if "\tused\t" in line]
            return line.split("\t")[-1]

        create = ("create", "--project", "used", "--role", "view")
        key = invoke(tmp_path, "keys", *create, BACKEND_URL=embedded.store).stdout.strip()
        assert last_use() == "-"
        with Api(embedded.url, embedded.contract, token=key) as api:
            assert api.whoami().status == 200
        eventually(last_use, lambda time: time != "-")

    def test_the_lifetime_of_a_new_key_is_offered_by_a_setting(self, tmp_path: Path) -> None:
        invoke(tmp_path, "keys", *CREATE, KEY_LIFETIME="30d")
        invoke(tmp_path, "keys", *CREATE, "--expires", "never", KEY_LIFETIME="30d")
        first, second = (line.split("\t") for line in invoke(tmp_path, "keys", "list").stdout.splitlines()[1:])
        assert first[5] != "-"
        assert second[5] == "-"
