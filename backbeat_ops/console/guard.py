"""What stands between the console and everybody but its operator.

It listens on the loopback interface alone. A page elsewhere could still make the operator's browser ask it: so the Host
header must name this machine (a name of an attacker's that resolves to 127.0.0.1 does not), each request needs the
secret that was in the URL printed at the start, and each change a header that no other site can set.
"""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD")
CSRF = "x-csrf-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and no script or style that is not a file of the console's."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""What every answer says, unless it says otherwise itself."""


class Guard:
    """Lets through to an application what its operator's browser asks.

    Args:
        app: The application.
        token: The secret in the URL that the operator was given.
        port: Where the console listens.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.cookie = f"backbeat_console_{port}"
        self.session = derived(token, "session")
        self.csrf = derived(token, "csrf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refused(scope)
        await (refusal or self._app)(scope, receive, headed)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts:
            return PlainTextResponse("The console answers to 127.0.0.1 and localhost only.", 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token")
        if given is not None and scope["method"] in SAFE and same(given, self._token):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            path = "/" + scope["path"].lstrip("/")  # two slashes would name another host
            response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            response.set_cookie(self.cookie, self.session, httponly=True, samesite="strict")
            return response
        if not same(self._session_in(headers), self.session):
            return PlainTextResponse("Open the console by the URL that `backbeat console` printed.", 401)
        if scope["method"] not in SAFE and not self._own(headers):
            return PlainTextResponse("This change was not asked for by a page of the console.", 403)
        return None

    def _session_in(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def _own(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return False
        return same(headers.get(CSRF, ""), self.csrf)


def same(given: str, wanted: str) -> bool:
    """Whether a secret is the right one, in a time that does not tell how much of it is."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def derived(token: str, purpose: str) -> str:
    """A secret for one purpose, made of the token."""
    return hmac.new(token.encode(), purpose.encode(), hashlib.sha256).hexdigest()
