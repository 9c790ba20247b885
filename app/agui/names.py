"""Ids for the messages of agents that give them none, the same at every reading of a run."""

from app.agui.decode import Event

_STEMS = frozenset({"REASONING", "REASONING_MESSAGE", "TEXT_MESSAGE"})


class Names:
    """Makes them for the events of one run, taken in order."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._count = 0
        self._made: dict[str, str] = {}

    def missing(self, event: Event) -> str | None:
        """The message id that the event ought to have; None if it has one or is no part of a message."""
        stem, _, step = (event.type or "").rpartition("_")
        if event.message_id is not None or stem not in _STEMS:
            return None
        if step == "START":
            self._count += 1
            self._made[stem] = f"{self._run_id}-{self._count}"
        return self._made.get(stem)
