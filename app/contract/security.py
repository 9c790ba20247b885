"""Who sends a request: the token as the document's security schemes say, and the project it is for."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from connexion.exceptions import OAuthProblem
from connexion.security import NO_VALUE, AbstractSecurityHandler

from app.errors import ProjectMismatch, Unauthorized
from app.models.caller import Credentials
from app.server.context import Request

Authenticate = Callable[[Request], Awaitable[str]]

PROJECT = "X-Ambient-Project"
FORWARDED_TOKEN = "X-Forwarded-Access-Token"  # noqa: S105 - the name of a header

_TOKEN = re.compile(r"[\x21-\x7e]+")
_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):[^:]+")


class BearerToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion ships no types
    """`Authorization: Bearer <token>`; no value where there is another scheme or nothing after it."""

    def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002 - its signature
        """Read the token; raise `Unauthorized` where what stands there is none."""

        return _bearer_token


class ForwardedToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion ships no types
    """The header that an authenticating proxy sets."""

    def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002 - its signature
        """Read the token; raise `Unauthorized` where what stands there is none."""
        name = security_scheme["name"].lower()

        def verify(request: Request) -> Any:
            _bearer_token(request)  # a malformed one is refused, whatever stands beside it
            return _checked(request.headers.get(name, [""])[0].strip())

        return verify


SECURITY_MAP = {"bearer": BearerToken, "apiKey": ForwardedToken}


def _bearer_token(request: Request) -> Any:
    scheme, _, token = request.headers.get("authorization", [""])[0].strip().partition(" ")
    return _checked(token.strip()) if scheme.lower() == "bearer" else NO_VALUE


def _checked(token: str) -> Any:
    if not token:
        return NO_VALUE
    if not _TOKEN.fullmatch(token):
        raise Unauthorized
    return {"token": token}


def authenticator(verify: Callable[[Request], Awaitable[None]]) -> Authenticate:
    """The token of a request, by the verification that Connexion built for an operation; raises `Unauthorized`."""

    async def authenticate(request: Request) -> str:
        try:
            await verify(request)
        except OAuthProblem as error:
            raise Unauthorized from error
        request.header("Authorization")
        request.header(FORWARDED_TOKEN)
        token: str = request.context["token_info"]["token"]
        return token

    return authenticate


def credentials(request: Request, token: str) -> Credentials:
    """The token with its project: the header's, or the namespace of a service account; raises `ProjectMismatch`."""
    named, own = request.header(PROJECT), service_account_namespace(token)
    if named and own and named != own:
        raise ProjectMismatch
    return Credentials(token=token, project=named or own)


class _Claims(msgspec.Struct):
    sub: str = ""


def service_account_namespace(token: str) -> str | None:
    """The namespace in a service account's JWT: read for routing only, its signature is the platform's to judge."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims and signature
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=="), type=_Claims)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return None
    match = _SERVICE_ACCOUNT.fullmatch(claims.sub)
    return match and match[1]
