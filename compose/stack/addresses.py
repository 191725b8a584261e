"""Addresses of servers as options take them: http or https, and no password in them."""

from __future__ import annotations

import urllib.parse

import click


class Address(click.ParamType[str]):
    """`http://host:port` or `https://host:port`; anything else ends with a usage error."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address, or end with a usage error."""
        try:
            parts = urllib.parse.urlsplit(value)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known:
            self.fail("an address is wanted: http://host:port or https://host:port", param, ctx)
        if parts.username is not None:
            # It would stand in messages and in the list of processes.
            self.fail("it holds a login: give that with --user and a password file", param, ctx)
        return value
