"""The contract, compiled: each operation of the OpenAPI document, checked and called.

middleware      the one Connexion middleware: compiles the document, routes each request to its operation
http_operation  one operation over HTTP: decode, check in the promised order, respond
operation       one operation without HTTP: arguments, role, idempotency, handler
security        the token and the project of a request
parameters      strict text to typed values
body            strict JSON to validated values
schemas         OpenAPI schemas as jsonschema-rs validators, and errors that never echo a value
etag            entity tags
response        results to status, headers and body
file_response   files, whole or in part
"""
