"""What every answer carries and every request must have: content policy, the optional password, a host that is ours."""

from __future__ import annotations

import base64
import functools
import hmac
from collections.abc import Callable, Sequence

import flask

from compose.console.settings import LOOPBACK, ConsoleSettings

OPEN_PATHS = ("/health",)
LARGEST_BODY = 1024 * 1024  # bytes of a request; what a page sends is a few kilobytes


def content_policy(script_hashes: Sequence[str]) -> str:
    """Return the Content-Security-Policy.

    Args:
        script_hashes: of the inline scripts that Dash needs to start itself, as CSP writes them.

    Plotly and Dash set styles on elements, hence 'unsafe-inline' for styles; data: and blob: are pictures of charts.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {' '.join(script_hashes)}".strip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def host_is_ours(host: str, settings: ConsoleSettings) -> bool:
    """Whether a Host header names this machine: a foreign page must not reach us under its own name (DNS rebinding)."""
    name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
    return name in LOOPBACK or bool(settings.password)


def is_logged_in(header: str, settings: ConsoleSettings) -> bool:
    """Whether an Authorization header holds the password; without a password everybody is."""
    if not settings.password:
        return True
    wanted = "Basic " + base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()
    return hmac.compare_digest(header.encode(), wanted.encode())


def protect(server: flask.Flask, settings: ConsoleSettings, script_hashes: Callable[[], Sequence[str]]) -> None:
    """Let in who may come, and give each answer its headers.

    Args:
        script_hashes: asked once, at the first answer: Dash adds its last inline script at the first request.
    """

    server.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY

    @functools.cache
    def policy() -> str:
        return content_policy(script_hashes())

    @server.before_request
    def check() -> flask.Response | None:
        request = flask.request
        if not host_is_ours(request.host, settings):
            return flask.Response(f"{request.host} is not a name of this console\n", 421, mimetype="text/plain")
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return flask.Response("another site may not post here\n", 403, mimetype="text/plain")
        if request.path not in OPEN_PATHS and not is_logged_in(request.headers.get("Authorization", ""), settings):
            answer = flask.Response("name and password are wanted (CONSOLE_PASSWORD)\n", 401, mimetype="text/plain")
            answer.headers["WWW-Authenticate"] = 'Basic realm="ML pipeline console", charset="UTF-8"'
            return answer
        return None

    @server.after_request
    def headers(answer: flask.Response) -> flask.Response:
        answer.headers["Content-Security-Policy"] = policy()
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["X-Frame-Options"] = "DENY"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        answer.headers.setdefault("Cache-Control", "no-store")  # log lines; scripts and style sheets say their own
        return answer
