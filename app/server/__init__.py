"""The HTTP server, and everything around a request that does not depend on its operation."""
