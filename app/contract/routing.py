"""From the raw path of a request to the methods of its resource."""

from functools import cached_property
from typing import Generic, TypeVar
from urllib.parse import unquote, unquote_to_bytes

from app.errors import BadRequest, Detail, MethodNotAllowed

T = TypeVar("T")


class Resource(Generic[T]):
    """One path of the document and what answers each of its methods."""

    def __init__(self, template: str) -> None:
        self.segments = template.split("/")
        places = list(enumerate(self.segments))
        # The last literal tells resources of one length apart most often.
        self._literals = [(place, name) for place, name in reversed(places) if not name.startswith("{")]
        self._parameters = [(place, name[1:-1]) for place, name in places if name.startswith("{")]
        self.methods: dict[str, T] = {}

    @cached_property
    def allow(self) -> str:
        """The value of an `Allow` header: HEAD wherever GET is, OPTIONS always."""
        implied = {"HEAD", "OPTIONS"} if "GET" in self.methods else {"OPTIONS"}
        return ", ".join(sorted(self.methods.keys() | implied))

    def method(self, name: str) -> T:
        """What answers this method; raises `MethodNotAllowed`."""
        answer = self.methods.get("GET" if name == "HEAD" else name)
        if answer is None:
            raise MethodNotAllowed(self.allow)
        return answer

    def match(self, segments: list[str], decoded: list[str]) -> dict[str, str] | None:
        """The still encoded path parameters of a path with as many segments, None where it is another one."""
        for place, expected in self._literals:
            if expected != decoded[place]:
                return None
        parameters = {name: segments[place] for place, name in self._parameters}
        return parameters if all(parameters.values()) else None


class Router(Generic[T]):
    """All paths of the document; a literal segment goes before a parameter."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Resource[T]]] = {}

    def add(self, template: str, method: str, answer: T) -> None:
        """Register what answers `method` (upper case) at a path template."""
        segments = template.split("/")
        resources = self._by_length.setdefault(len(segments), [])
        resource = next((known for known in resources if known.segments == segments), None)
        if resource is None:
            resource = Resource(template)
            resources.append(resource)
            resources.sort(key=lambda known: [segment.startswith("{") for segment in known.segments])
        resource.methods[method] = answer

    def find(self, raw_path: bytes) -> tuple[Resource[T], dict[str, str]] | None:
        """The resource at a path as it came over the wire, and its path parameters, still encoded.

        Splitting comes before decoding, so an encoded slash stays inside its segment.
        """
        segments = raw_path.decode("latin-1").split("/")
        decoded = [unquote(segment) for segment in segments] if b"%" in raw_path else segments
        for resource in self._by_length.get(len(segments), ()):
            if (parameters := resource.match(segments, decoded)) is not None:
                return resource, parameters
        return None


def decode_segment(name: str, segment: str) -> str:
    """The text of a path parameter; raises `BadRequest` where it is not UTF-8."""
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(details=[Detail(f"path.{name}", "must be percent-encoded UTF-8")]) from error
