"""First answers by idempotency key, each kept in the transaction that makes what it tells of."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select

from app.clock import now_ms
from app.errors import IdempotencyKeyReused
from app.models.caller import IdempotencyKey
from app.models.wire import WireModel
from app.store.tables import ANSWERS

P = ParamSpec("P")
T = TypeVar("T")
LIFETIME_MS = 24 * 60 * 60 * 1000


class Replayed(Exception):
    """The request has had its effect before; `answer` is what was said then, as JSON."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        super().__init__()


def once(
    request: IdempotencyKey | None, work: Callable[Concatenate[Connection, P], T], answer: Callable[[T], WireModel]
) -> Callable[Concatenate[Connection, P], T]:
    """`work`, but where it was done before `Answered` is raised instead; `answer` tells of what it has made.

    `IdempotencyKeyReused` if the key came with another request.
    """
    if request is None:
        return work

    def work_once(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        connection.execute(delete(ANSWERS).where(ANSWERS.c.kept_at <= now_ms() - LIFETIME_MS))
        query = select(ANSWERS.c.fingerprint, ANSWERS.c.answer).where(ANSWERS.c.key == request.key)
        if first := connection.execute(query).one_or_none():
            if first.fingerprint != request.fingerprint:
                raise IdempotencyKeyReused
            raise Replayed(first.answer)
        made = work(connection, *args, **kwargs)
        kept = {"key": request.key, "fingerprint": request.fingerprint, "answer": msgspec.json.encode(answer(made))}
        connection.execute(insert(ANSWERS), {**kept, "kept_at": now_ms()})
        return made

    return work_once
