"""HTTP/1.1 client for one server."""
