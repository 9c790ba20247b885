"""`agents`: what is installed on this machine, what is missing, and how to get it."""

from pathlib import Path

from app.known_agents import KNOWN_AGENTS
from tests.support.command import invoke


def rows(tmp_path: Path, **environment: str) -> dict[str, list[str]]:
    done = invoke(tmp_path, "agents", **environment)
    assert (done.exit_code, done.stderr) == (0, "")
    return {name: rest for name, *rest in (line.split("\t") for line in done.stdout.splitlines())}


def test_known_agents_are_listed_with_how_to_install_them(tmp_path: Path) -> None:
    found = rows(tmp_path, PATH=str(tmp_path))
    assert list(found) == ["demo", *KNOWN_AGENTS]
    assert found["demo"] == ["default", "ready", "built in"]
    use, state, step = found["codex"]
    assert (use, state) == ("-", "missing")
    assert step.endswith("To install it: npm install -g @agentclientprotocol/codex-acp")


def test_an_installed_agent_is_shown_with_its_key_or_how_to_sign_in(tmp_path: Path) -> None:
    program = tmp_path / "codex-acp"
    program.touch(mode=0o755)
    chosen = {"PATH": str(tmp_path), "AGENT": "codex", "AGENTS": "mine=acp:codex-acp"}
    unset = dict.fromkeys(KNOWN_AGENTS["codex"].env, "")
    found = rows(tmp_path, **chosen, **unset)
    hint = f"{program}; unless you have signed in, set OPENAI_API_KEY or run: codex login"
    assert found["codex"] == ["default", "installed", hint]
    assert found["mine"] == ["offered", "installed", str(program)]
    found = rows(tmp_path, **{**chosen, **unset, "OPENAI_API_KEY": "hidden"})
    assert found["codex"][2] == f"{program}, with OPENAI_API_KEY"
