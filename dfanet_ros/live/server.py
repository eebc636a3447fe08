"""The web server: the page, and a WebSocket for each browser that shows it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from dfanet_ros.live.viewers import Viewer, Viewers

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEARTBEAT = 10.0  # seconds between two pings; a browser that answers none has gone
FAREWELL = 2.0  # seconds that browsers have to answer when the viewer ends
MOST_BYTES = 4096  # of what a browser may say

# The page may load what comes from here, and be in no other page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(viewers: Viewers, host: str, allowed: Collection[str] = ()) -> web.Application:
    """The application.

    Args:
        viewers: whom the browsers join.
        host: that the server is bound to.
        allowed: more names that lead here, of this machine or of a proxy before it.
    """
    own = socket.gethostname().lower()
    given = {_name_in(f"//{name}") for name in allowed} - {""}
    names = {host.lower(), "localhost", own, f"{own}.local", *given}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what other pages in the user's browser may send here, also under a name that they made lead here."""
        name = _name_in(f"//{request.host}")
        if not name:
            raise web.HTTPBadRequest(text=f"The request is for '{request.host}', which is no name of a host.")
        if name not in names and not _is_address(name):
            raise web.HTTPForbidden(
                text=f"This viewer does not know itself as '{name}': open it as localhost, by its IP address, or start "
                f"it with --allow {name}."
            )
        origin = request.headers.get("Origin")
        # A proxy may ask under another name than the browser did.
        if origin is not None and origin.partition("//")[2] != request.host and _name_in(origin) not in given:
            raise web.HTTPForbidden(text=f"Pages of {origin} may not look at these cameras.")
        return await handler(request)

    async def stream(request: web.Request) -> web.StreamResponse:
        # Not compressed: the packets are, and the rest is small.
        connection = web.WebSocketResponse(heartbeat=HEARTBEAT, compress=False, max_msg_size=MOST_BYTES)
        await connection.prepare(request)
        assert request.transport is not None
        connections[connection] = request.transport
        viewer = Viewer()
        viewers.join(viewer)
        sender = asyncio.create_task(viewer.serve(connection, viewers.state))
        try:
            async for message in connection:
                if message.type != WSMsgType.TEXT or not _obey(viewers, viewer, message.data):
                    await connection.close(code=1008, message=b"This is not what the page says.")
        finally:
            del connections[connection]
            viewers.leave(viewer)
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sender
        return connection

    async def close_all(_: web.Application) -> None:
        closing = [
            asyncio.create_task(connection.close(code=1001, message=b"The viewer ends.")) for connection in connections
        ]
        if closing:
            await asyncio.wait(closing, timeout=FAREWELL)
        for transport in [*connections.values()]:  # a browser that takes nothing does not take this either
            transport.abort()

    connections: dict[web.WebSocketResponse, asyncio.Transport] = {}
    app = web.Application(middlewares=[guard])
    app.on_shutdown.append(close_all)
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/stream", stream)
    # One route a file, so there is no path that could lead elsewhere.
    for file in PAGE.iterdir():
        if file.suffix in TYPES:
            app.router.add_get("/" if file.name == "index.html" else f"/{file.name}", _serve(file))
    return app


async def listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Begin to serve. Gives what ends it (`cleanup`) and the port, which the system chooses if it is to be 0.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])


def _obey(viewers: Viewers, viewer: Viewer, text: str) -> bool:
    """Do what a browser asks for: `{"next": true}` or `{"camera": "/front"}`. False if it is something else."""
    try:
        command = json.loads(text)
    except ValueError:
        return False
    if command == {"next": True}:
        viewers.ask(viewer)
    elif isinstance(command, dict) and command.keys() == {"camera"} and isinstance(command["camera"], str):
        viewers.choose(viewer, command["camera"])
    else:
        return False
    return True


def _serve(file: Path) -> Handler:
    body = file.read_bytes()

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=TYPES[file.suffix], charset="utf-8")

    return serve


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _name_in(url: str) -> str:
    """The host's name or address, as names are compared; empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # an address in brackets that is none
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
