"""What the viewer answers, and to whom: `request -> response with headers, or a refusal`.

A page of another site must neither read the runs nor change labels. It could send forms (so every
write needs the `Origin` of the viewer), or bind its own name to this address (so the `Host` must be
one of this machine). Beyond loopback, a token is asked for, which becomes a cookie.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READS = ("GET", "HEAD")
TOKEN = "token"
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With "no-referrer", a browser would send the Origin "null" with forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Access:
    """Which names of this machine are accepted in `Host` (all, if empty), and the token, if any."""

    hosts: tuple[str, ...] = LOOPBACK
    token: str | None = None

    @property
    def cookie(self) -> str:
        """The name of the cookie. Cookies of one machine are shared by all ports."""
        return f"atlas-view-{hashlib.sha256((self.token or '').encode()).hexdigest()[:8]}"


def access_for(host: str) -> Access:
    """What a server that listens on `host` accepts: a new token, if others can reach it."""
    if host in LOOPBACK:
        return Access()
    # Others reach this machine under names that it need not know; the token keeps strangers out.
    return Access(hosts=(), token=secrets.token_urlsafe(24))


class RequestGuard:
    """Refuses what is not from a page of the viewer, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI asks for it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        if reason := _refusal(scope["method"], scope["scheme"], headers, self._access):
            await _answer(send, 403, f"Refused: {reason}\n")
            return
        if self._access.token is not None:
            given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            if _is_same(given.pop(TOKEN, ""), self._access.token):
                # The token leaves the address, so that it is not copied with a link.
                place = scope["path"] + (f"?{urlencode(given)}" if given else "")
                value = f"{self._access.cookie}={self._access.token}"
                cookie = f"{value}; Path=/; HttpOnly; SameSite=Strict"
                await _answer(send, 303, "", {"location": _local(place), "set-cookie": cookie})
                return
            if not _is_same(_cookie(headers, self._access.cookie), self._access.token):
                reason = "a token is needed. Open the address that 'atlas view' printed"
                await _answer(send, 403, f"Refused: {reason}.\n")
                return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _encoded(HEADERS) if pair[0] not in kept),
                ]
            await send(message)

        await self._app(scope, receive, send_safely)


def _refusal(method: str, scheme: str, headers: dict[str, str], access: Access) -> str | None:
    """Why a request is refused; None if it is answered."""
    host = headers.get("host", "")
    if access.hosts and _name_of(host) not in access.hosts:
        return f"Host is {host!r}, expected one of: {', '.join(access.hosts)}."
    if method in READS:
        return None
    origin = headers.get("origin", "")
    if not host or origin.lower() != f"{scheme}://{host}".lower():
        return f"Origin is {origin!r}, expected that of the viewer, {scheme}://{host}."
    length = headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_BODY:
        return f"Content-Length is {length!r}, expected a number up to {MAX_BODY:,}."
    return None


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by name. One that is given twice has both values, so it equals neither."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _cookie(headers: dict[str, str], name: str) -> str:
    for part in headers.get("cookie", "").replace(",", ";").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _is_same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _local(place: str) -> str:
    """A place on this server: `//name` would be another one."""
    return f"/{place.lstrip('/')}".replace("\\", "%5C")


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("utf-8", "replace")) for name, value in headers.items()]


async def _answer(
    send: Send, status: int, text: str, headers: dict[str, str] | None = None
) -> None:
    body = text.encode("utf-8", "replace")
    all_headers: dict[str, Any] = {
        **HEADERS,
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **(headers or {}),
    }
    await send({"type": "http.response.start", "status": status, "headers": _encoded(all_headers)})
    await send({"type": "http.response.body", "body": body})
