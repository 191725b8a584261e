"""Dash's components as HTML text: what stands on a page before its scripts run."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from compose.console.parts import Component

PREFIX = "first-"
# property → attribute; whatever else a component has means nothing without its script
_ATTRIBUTES = {
    "className": "class", "htmlFor": "for", "dateTime": "datetime", "tabIndex": "tabindex", "title": "title",
    "role": "role", "scope": "scope", "placeholder": "placeholder", "href": "href", "type": "type", "value": "value",
    "min": "min", "max": "max", "step": "step",
}  # fmt: skip
_FLAGS = ("hidden", "open")
_EMPTY = ("br", "hr", "img")
_TAG = re.compile(r"[a-z][a-z0-9]*")
_HREF = re.compile(r"(/(?!/)|#|\?|https?://)")


def markup(component: Component) -> str:
    """Return a component with all in it as HTML.

    Every text is escaped, every id gets `first-` in front, so that none is there twice once Dash has drawn the same
    page; buttons and inputs are disabled, because nobody listens to them yet. Charts are empty boxes of their size.
    """
    if component is None:
        return ""
    if isinstance(component, str | int | float):
        return escaped(str(component))
    if isinstance(component, list | tuple):
        return "".join(map(markup, component))
    told = component.to_plotly_json()
    kind, props = str(told["type"]), dict(vars(component))  # aria-current of a Link is not among what it tells
    if told["namespace"] == "dash_html_components":
        return _element(kind.lower(), props)
    match kind:
        case "Link":
            return _element("a", props)
        case "Input":
            box = {"className": f"dash-input-container dash-input {props.pop('className', '')}".strip()}
            return _element("div", box, _element("input", props | {"className": "dash-input-element"}))
        case "Graph":
            return _element("div", {name: props[name] for name in ("className", "style") if name in props})
        case _:  # Store, Interval, Location: nothing to see
            return ""


def identifier(identity: str | Mapping[str, Any]) -> str:
    """Return a component's id as the page's element has it: a text, or sorted JSON."""
    if isinstance(identity, str):
        return identity
    return msgspec.json.encode(dict(identity), order="sorted").decode()


def escaped(text: str) -> str:
    """Return text as it can stand in HTML and in Dash's index template, whose places are written `{%so%}`."""
    return html.escape(text).replace("{%", "{&#37;")


def _element(tag: str, props: dict[str, Any], inner: str | None = None) -> str:
    if not _TAG.fullmatch(tag) or tag in ("script", "style", "iframe", "object", "embed"):
        raise ValueError(f"{tag} has no place in a page's first content")
    opening = tag + "".join(_attributes(tag, props))
    if tag in _EMPTY or tag == "input":
        return f"<{opening}>"
    return f"<{opening}>{markup(props.get('children')) if inner is None else inner}</{tag}>"


def _attributes(tag: str, props: dict[str, Any]) -> list[str]:
    found = []
    for name, value in props.items():
        if value is None:
            continue
        if name == "id":
            found.append(f' id="{escaped(PREFIX + identifier(value))}"')
        elif name == "style":
            found.append(f' style="{escaped(_style(value))}"')
        elif name in _FLAGS:
            found += [f" {name}"] if value else []
        elif name.startswith(("aria-", "data-")) or name in _ATTRIBUTES:
            text = str(value)
            if name == "href" and not _HREF.match(text):
                continue
            text = PREFIX + text if name == "htmlFor" else text
            found.append(f' {_ATTRIBUTES.get(name, name)}="{escaped(text)}"')
    return [*found, " disabled"] if tag in ("button", "input") else found


def _style(style: Mapping[str, Any]) -> str:
    pairs = ((re.sub("[A-Z]", lambda c: "-" + c[0].lower(), name), value) for name, value in style.items())
    return ";".join(
        f"{name}:{value}px" if isinstance(value, int | float) else f"{name}:{value}" for name, value in pairs
    )
