"""The command line in this process: quicker than `run_command` of `tests/support/server.py`, which starts Python."""

from pathlib import Path

from typer.testing import CliRunner, Result

from app import settings
from app.cli.main import main

CLIENT_VARIABLES = ("AMBIENT_URL", "AMBIENT_KEY", "AMBIENT_PROJECT")


def invoke(directory: Path, *arguments: str, stdin: str | bytes = "", **environment: str) -> Result:
    """Run a command with its data below `directory` and an environment without the tests' own settings."""
    names = [setting.name for setting in settings.reference()]
    unset: dict[str, str | None] = dict.fromkeys([*names, *CLIENT_VARIABLES])
    own = {"HOME": str(directory), "DATA_DIR": str(directory / "data")}
    result = CliRunner().invoke(main, arguments, input=stdin, env={**unset, **own, **environment})
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result
