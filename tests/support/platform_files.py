"""The files of the fake platform's sessions: what its backend makes of the content service in each session's pod.

The service answers in JSON without a charset, the backend with one. Where the service is missing or has no such
directory, the backend says that a directory is empty. Links are followed within the workspace.
"""

import asyncio
import json
import stat
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_plus

from aiohttp import web

from tests.support.platform_failures import Reaction


class PlatformFiles:
    """The workspaces of sessions, by name; `asked` counts the requests that have reached a pod."""

    def __init__(self) -> None:
        self._directories: dict[str, TemporaryDirectory[str]] = defaultdict(
            lambda: TemporaryDirectory(ignore_cleanup_errors=True)
        )
        self.asked = 0

    def workspace(self, name: str) -> Path:
        """Return the directory of a session's workspace."""
        return Path(self._directories[name].name).resolve()

    def close(self) -> None:
        for directory in self._directories.values():
            directory.cleanup()

    def list(self, request: web.Request, *, up: bool) -> web.Response:
        """Return what is in a directory; nothing if that cannot be found out."""
        if not up:
            return web.json_response({"items": []})
        response = self._list(request.match_info["session"], request.query.get("path", "").strip())
        return web.json_response({"items": []}) if response.status == 404 else response

    def _list(self, name: str, path: str) -> web.Response:
        self.asked += 1
        root = self.workspace(name)
        if (target := _resolve(root, path)) is None:
            return _detail(400, "invalid path")
        if not target.exists():
            return _detail(404, "not found")
        items = []
        for entry in sorted(target.iterdir(), key=lambda entry: entry.name) if target.is_dir() else [target]:
            try:
                info = entry.stat()
            except OSError:
                continue
            when = datetime.fromtimestamp(info.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            kind = {"isDir": entry.is_dir(), "size": info.st_size, "modifiedAt": when}
            items.append({"name": entry.name, "path": f"/{entry.relative_to(root)}"} | kind)
        try:
            body = json.dumps({"items": items}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return web.Response(status=500, text="Internal Server Error")
        return web.Response(body=body, content_type="application/json")

    async def read(self, request: web.Request, *, up: bool) -> web.Response:
        """Return a whole file. A pipe is waited for without end."""
        name, path = request.match_info["session"], request.match_info["path"]
        if not up:
            return _unreachable(request, "Get", f"file?path={quote_plus(path)}")
        self.asked += 1
        if (target := _resolve(self.workspace(name), path)) is None:
            return _detail(400, "invalid path")
        if not target.exists():
            return _detail(404, "not found")
        if stat.S_ISFIFO(target.stat().st_mode):
            await asyncio.Event().wait()
        try:
            return web.Response(body=target.read_bytes(), content_type="application/octet-stream")
        except OSError:
            return _detail(500, "read failed")

    async def write(self, request: web.Request, *, exists: bool, running: bool, up: bool) -> web.Response:
        """Write a file, with the directories that it needs."""
        name, path = request.match_info["session"], request.match_info["path"]
        if ".." in path.split("/"):
            return _error(400, "Invalid path: must be within workspace directory")
        if not exists:
            return _error(404, "Session not found")
        if not running:
            hint = "File uploads require an active session. Start the session and try again."
            error = "Session is not running. Start the session to upload files."
            return web.json_response({"error": error, "hint": hint}, status=409)
        if not up:
            return _unreachable(request, "Post", "write")
        self.asked += 1
        return self._write(name, path, await request.read())

    def _write(self, name: str, path: str, content: bytes) -> web.Response:
        if (target := _resolve(self.workspace(name), path)) is None:
            return _detail(400, "invalid path")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return web.Response(status=500, text="Internal Server Error")
        try:
            target.write_bytes(content)
        except OSError:
            return _detail(500, "failed to write file")
        return web.Response(body=b'{"message":"ok"}', content_type="application/json")


def service(body: bytes, status: int = 200) -> Reaction:
    """Respond as the service in the pod, whose JSON has no charset."""

    async def react(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type="application/json")

    return react


def _resolve(root: Path, path: str) -> Path | None:
    try:
        target = (root / path.lstrip("/")).resolve()
    except RuntimeError as error:  # links in a circle
        raise web.HTTPInternalServerError(text="Internal Server Error") from error
    return target if target.is_relative_to(root) else None


def _detail(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=json.dumps({"detail": text}).encode(), content_type="application/json")


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _unreachable(request: web.Request, method: str, target: str) -> web.Response:
    host = f"session-{request.match_info['session']}.{request.match_info['project']}.svc.cluster.local"
    url = f"http://{host}:8001/content/{target}"
    return _error(503, f'{method} "{url}": dial tcp: lookup {host}: no such host')
