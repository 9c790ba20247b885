"""The models and modes that an agent offers for one of its sessions, and the choice among them.

An agent names them in one of two ways: as configuration options of the session (`session/set_config_option`), or in
`models` (`session/set_model`), which the SDK does not know any more, and `modes` (`session/set_mode`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import msgspec
from acp import RequestError, schema

from app.agents.acp.connection import AcpConnection
from app.agents.acp.tolerance import MODELS
from app.agents.port import AgentError
from app.models.agents import AgentChoice, AgentOffer

MAX_NAMED = 50
"""The most choices that an error names."""

MAX_REASON = 200  # characters

_Kind = Literal["model", "mode"]
_Option = schema.SessionConfigOptionSelect | schema.SessionConfigOptionBoolean


class _Opened(Protocol):
    """The response of an agent that has made or resumed a session."""

    modes: schema.SessionModeState | None
    config_options: list[_Option] | None
    field_meta: dict[str, Any] | None


class _Offered(msgspec.Struct):
    """The offers of an agent of one kind; `option` is the id of the configuration option that sets it, if it is one."""

    choices: list[AgentChoice] = []
    current: str | None = None
    option: str | None = None


class _Model(msgspec.Struct, rename="camel"):
    model_id: str
    name: str | None = None
    description: str | None = None


class _Models(msgspec.Struct, rename="camel"):
    available_models: list[_Model] = []
    current_model_id: str | None = None


class SessionChoices:
    """The choices of one session of an agent, as it has named them last."""

    def __init__(self, opened: _Opened) -> None:
        self._offered: dict[_Kind, _Offered] = {"model": _Offered(), "mode": _Offered()}
        if modes := opened.modes:
            choices = [
                AgentChoice(id=mode.id, name=mode.name, description=mode.description) for mode in modes.available_modes
            ]
            self._offered["mode"] = _Offered(choices, modes.current_mode_id)
        if models := _read_models((opened.field_meta or {}).get(MODELS)):
            choices = [
                AgentChoice(id=model.model_id, name=model.name, description=model.description)
                for model in models.available_models
            ]
            self._offered["model"] = _Offered(choices, models.current_model_id)
        self._read_options(opened.config_options or [])

    @property
    def offer(self) -> AgentOffer:
        """The offers of the agent, with the choices in use."""
        model, mode = self._offered["model"], self._offered["mode"]
        return AgentOffer(models=model.choices, modes=mode.choices, model=model.current, mode=mode.current)

    def observe(self, update: Any) -> bool:
        """Take over what an update of the agent says about the choices; return whether anything has changed."""
        before = self.offer
        if isinstance(update, schema.CurrentModeUpdate):
            self._offered["mode"].current = update.current_mode_id
        elif isinstance(update, schema.ConfigOptionUpdate):
            self._read_options(update.config_options)
        return self.offer != before

    async def select(self, connection: AcpConnection, session_id: str, *, model: str | None, mode: str | None) -> None:
        """Put a model and a mode into use, by their ids or names; None leaves what is in use.

        Raises `AgentError` with the code `model_not_available` or `mode_not_available`.
        """
        if model is not None:
            await self._select(connection, session_id, "model", model)
        if mode is not None:
            await self._select(connection, session_id, "mode", mode)

    async def _select(self, connection: AcpConnection, session_id: str, kind: _Kind, wanted: str) -> None:
        offered = self._offered[kind]
        chosen = _find(offered.choices, wanted)
        if chosen is None:
            raise AgentError(_not_offered(kind, wanted, offered.choices), code=f"{kind}_not_available")
        if chosen == offered.current:
            return
        try:
            if offered.option is not None:
                changed = await connection.agent.set_config_option(
                    config_id=offered.option, session_id=session_id, value=chosen
                )
                self._read_options(changed.config_options)
            elif kind == "mode":
                await connection.agent.set_session_mode(mode_id=chosen, session_id=session_id)
            else:
                await connection.set_model(session_id, chosen)
        except RequestError as error:
            reason = " ".join(str(error).split())[:MAX_REASON]
            message = f"The agent refused the {kind} {chosen}: {reason}"
            raise AgentError(message, code=f"{kind}_not_available") from error
        self._offered[kind].current = chosen

    def _read_options(self, options: Sequence[_Option]) -> None:
        for option in options:
            kind = _kind(option)
            if kind and isinstance(option, schema.SessionConfigOptionSelect):
                choices = [
                    AgentChoice(id=each.value, name=each.name, description=each.description)
                    for each in _flat(option.options)
                ]
                self._offered[kind] = _Offered(choices, option.current_value, option.id)


def _kind(option: _Option) -> _Kind | None:
    if "model" in (option.category, option.id):
        return "model"
    return "mode" if "mode" in (option.category, option.id) else None


def _flat(
    options: Sequence[schema.SessionConfigSelectOption | schema.SessionConfigSelectGroup],
) -> Iterator[schema.SessionConfigSelectOption]:
    for option in options:
        if isinstance(option, schema.SessionConfigSelectGroup):
            yield from option.options
        else:
            yield option


def _read_models(value: Any) -> _Models | None:
    try:
        return None if value is None else msgspec.convert(value, _Models)
    except msgspec.ValidationError:
        return None


def _find(choices: Sequence[AgentChoice], wanted: str) -> str | None:
    """Return the id of the choice that is meant: by its id, by its name, or by either in another case."""
    for key in (lambda text: text, str.casefold):
        for text in ("id", "name"):
            for choice in choices:
                if key(getattr(choice, text) or "") == key(wanted):
                    return choice.id
    return None


def _not_offered(kind: str, wanted: str, choices: Sequence[AgentChoice]) -> str:
    if not choices:
        return f"The agent offers no choice of {kind}s, so it cannot use {wanted}."
    named = ", ".join(choice.id for choice in choices[:MAX_NAMED])
    more = f" and {len(choices) - MAX_NAMED} more" if len(choices) > MAX_NAMED else ""
    return f"The agent does not offer the {kind} {wanted}. It offers: {named}{more}."
