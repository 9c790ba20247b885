"""Rules for the environment variables of a session: those that choose which programs run, or change git, are refused.

An operator's command line, perhaps a sandbox of their own, starts with these variables. So it must be the program that
they have installed, with the libraries that they have installed. The names are those by which loaders, shells and
interpreters load other code, as sudo removes them too. Nothing else of the server starts with a session's variables:
neither git nor bubblewrap nor the first process of a tree.
"""

import re

from app.errors import BadRequest, Detail
from app.models.sessions import SessionCreate

_REFUSED = re.compile(
    r"LD_\w+|DYLD_\w+|GCONV_PATH|PATH|BASH_ENV|SHELLOPTS|BASHOPTS|PS4|NODE_OPTIONS"
    r"|PYTHON(?:PATH|HOME|STARTUP|USERBASE|PLATLIBDIR|PYCACHEPREFIX|WARNINGS)|PERL5(?:LIB|OPT|DB)|PERLLIB|RUBY(?:LIB|OPT)"
    r"|GIT_(?!(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL|DATE)$)\w*",
    re.ASCII,
)


def is_refused(name: str) -> bool:
    """Return whether a session may not set this variable."""
    return _REFUSED.fullmatch(name) is not None


def check(new: SessionCreate) -> None:
    """Raise `BadRequest`, with a detail for each variable that is refused."""
    details = [
        Detail(f"body.environment_variables.{name}", "is set by the operator alone; remove it")
        for name in new.environment_variables or {}
        if is_refused(name)
    ]
    if details:
        raise BadRequest("The session's environment variables are not valid.", details=details)
