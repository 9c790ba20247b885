"""Releases: the documents that were released, and what a later one may not break."""
