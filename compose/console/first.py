"""What a page shows before its scripts run: the same layout, filled by the same callbacks, as HTML in the document."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import flask
import msgspec
from dash import ALL, Dash, Input, Output, no_update

from compose.console.markup import escaped, identifier, markup
from compose.console.parts import Component

SKIP = '<a class="skip" href="#first-page">Skip to the page</a>'
KEPT_SECONDS = 5.0
KEPT_MOST = 64
LOG = logging.getLogger("console")
Find = Callable[[str], Component]


class Fill(msgspec.Struct, frozen=True):
    """A callback that fills places of a page.

    Attributes:
        outputs: Dash's outputs; asked: its inputs and states, in order.
        answer: is handed their values.
    """

    number: int
    outputs: tuple[Any, ...]
    asked: tuple[Any, ...]
    answer: Callable[..., Any]


class Kept:
    """Answers that stand in a document, for the callback that asks the same a moment later; each is given once.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[bytes, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def put(self, key: bytes, answer: Any) -> None:
        """Keep an answer for five seconds; of too many the oldest go."""
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = (self._clock(), answer)
            while len(self._held) > KEPT_MOST:
                del self._held[next(iter(self._held))]

    def take(self, key: bytes) -> Any:
        """Return the answer and forget it; None where there is none, or one that is too old."""
        with self._lock:
            at, answer = self._held.pop(key, (0.0, None))
            return answer if answer is not None and self._clock() - at < KEPT_SECONDS else None


class FirstContent:
    """Puts into each document what its page shows, and registers the callbacks that are asked for it.

    Args:
        app: the Dash application, whose index is given the content.
        frame: makes what surrounds every page; its element `page` takes the page.
        page: makes the layout of the page at a path.
        prepare: is handed path, search and a way to find an element by its id (None where it is not there); does what
            scripts would do from the address alone.
        patience: seconds after which a document goes out with what is known.
    """

    def __init__(
        self,
        app: Dash,
        frame: Callable[[], Component],
        page: Callable[[str], Component],
        prepare: Callable[[str, str, Find], None],
        *,
        patience: float,
    ) -> None:
        self.app, self._frame, self._page, self._prepare = app, frame, page, prepare
        self._patience = patience
        self._fills: list[Fill] = []
        self._kept = Kept()
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="first")
        self._written = app.interpolate_index
        app.interpolate_index = self._document

    def callback(self, *parts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a callback with Dash whose answer also stands in the document."""
        outputs = tuple(part for part in parts if isinstance(part, Output))
        asked = tuple(part for part in parts if not isinstance(part, Output))

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            fill = Fill(len(self._fills), outputs, asked, function)
            self._fills.append(fill)

            @functools.wraps(function)
            def answer(*values: Any) -> Any:
                begun = [v for part, v in zip(asked, values, strict=True) if is_press(part)]
                kept = None if any(begun) else self._kept.take(_key(fill, values))
                return function(*values) if kept is None else kept

            self.app.callback(*parts)(answer)
            return function

        return register

    def content(self, path: str, search: str) -> Component:
        """Return the page at an address with all that was answered in time; a request must be under way."""
        until = time.monotonic() + self._patience
        tree = self._frame()
        made = self._submit(self._page, path)
        page = self._answer(made, until)
        if page is not None:
            next(each for each in walk(tree) if getattr(each, "id", None) == "page").children = page
        elements = {identifier(each.id): each for each in walk(tree) if getattr(each, "id", None) is not None}
        jobs = []
        for fill in self._fills:
            places = [chosen(output, elements) for output in fill.outputs]
            if all(place for place, _ in places):
                values = tuple(value_of(part, elements, search) for part in fill.asked)
                jobs.append((fill, places, values, self._submit(fill.answer, *values)))
        for fill, places, values, job in jobs:
            answer = self._answer(job, until)
            if answer is not None:
                self._kept.put(_key(fill, values), answer)
                place_all(fill, places, answer)
        self._prepare(path, search, elements.get)
        return tree

    def _submit(self, function: Callable[..., Any], *values: Any) -> Future[Any]:
        return self._pool.submit(flask.copy_current_request_context(function), *values)

    def _answer(self, job: Future[Any], until: float) -> Any:
        try:
            return job.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            job.cancel()
        except Exception:  # the page's own callback will meet it again; a document is due all the same
            LOG.exception("a part of the first content failed")
        return None

    def _document(self, **pieces: str) -> str:
        request = flask.request
        asked = request.query_string.decode("latin-1")
        search = f"?{asked}" if asked else ""
        inner = markup(self.content(request.path, search))
        now = escaped(time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
        still = f'<p class="notice">As of {now}; without JavaScript this page stays as it was then.</p>'
        pieces["app_entry"] = f'<div id="first">{SKIP}<noscript>{still}</noscript>{inner}</div>{pieces["app_entry"]}'
        theme = request.cookies.get("theme")
        whole = str(self._written(**pieces))
        return whole.replace("<html ", f'<html data-theme="{theme}" ', 1) if theme in ("dark", "light") else whole


def walk(component: Component) -> Iterator[Component]:
    """Yield a component and all in it, in the document's order."""
    if isinstance(component, list | tuple):
        for each in component:
            yield from walk(each)
    elif component is not None and not isinstance(component, str | int | float):
        yield component
        yield from walk(getattr(component, "children", None))


def is_press(part: Any) -> bool:
    """Whether an input counts presses or ticks: above nothing, somebody wants the answer anew."""
    return isinstance(part, Input) and part.component_property in ("n_clicks", "n_intervals")


def chosen(part: Any, elements: dict[str, Component]) -> tuple[list[Component], bool]:
    """Return the elements that an input, output or state means, and whether it means all that fit."""
    wanted = part.component_id
    if isinstance(wanted, str):
        found = elements.get(wanted)
        return ([] if found is None else [found]), False
    fits = [each for each in elements.values() if isinstance(each.id, dict) and _fits(wanted, each.id)]
    return fits, any(value is ALL for value in wanted.values())


def value_of(part: Any, elements: dict[str, Component], search: str) -> Any:
    """Return what Dash would hand to a callback for this input or state when the page is new."""
    if (part.component_id, part.component_property) == ("url", "search"):
        return search
    found, is_many = chosen(part, elements)
    values = [getattr(each, part.component_property, None) for each in found]
    return values if is_many else next(iter(values), None)


def place_all(fill: Fill, places: list[tuple[list[Component], bool]], answer: Any) -> None:
    """Put a callback's answer where it belongs."""
    answers = answer if len(fill.outputs) > 1 else (answer,)
    for output, (found, is_many), value in zip(fill.outputs, places, answers, strict=True):
        for each, one in zip(found, value if is_many else [value], strict=True):
            if one is not no_update:
                setattr(each, output.component_property, one)


def _fits(pattern: dict[str, Any], identity: dict[str, Any]) -> bool:
    return pattern.keys() == identity.keys() and all(
        value is ALL or value == identity[name] for name, value in pattern.items()
    )


def _key(fill: Fill, values: tuple[Any, ...]) -> bytes:
    told = [value for part, value in zip(fill.asked, values, strict=True) if not is_press(part)]
    return msgspec.json.encode([fill.number, flask.request.cookies.get("zone", ""), told])
