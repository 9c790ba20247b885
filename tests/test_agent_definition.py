"""Definitions of agents: known ones, addresses, and the tables of a TOML file."""

from pathlib import Path

import pytest

from app.agent_definition import AgentDefinition, AgentFile, find_known, parse_file, read_definitions
from app.known_agents import KNOWN_AGENTS


def test_a_table_says_all_that_an_agent_gets() -> None:
    text = """
        [mine]
        command = "agent --acp 'two words'"
        env = ["MY_KEY", "MODE=a=b"]
        files = ["/srv/models", "~/.mine:rw"]
        sandbox = "bwrap"
        network = "none"
        services = ["fs"]
    """
    assert read_definitions(text)["mine"] == AgentDefinition(
        name="mine",
        kind="acp",
        command=("agent", "--acp", "two words"),
        env=("MY_KEY",),
        variables=(("MODE", "a=b"),),
        files=(AgentFile(Path("/srv/models")), AgentFile(Path("~/.mine").expanduser(), writable=True)),
        sandbox="bwrap",
        network="none",
        services=("fs",),
    )


def test_a_command_can_be_an_array_of_words_and_an_agent_can_have_a_url() -> None:
    defined = read_definitions("[a]\ncommand = ['agent', 'x y']\n" + "[b]\nurl = 'http://b/'\n")
    assert defined["a"].command == ("agent", "x y")
    assert (defined["b"].kind, defined["b"].url) == ("agui", "http://b/")


def test_a_table_of_a_known_agent_changes_only_what_it_says() -> None:
    known = find_known("codex")
    [defined] = read_definitions("[codex]\nnetwork = 'none'\n").values()
    assert known is not None
    assert (defined.command, defined.env, defined.files) == (known.command, known.env, known.files)
    assert (known.network, defined.network) == ("host", "none")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", "it is not TOML"),
        ("a = 1", "a: it must be a table"),
        ("[A]\ncommand = 'x'", "A: an agent's name is"),
        ("[default]\ncommand = 'x'", "default: this name is that of"),
        ("[a]", "a: it needs a command or a url"),
        ("[a]\ncommand = 'x'\nurl = 'http://a/'", "a: it has either a url or a command"),
        ("[a]\ncommand = ''", "a: command must be"),
        ('[a]\ncommand = "\'secret"', "a: command must be"),
        ("[a]\ncommand = [1]", "a: command must be"),
        ("[a]\nurl = 'secret'", "a: url must be"),
        ("[a]\nurl = 7", "a: url must be"),
        ("[a]\ncommand = 'x'\nenv = 'secret'", "a: env must be an array"),
        ("[a]\ncommand = 'x'\nenv = ['sec ret']", "a: env must be names"),
        ("[a]\ncommand = 'x'\nfiles = ['secret']", "a: files must be paths"),
        ("[a]\ncommand = 'x'\nfiles = ['/a:secret']", "a: files must be paths"),
        ("[a]\ncommand = 'x'\nsandbox = 'secret'", "a: sandbox must be"),
        ("[a]\ncommand = 'x'\nnetwork = 'secret'", "a: network must be"),
        ("[a]\ncommand = 'x'\nservices = ['secret']", "a: services must be"),
        ("[a]\ncommand = 'x'\nmodel = 'secret'", "a: model is not known here"),
    ],
)
def test_a_wrong_table_is_refused_with_its_name_and_member_and_without_the_value(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}") as raised:
        read_definitions(text)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", KNOWN_AGENTS)
def test_a_known_agent_is_complete(name: str) -> None:
    definition, known = find_known(name), KNOWN_AGENTS[name]
    assert definition is not None
    assert definition.command == known.command
    assert known.install.startswith(("npm install -g ", "uv tool install ", "https://"))
    assert [parse_file(text) for text in known.files] == list(definition.files)
