"""The contract, compiled: at start-up each operation of the OpenAPI document becomes a plan, and plans answer requests.

middleware  the one Connexion middleware: every request to its plan, or on to the pages
routing     path template → plan
plan        one operation: security, parameters, body, handler, answer
parameters  strict text → typed value
once        Idempotency-Key → the same request as before, or another
body        strict JSON → validated value
schemas     OpenAPI schema → jsonschema-rs validator, and errors that never echo a value
answer      what a handler returned → ASGI messages
"""
