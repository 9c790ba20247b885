"""`spec`: the OpenAPI document without a server."""

from enum import StrEnum
from typing import Annotated

import typer


class SpecFormat(StrEnum):
    """The notation of the document."""

    YAML = "yaml"
    JSON = "json"


def print_spec(
    form: Annotated[SpecFormat, typer.Option("--format", help="The notation to print.")] = SpecFormat.YAML,
) -> None:
    """Print the OpenAPI document that the server serves."""
    from app import spec

    document = spec.published(spec.load())
    typer.echo(spec.as_yaml(document) if form is SpecFormat.YAML else spec.as_json(document))
