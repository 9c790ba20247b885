"""Sign-in of an agent: the one method of `authenticate` that needs no person."""

import re
from collections.abc import Mapping, Sequence

from acp import schema

AUTH_REQUIRED = -32000
MAX_SHOWN = 400  # characters of the methods in an error

AuthMethod = schema.EnvVarAuthMethod | schema.TerminalAuthMethod | schema.AuthMethodAgent

_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_SAVED = re.compile(r"cached|kept|stored|saved|existing|refresh", re.IGNORECASE)
_PERSON = re.compile(
    r"log.?in|sign.?in|oauth|browser|chatgpt|google|subscription|\bsso\b|device|account|personal|terminal|interactive",
    re.IGNORECASE,
)


def choose_method(methods: Sequence[AuthMethod], environment: Mapping[str, str]) -> str | None:
    """Return the id of the method that needs no person, None if there is none.

    That is one whose variables are set, else one that uses what an earlier sign-in has saved, else the only one that
    does not speak of a person's part.
    """
    offered = [method for method in methods if not isinstance(method, schema.TerminalAuthMethod)]
    for method in offered:
        if _variables_are_set(method, environment):
            return method.id
    others = [method for method in offered if isinstance(method, schema.AuthMethodAgent)]
    if saved := next((method for method in others if _SAVED.search(f"{method.id} {method.name}")), None):
        return saved.id
    unattended = [method for method in others if not _PERSON.search(f"{method.id} {method.name}")]
    return unattended[0].id if len(unattended) == 1 and not _named_variables(unattended[0]) else None


def describe_methods(methods: Sequence[AuthMethod]) -> str:
    """Return the methods for people, with the variables that they need."""
    return "; ".join(map(_describe, methods))[:MAX_SHOWN] or "none"


def _describe(method: AuthMethod) -> str:
    if isinstance(method, schema.EnvVarAuthMethod):
        return f"{method.name} (set {', '.join(variable.name for variable in method.vars)} in AGENT_ENV)"
    return f"{method.name} ({method.id})"


def _variables_are_set(method: AuthMethod, environment: Mapping[str, str]) -> bool:
    if isinstance(method, schema.EnvVarAuthMethod):
        needed = [variable.name for variable in method.vars if not variable.optional]
        return all(environment.get(name) for name in needed) and any(
            environment.get(variable.name) for variable in method.vars
        )
    from_id = re.sub(r"[^A-Z0-9]+", "_", method.id.upper())
    return any(environment.get(name) for name in {from_id, *_named_variables(method)})


def _named_variables(method: AuthMethod) -> set[str]:
    """Return the environment variables that a method's texts name."""
    return set(_VARIABLE.findall(f"{method.id} {method.name} {method.description or ''}"))
