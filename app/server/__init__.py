"""The HTTP server, and what every request needs whatever its operation is."""
