"""How every connection to PostgreSQL notices, within about ten seconds, that its other end is gone without a word.

The database cannot notice it of a process that is suspended, or cut off, in the middle of a request: its locks stay. So
whoever takes over ends the connections of the process, which it finds by their name.
"""

import os
import secrets
import socket

LIVENESS: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq."""
PROCESS = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
"""The name of this process, which no other one has: that of its worker and those of its connections have it in them."""
_MAX_NAME = 63  # bytes of the name of a connection
_PREFIX = "ambient-api "


def connection_name(process: str) -> str:
    """Return the name of the connections with which a process changes the store."""
    return _PREFIX + process.encode()[-(_MAX_NAME - len(_PREFIX)) :].decode(errors="ignore")
