"""Adapters behind the port of `app.port`, one package per kind of BACKEND_URL."""
