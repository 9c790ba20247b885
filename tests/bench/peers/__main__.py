"""Serve one peer: `python -m tests.bench.peers canned|fastapi|asyncapp|flaskapp PORT [URL of the platform]`."""

import sys
import tempfile
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from app.observability import logs
from app.server import run
from tests.bench.limits import UNLIMITED
from tests.support.server import LOCALHOST


def main(kind: str, port: int, platform: str | None = None) -> None:
    """Serve until killed. Only the chosen peer is imported, because imports count in its memory."""
    if kind == "canned":
        _serve_ours(port)
    else:
        app = _peer(kind, platform)
        config = uvicorn.Config(
            app,
            host=LOCALHOST,
            port=port,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            log_level="error",
        )
        uvicorn.Server(config).run()


def _peer(kind: str, platform: str | None) -> ASGIApp:
    from tests.bench.peers.sources import blocking_source, source  # noqa: PLC0415

    match kind:
        case "fastapi":
            from tests.bench.peers import fastapi_app  # noqa: PLC0415

            return fastapi_app.make(source(platform))
        case "asyncapp":
            from tests.bench.peers import connexion_app  # noqa: PLC0415

            return connexion_app.asynchronous(source(platform))
        case "flaskapp":
            from tests.bench.peers import connexion_app  # noqa: PLC0415

            return connexion_app.flask(blocking_source(platform))
    raise ValueError(kind)


def _serve_ours(port: int) -> None:
    from app.factory import create_app  # noqa: PLC0415
    from tests.bench.canned import PreparedBackend  # noqa: PLC0415
    from tests.support.contract import settings  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        chosen = settings(Path(directory), **UNLIMITED)
        logs.configure(chosen.log_level)
        app = create_app(chosen, PreparedBackend())
        run.serve(app, run.listen(LOCALHOST, port), log_level=chosen.log_level)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
