"""The base of every value that is JSON on the wire."""

import msgspec


class WireModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of everything that is JSON on the wire."""
