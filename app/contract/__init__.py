"""The contract, compiled: each operation of the OpenAPI document, checked and called.

middleware      the one Connexion middleware: compiles the document, routes each request to its operation
http_operation  one operation over HTTP: decode, check in the promised order, send the result
operation       one operation without HTTP: arguments, role, idempotency, handler
security        the token and the project of a request
input           parameters and bodies: strict text and JSON to typed and validated values
schemas         OpenAPI schemas as jsonschema-rs validators, and errors that never echo a value
conditional     entity tags, and files whole or in part
"""
