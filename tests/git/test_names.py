"""The rules for git URLs, branches and directory names."""

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.git.names import is_branch, name_of, scheme_of


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("https://example.com/org/api.git", "https"),
        ("https://example.com:8443/api", "https"),
        ("https://user:token@example.com/org/api.git", "https"),
        ("https://user:p%40ss@example.com/org/my%20api.git", "https"),
        ("https://[::1]:8443/api.git", "https"),
        ("ssh://git@example.com:2222/org/api.git", "ssh"),
        ("git@example.com:org/api.git", "ssh"),
        ("deploy.bot@host:~/api", "ssh"),
        ("file:///srv/api.git", "file"),
        ("http://example.com/api", "http"),
        ("git://example.com/api", "git"),
    ],
)
def test_the_protocol_is_known_when_a_url_is_well_formed(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api",
        "/srv/api",
        "../api",
        "~/api",
        "example.com:org/api",
        "https:/example.com/api",
        "https:example.com/api",
        "https:///api",
        "https://example.com",
        "https://example.com/",
        "https://example.com:port/api",
        "https://example.com:0/api",
        "https://example.com:99999/api",
        "https://-example.com/api",
        "https://exa mple.com/api",
        "https://exämple.com/api",
        "https://[::1/api",
        "https://user:a@b@example.com/api",
        "HTTPS://example.com/api",
        " https://example.com/api",
        "https://example.com/api\n",
        "https://example.com/a\0pi",
        "https://example.com/api%0aprotocol=http",
        "https://user%0d:x@example.com/api",
        "https://example.com/%00",
        "https://example.com/\ud800",
        "https://example.com/" + "x" * 3000,
        "ext::sh -c id",
        "ext::https://example.com/api",
        "https::https://example.com/api",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "ssh://-oProxyCommand=id/api",
        "ssh://-oProxyCommand=id@example.com/api",
        "ssh://%2doProxyCommand=id@example.com/api",
        "-git@example.com:api",
        "git@-oProxyCommand=id:api",
        "git@example.com:-api",
        "git@example.com::api",
        "git@example.com:",
        "git@example.com:a://b",
        "file://host/srv/api",
        "file://srv",
        "file:srv",
    ],
)
def test_no_protocol_is_known_when_a_url_is_not_well_formed(url: str) -> None:
    assert scheme_of(url) is None


@pytest.mark.parametrize("name", ["main", "release/1.x", "v1.0", "ünï", "a@b", "a-", "x" * 255])
def test_a_branch_passes_when_git_takes_it(name: str) -> None:
    assert is_branch(name)


@pytest.mark.parametrize("name", ["", "@", "-", "--upload-pack=id", "-b", "\ud800", "a\0b", "main\n", "x" * 256])
def test_a_branch_is_refused_when_it_could_mean_something_else(name: str) -> None:
    assert not is_branch(name)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"a-/.@{}~^:?*[]\\ \t\x7f", "..", "//", ".lock", "@{", "HEAD", "refs/heads/", "é", "\x01"]),
        min_size=1,
        max_size=6,
    )
    .map("".join)
    .filter(lambda name: name != "@")
)
@example("HEAD")
@example("a/HEAD")
@example("@/a")
@example("a.lock.b")
@example("a.lock/b")
@example("foo./a")
@example("@{-1}")
def test_branches_pass_or_not_as_git_itself_says(name: str) -> None:
    git = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, cwd="/", check=False)  # noqa: S603, S607
    assert is_branch(name) == (git.returncode == 0)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/org/api.git", "api"),
        ("https://example.com/org/api/", "api"),
        ("https://u:p@example.com/api?token=secret", "api"),
        ("git@example.com:api.git", "api"),
        ("git@example.com:org/my.api", "my.api"),
        ("https://example.com/..", "repo"),
        ("https://example.com/.git", "repo"),
        ("https://example.com/.workflow", "workflow"),
        ("https://example.com/-x", "x"),
        ("https://example.com/a%2fb%20c", "b-c"),
        ("https://example.com/é", "repo"),
        ("https://example.com/" + "x" * 500, "x" * 100),
    ],
)
def test_a_directory_gets_a_plain_name_from_the_url(url: str, name: str) -> None:
    assert name_of(url) == name
