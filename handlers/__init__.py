"""One module per tag of the OpenAPI document, one coroutine per operationId."""
