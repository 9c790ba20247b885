"""Values that cross the port.

Field names are the names on the wire. A field that is None is left out of a response. Times of sessions and approvals
are RFC 3339 UTC strings; those of runs and events are integer milliseconds since 1970. `msgspec.Raw` holds JSON that
passes through byte for byte.
"""
