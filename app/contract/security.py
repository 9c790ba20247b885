"""Who sends a request: the token, as the document's security schemes describe it, and the project it is for."""

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import msgspec
from connexion.exceptions import OAuthProblem
from connexion.security import NO_VALUE, AbstractSecurityHandler

from app.errors import OriginNotAllowed, ProjectMismatch, Unauthorized
from app.models.caller import Credentials
from app.server.request import RequestContext

Authenticate = Callable[[RequestContext], Awaitable[str]]
"""Return the token of a request.

Raise `Unauthorized`, `BadRequest` if a header with a token is repeated, and `OriginNotAllowed` where a page of another
site would change something with a token that a proxy has added to the request.
"""

AUTHORIZATION = "Authorization"
FORWARDED_TOKEN = "X-Forwarded-Access-Token"  # noqa: S105 - the name of a header
PROJECT = "X-Ambient-Project"
_PROJECT = PROJECT.lower()

_SAFE = {"GET", "HEAD", "OPTIONS"}  # methods that change nothing
_TOKENS = 256  # of which it is remembered whose they are; one has up to 64 KiB
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SPACE = " \t"  # what HTTP allows around a value; `strip` takes more of Latin-1 for space
_MAX_SUBJECT = 512  # characters; a service account's has at most 339
_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):[^:]+")


# Security schemes, as Connexion looks them up


class SecuredRequest:
    """The headers of a request, and the `context` to which Connexion's security writes its result."""

    __slots__ = ("context", "headers")

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.context: dict[str, Any] = {}


class BearerToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion ships no types
    """The scheme `Authorization: Bearer <token>`. A request with another scheme, or without a token, has no value."""

    def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002 - its signature
        """Return the function that reads the token of a request, and raises `Unauthorized` if it is malformed."""
        return _bearer_token


class ForwardedToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion ships no types
    """The scheme of a header that an authenticating proxy sets."""

    def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002 - its signature
        """Return the function that reads the token of a request, and raises `Unauthorized` if it is malformed."""
        header = security_scheme["name"].lower()

        def forwarded_token(request: SecuredRequest) -> Any:
            _bearer_token(request)  # a malformed one is refused, even beside a good forwarded one
            return _token_info(request.headers.get(header, "").strip(_SPACE))

        return forwarded_token


SECURITY_MAP = {"bearer": BearerToken, "apiKey": ForwardedToken}


def _bearer_token(request: SecuredRequest) -> Any:
    scheme, _, token = request.headers.get("authorization", "").strip(_SPACE).partition(" ")
    return _token_info(token.strip(_SPACE)) if scheme.lower() == "bearer" else NO_VALUE


def _token_info(token: str) -> Any:
    if not token:
        return NO_VALUE
    if not _TOKEN.fullmatch(token):
        raise Unauthorized
    return {"token": token}


# Credentials


def authenticator(verify: Callable[[SecuredRequest], Awaitable[None]]) -> Authenticate:
    """Return the authentication of an operation, for the verification that Connexion has built for it."""

    async def authenticate(context: RequestContext) -> str:
        request = SecuredRequest(context.headers)
        try:
            await verify(request)
        except OAuthProblem as error:
            raise Unauthorized from error
        if context.repeated:
            context.reject_repeated(AUTHORIZATION, FORWARDED_TOKEN)
        if context.foreign and context.method not in _SAFE and _bearer_token(request) is NO_VALUE:
            raise OriginNotAllowed
        token: str = request.context["token_info"]["token"]
        return token

    return authenticate


def credentials(context: RequestContext, token: str) -> Credentials:
    """Return the token with its project: the header's, or a service account's namespace. Raises `ProjectMismatch`."""
    if context.repeated:
        context.reject_repeated(PROJECT)
    named, own = context.headers.get(_PROJECT), service_account_namespace(token)
    if named and own and named != own:
        raise ProjectMismatch
    return Credentials(token=token, project=named or own)


class _Claims(msgspec.Struct):
    sub: str = ""


@lru_cache(maxsize=_TOKENS)
def subject(token: str) -> str:
    """Return who a token that the platform has issued is for, or a digest of one that does not say so in a few words.

    Only the platform can verify it.
    """
    claims = _claims(token)
    if claims and 0 < len(claims.sub) <= _MAX_SUBJECT:
        return claims.sub
    return f"token-{fingerprint(token)[:12]}"


@lru_cache(maxsize=_TOKENS)
def fingerprint(token: str) -> str:
    """Return a digest of a token, for what is remembered of many tokens that nobody may have verified."""
    return hashlib.sha256(token.encode()).hexdigest()


@lru_cache(maxsize=_TOKENS)
def service_account_namespace(token: str) -> str | None:
    """Return the namespace in the JWT of a service account, or None.

    It is read for routing only and not verified: the platform judges the signature.
    """
    claims = _claims(token)
    match = claims and _SERVICE_ACCOUNT.fullmatch(claims.sub)
    return match[1] if match else None


def _claims(token: str) -> _Claims | None:
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims and signature
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=="), type=_Claims)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
