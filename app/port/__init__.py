"""The port: everything that the API needs of a backend that runs sessions."""
