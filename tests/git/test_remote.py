"""Errors of failed clones, and URLs of repositories, as clients read them."""

import pytest

from app.git.remote import reason
from app.urls import without_credentials


@pytest.mark.parametrize(
    ("stderr", "url", "expected"),
    [
        ("", "https://h/x", "git gave no reason"),
        ("something else", "https://h/x", "git gave no reason"),
        ("remote: one\nfatal: two.\nfatal: three", "https://h/x", "two"),
        ("fatal: repository 'https://u:hunter2@h/x' not found", "https://u:hunter2@h/x", "repository … not found"),
        ("fatal: unable to access 'https://h/': Could not resolve host: git.internal", "https://h/x",
         "unable to access …: Could not resolve host: …"),
        ("fatal: Failed to connect to 10.1.2.3 port 443", "https://h/x", "Failed to connect to … port 443"),
        ("fatal: could not create work tree dir '/data/x': Permission denied", "https://h/x",
         "could not create work tree dir …: Permission denied"),
        ("fatal: write error at /data/x/.git: No space left on device", "https://h/x",
         "write error at … No space left on device"),
        ("fatal: bad user:pass@host here", "https://h/x", "bad … here"),
        ("fatal: 'half a quote https://u:p@h", "https://h/x", "git gave no reason"),
        ("fatal: password pa ss is wrong", "https://u:pa%20ss@h/x", "git gave no reason"),
        ("fatal: token abc is wrong", "https://abc@h/x", "git gave no reason"),
        ("fatal: not a git repository", "ssh://git@h/x", "not a git repository"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read", "git@h:x", "… Permission denied (publickey)"),
        ("Host key verification failed.\nfatal: Could not read", "git@h:x", "Host key verification failed"),
        ("ssh: connect to host 10.0.0.1 port 22: refused", "git@h:x", "ssh: connect to host … port 22: refused"),
        ("fatal: unable to access 'https://h/': Failed to connect: Couldn't connect", "https://h/x",
         "unable to access …: Failed to connect: Couldn't connect"),
        ("fatal: a\x1b[31mb", "https://h/x", "a[31mb"),
        ("fatal: " + "word " * 100, "https://h/x", ("word " * 40)),
    ],
)  # fmt: skip
def test_a_reason_has_gits_words_and_nothing_secret_or_internal(stderr: str, url: str, expected: str) -> None:
    assert reason(stderr.encode(), url) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x?y=1#z", "https://h/x?y=1#z"),
        ("https://user:secret@h:8443/x.git?y=1", "https://h:8443/x.git?y=1"),
        ("https://ghp_secret@h/x", "https://h/x"),
        ("https://user:secret@[::1]:1/x", "https://[::1]:1/x"),
        ("ssh://git@h:22/x", "ssh://git@h:22/x"),
        ("ssh://git:secret@h/x", "ssh://git@h/x"),
        ("git@h:team/x.git", "git@h:team/x.git"),
        ("https://h/@x", "https://h/@x"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
