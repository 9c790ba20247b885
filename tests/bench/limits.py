"""The settings of servers under test: one client sends more than servers allow by default."""

UNLIMITED = {
    "RATE_LIMIT_RPS": "1000000",
    "RATE_LIMIT_BURST": "1000000",
    "KEY_RATE_LIMIT_RPS": "1000000",
    "KEY_RATE_LIMIT_BURST": "1000000",
    "MAX_CONNECTIONS_PER_ADDRESS": "1000000",
    "MAX_STREAMS_PER_KEY": "1000000",
    "MAX_SESSIONS_PER_PROJECT": "off",
}
