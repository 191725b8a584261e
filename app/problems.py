"""Answers to what went wrong, as RFC 9457 problem details."""

from __future__ import annotations

import msgspec
from flask import Response

from app.schema import MAX_PROBLEMS, Problem

MAX_LOGGED = 20  # fields of one request that the log names
TITLES = {
    400: "The body is not JSON that can be read",
    401: "An API key is needed",
    404: "There is no such thing",
    405: "This address does not take that method",
    413: "The body is too large",
    415: "The body must be JSON",
    422: "The request does not fit",
    500: "The service failed",
    503: "The service is busy",
}


class ServiceProblem(Exception):  # noqa: N818 - a problem in the sense of RFC 9457
    """A request that is not served.

    Args:
        status: HTTP status.
        detail: what is wrong and what to do, for the client; never a value that was sent.
        problems: each field that is wrong.
        retry_after: seconds after which to try again.
        cause: what the log says besides, and the client is not told.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        problems: list[Problem] | None = None,
        retry_after: int | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = problems or []
        self.retry_after = retry_after
        self.cause = cause

    def logged(self) -> str:
        """Return the text for the log's `error`: no name or value of the client's own."""
        if self.problems:
            return "; ".join(f"{problem.logged} {problem.detail}" for problem in self.problems[:MAX_LOGGED])
        return f"{self.detail}: {self.cause}" if self.cause else self.detail


def misfits(problems: list[Problem]) -> ServiceProblem:
    """Return the refusal of a request of which these fields are wrong."""
    return ServiceProblem(
        422, f"{len(problems)} field{'s do' if len(problems) > 1 else ' does'} not fit; see errors", problems
    )


def problem_response(problem: ServiceProblem, request_id: str) -> Response:
    """Return the answer in `application/problem+json` (RFC 9457), each field under `errors`."""
    title = TITLES.get(problem.status, "The request was refused")
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.problems:
        body["errors"] = [{"field": each.field, "detail": each.detail} for each in problem.problems[:MAX_PROBLEMS]]
    response = Response(msgspec.json.encode(body), status=problem.status, content_type="application/problem+json")
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
