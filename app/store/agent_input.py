"""The input of an agent's turn: the RunAgentInput of the run, with the thread's conversation and state from the log."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.events import FULL_EVENTS, decode
from app.agui.history import history
from app.agui.older_interrupts import ON_INTERRUPT, answer_in_shape, on_interrupt_value
from app.agui.run_input import RunInput
from app.agui.shared_state import shared_state
from app.store import events, runs
from app.store.runs import RunRow


def agent_input(connection: Connection, run: RunRow) -> RunInput:
    """Return the run's own input with the messages of the thread's other runs before its new ones.

    A message that the new ones repeat, by its id or as the result of the same tool call, is taken from them. An input
    without a state gets the thread's. Takes as long as the log is long.
    """
    run_input: RunInput = msgspec.json.decode(run.input)
    new = run_input["messages"]
    new_ids = {message["id"] for message in new}
    new_results = {message["toolCallId"] for message in new if message.get("toolCallId")}

    def is_repeated(message: dict[str, Any]) -> bool:
        return message["id"] in new_ids or message.get("toolCallId") in new_results

    log = list(decode(events.of_other_runs(connection, run.session, run.thread_id, run.row_id), FULL_EVENTS))
    goes_on = "resume" not in run_input and any(message.get("role") == "user" for message in new)
    earlier = [message for message in history(log, goes_on=goes_on) if not is_repeated(message)]
    state = run_input.get("state") or shared_state(log)
    whole = {**run_input, "messages": earlier + new, **({} if state is None else {"state": state})}
    return answer_in_shape(whole, lambda run_id: _on_interrupt_values(connection, run.session, run_id))


def _on_interrupt_values(connection: Connection, session: int, run_id: str) -> list[Any]:
    found = runs.find(connection, session, run_id)
    log = events.containing(connection, session, found.row_id, ON_INTERRUPT) if found else []
    return [value for event in log if (value := on_interrupt_value(event)) is not None]
