"""SQL of rates: how full the token bucket of each client is, which all servers take from. Only PostgreSQL has them.

A bucket is one time: when it will be full again. A request moves that on by the interval at which tokens come, and is
refused if a whole burst would not come until then.
"""

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.models.limits import Rate, RequestsTaken
from app.store.statements import Statement
from app.store.tables import INT64, RATES

_MICROSECONDS = 1_000_000
_NOW: ColumnElement[int] = func.floor(func.extract("epoch", func.clock_timestamp()) * _MICROSECONDS).cast(INT64)
_COST = bindparam("cost", type_=INT64)
_FULL_AT = func.greatest(RATES.c.full_at, _NOW) + _COST
_TAKE = Statement(
    insert(RATES)
    .values(client=bindparam("client"), full_at=_NOW + _COST)
    .on_conflict_do_update(
        index_elements=[RATES.c.client],
        set_={"full_at": _FULL_AT},
        where=_NOW + bindparam("burst", type_=INT64) >= _FULL_AT,
    )
    .returning(RATES.c.full_at)
)
_FULL_IN = Statement(select(RATES.c.full_at - _NOW).where(RATES.c.client == bindparam("client_")))


def take(connection: Connection, client: bytes, rate: Rate, count: int) -> RequestsTaken:
    """Take that many requests from the bucket of a client, or one if there are fewer, or none.

    Each attempt is one statement, which needs no transaction.
    """
    interval, burst = _MICROSECONDS // rate.rps, rate.burst * _MICROSECONDS // rate.rps
    for wanted in {count: None, 1: None}:
        if _TAKE(connection, client=client, cost=wanted * interval, burst=burst).fetchone():
            return RequestsTaken(wanted)
    full_in: tuple[int] = _FULL_IN(connection, client_=client).fetchone() or (0,)
    return RequestsTaken(0, wait=max(0, full_in[0] + interval - burst) / _MICROSECONDS)


def forget_full(connection: Connection) -> None:
    """Forget the buckets that are full."""
    connection.execute(delete(RATES).where(RATES.c.full_at < _NOW))
