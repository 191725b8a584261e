"""`up` and `down`: the checks before a start, the model's first training, the words for the person at the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil

from compose.stack import ports, state
from compose.stack.monitoring import absence, installed, monitoring_services, write_configuration
from compose.stack.sampler import sampling
from compose.stack.services import Service, app_environment, services, stop_order
from compose.stack.settings import CALLED, StackSettings
from compose.stack.supervisor import StackError, Supervisor

Say = Callable[[str], None]


def up(settings: StackSettings, say: Say, *, resend: bool = False) -> None:
    """Start everything and stay until a stop is asked for; `resend` has the shipper send all that is on disk again.

    Raises:
        StackError: it runs already, a port is taken, a folder cannot be written, training failed, or a part did not
            become healthy.
    """
    try:
        _up(settings, unheard(say), resend=resend)
    except OSError as error:
        raise StackError(
            f"{error.filename or settings.stack_dir}: {error.strerror or error}; the stack keeps everything in "
            f"{settings.stack_dir}: free space there, or set STACK_DIR to a folder on another disk"
        ) from None


def unheard(say: Say) -> Say:
    """Return `say` for words that may find nobody: a closed terminal or a full disk keeps none from a stop."""

    def said(line: str) -> None:
        with contextlib.suppress(OSError):
            say(line)

    return said


def _up(settings: StackSettings, say: Say, *, resend: bool) -> None:
    started = time.monotonic()
    with _only_one(settings):
        end_orphans(settings, say)
        parts = services(settings)
        check_ports(parts)
        parts += monitoring_parts(settings, say)
        supervisor = Supervisor(settings, parts, say, {"shipper": ("--resend",)} if resend else {})
        with supervisor.signals():
            try:
                supervisor.enter("training")  # seconds where there is a model, a minute where there is none
                train_if_missing(settings, lambda: bool(supervisor.stopping))
                if not supervisor.stopping:
                    supervisor.start()
                if not supervisor.stopping:
                    say(greeting(settings, time.monotonic() - started, frozenset(supervisor.parts)))
                    with sampling(settings, say):
                        supervisor.watch()
            finally:
                say("stopping")
                supervisor.stop()
        say("stopped; everything is kept in " + str(settings.stack_dir))


@contextlib.contextmanager
def _only_one(settings: StackSettings) -> Iterator[None]:
    """Hold the folder's lock: two supervisors over one store would fight."""
    try:
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        handle = (settings.run_dir / "lock").open("w")
    except OSError as error:
        raise StackError(
            f"{settings.run_dir} cannot be written ({error.strerror}); set STACK_DIR to a folder of yours"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError(
                f"the stack in {settings.stack_dir} is running already; see `{CALLED} status`, "
                f"stop it with `{CALLED} down`"
            ) from None
        yield


def end_orphans(settings: StackSettings, say: Say) -> None:
    """Stop processes of this stack whose supervisor was killed."""
    path = settings.run_dir / "state.json"
    every = (*services(settings), *monitoring_services(settings, prometheus_program="-", alertmanager_program="-"))
    order = {service.name: service.stop_seconds for service in stop_order(every)}
    known = [found for found in state.orphans(path) if found[0] in order]
    for name, process in sorted(known, key=lambda found: list(order).index(found[0])):
        say(f"{name} (pid {process.pid}) still runs although its supervisor is gone: stopping it first")
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        deadline = time.monotonic() + order[name]
        # A zombie that nobody reaps is as good as gone: `orphans` does not count it, waiting for its pid would.
        while name in (left for left, _process in state.orphans(path)):
            if time.monotonic() > deadline:
                process.kill()
                break
            time.sleep(0.05)


def check_ports(parts: tuple[Service, ...]) -> None:
    """Raise a StackError that names every taken port and, where the system tells, its owner."""
    taken = [part for part in parts if not ports.is_free(part.port)]
    if not taken:
        return
    others: dict[str, int] = {}
    for part in taken:
        others[part.port_setting] = ports.another(part.port, avoid=others.values())
    said = [
        ports.complaint(part.port, part.port_setting, ports.owner(part.port), other=others[part.port_setting])
        for part in taken
    ]
    if len(taken) > 1:
        chosen = " ".join(f"{setting}={port}" for setting, port in others.items())
        said.append(f"a second stack beside it: STACK_DIR=another-folder {chosen} {CALLED} up")
    raise StackError("\n       ".join(said))


def monitoring_parts(settings: StackSettings, say: Say) -> tuple[Service, ...]:
    """Return Prometheus and Alertmanager, configured, as far as they can run; say in one line each why one cannot."""
    found = installed(settings)
    if (sentence := absence(settings, found)) is not None:
        say(f"  {sentence}")
    able = []
    for part in found:
        if ports.is_free(part.port):
            able.append(part)
        else:
            other = ports.another(part.port)
            reason = ports.complaint(part.port, part.port_setting, ports.owner(part.port), other=other)
            say(f"  {part.name} of this stack is left out: {reason}")
    write_configuration(settings, tuple(able))
    return tuple(able)


def train_if_missing(settings: StackSettings, stopping: Callable[[], bool] = lambda: False) -> None:
    """Make the default model on first use; its progress goes to the terminal.

    Args:
        settings: where the model lies.
        stopping: whether a stop was asked for, which ends the training, too.

    Raises:
        StackError: it failed, and nobody asked for a stop.
    """
    training = subprocess.Popen(
        [sys.executable, "-P", "-m", "app", "train", "--if-missing"], env={**app_environment(settings), **os.environ}
    )
    while training.poll() is None:
        if stopping():
            training.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            training.wait(0.1)
    if training.returncode and not stopping():
        raise StackError(
            f"nothing was started: `ml-app train --if-missing`, which comes first, ended with exit code "
            f"{training.returncode}; it says above what is wrong"
        )


def greeting(settings: StackSettings, seconds: float, running: frozenset[str] = frozenset()) -> str:
    """Return what a person wants to know once everything runs; `running` are the names of the parts."""
    app, store, shipper = settings.app_url, settings.store_url, settings.shipper_url
    metrics = f"\n  Prometheus    {settings.prometheus_url}      alerts {settings.prometheus_url}/alerts"
    alerts = f"\n  Alertmanager  {settings.alertmanager_url}      `{CALLED} alert test` tries it"
    watching = (metrics if "prometheus" in running else "") + (alerts if "alertmanager" in running else "")
    return f"""
Everything runs after {seconds:.1f} s; it is kept in {settings.stack_dir}

  predictions   POST {app}/predict      state {app}/status      metrics {app}/metrics
  logs          {store}/ml-pipeline-*/_search?pretty      indices {store}/_cat/indices?v
  shipper       {shipper}/status      metrics {shipper}/metrics{watching}

  look at it    {settings.console_url}

  in another terminal:  {CALLED} traffic    sends realistic requests
                        {CALLED} status     shows how every part is
  Ctrl-C here, or `{CALLED} down` there, stops everything; nothing is lost.
"""


def down(settings: StackSettings, say: Say, timeout: float = 180.0) -> None:
    """Stop the stack that runs in `settings.stack_dir`, from another terminal.

    Raises:
        StackError: it did not stop within `timeout` seconds.
    """
    say, path = unheard(say), settings.run_dir / "state.json"
    supervisor = state.running_supervisor(path)
    if supervisor is None:
        if not state.orphans(path):
            say(f"nothing runs in {settings.stack_dir}")
        end_orphans(settings, say)
        path.unlink(missing_ok=True)
        return
    say(f"stopping the stack in {settings.stack_dir} (pid {supervisor.pid})")
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while state.running_supervisor(path) is not None:
        if time.monotonic() > deadline:
            raise StackError(f"it did not stop within {timeout:.0f} s; see the files in {settings.run_dir}")
        time.sleep(0.05)
    end_orphans(settings, say)  # it may have been killed while it stopped them
    say("stopped; everything is kept")
