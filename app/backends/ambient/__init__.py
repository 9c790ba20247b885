"""The platform backend: sessions of an Ambient Code Platform, reached over its HTTP API."""
