"""The cluster that everything goes to: that it is the one it was, and has what must be there before the first write."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from shipper.checkpoint import State
from shipper.errors import SystemicError
from shipper.server import RefusedError, Server
from shipper.settings import LOGIN, ShipperSettings
from shipper.tally import Tally
from shipper.templates import Templates


class Target:
    """One cluster.

    Args:
        server: where it is.
        settings: what is installed there.
        state: of the checkpoint, which keeps the cluster's uuid.
        tally: knows whether the server was reachable.
        remember: called when the state must be written.

    Attributes:
        cluster: uuid, None before the cluster was reached.
    """

    def __init__(
        self, server: Server, settings: ShipperSettings, state: State, tally: Tally, remember: Callable[[], None]
    ) -> None:
        self.cluster: str | None = None
        self._server = server
        self._templates = Templates(server, settings.setup, settings.retention_days)
        self._state = state
        self._tally = tally
        self._remember = remember
        self._lock = threading.Lock()

    def replace(self, server: Server, settings: ShipperSettings) -> None:
        """Have another server, or other settings; all is verified again before the next write."""
        templates = Templates(server, settings.setup, settings.retention_days)
        with self._lock:
            self._server, self._templates = server, templates

    def prepare(self) -> None:
        """Verify templates and cluster before the first write, each day, and after a failure.

        Raises:
            Waiting: the server cannot answer, or is not as it must be.
        """
        today = dt.datetime.now(dt.UTC).date()
        with self._lock:
            if self._templates.verified == today and self._tally.reachable:
                return
            try:
                cluster = str(self._server.call("GET", "/")["cluster_uuid"])
            except (RefusedError, KeyError, TypeError) as error:
                raise SystemicError(f"GET /: {error}; correct SHIPPER_URL, or {LOGIN}") from None
            known = self._state.cluster
            if known and known != cluster:
                raise SystemicError(
                    f"this is another cluster ({cluster}) than the one that has what was sent so far ({known});"
                    " to send everything that is still on disk to it, stop the shipper and run it with --resend"
                    " (of the local stack: python3 compose up --resend)"
                )
            self._templates.ensure(today)
            self.cluster = cluster
            if not known:
                self._state.cluster = cluster
                self._remember()
            self._tally.reachable = True
