"""A client of the API for people in a terminal; it speaks HTTP and knows nothing else of the server."""
