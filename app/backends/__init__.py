"""Adapters behind the port of `app.backend`, one package per kind of BACKEND_URL."""
