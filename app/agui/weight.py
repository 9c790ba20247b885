"""How much memory texts take."""

from sys import getsizeof


def memory_size(*texts: str | bytes | None) -> int:
    """Bytes of memory of these, and of the places that hold them."""
    return sum(map(getsizeof, texts)) + 100 * len(texts)
