"""The HTTP server, and everything that surrounds a request before its operation is known."""
