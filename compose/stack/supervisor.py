"""Starts the stack's processes, waits for their health, restarts what dies, and stops them in order."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil

from compose.stack import health, ports, state
from compose.stack.services import Service, output_file, stop_order
from compose.stack.settings import VARIABLES, StackSettings

HEALTH_SECONDS = 60.0
POLL_SECONDS = 0.05
TELL_SECONDS = 10.0  # a part that is not ready after so long is told of
# A process that dies is started again at once, then ever more slowly; one that lived this long starts afresh.
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SETTLED_SECONDS = 60.0
WRITE_AGAIN_SECONDS = 1.0  # where the state could not be written
OUTPUT_BYTES = 64 * 2**20  # of one process's output; the part before stays readable beside it
TAIL_BYTES = 64 * 2**10  # of an output that are read for its last lines


class StackError(Exception):
    """The stack cannot start or go on; the message says why and what to do."""


class Supervised:
    """One service and the process that runs it now."""

    def __init__(self, service: Service, output: Path) -> None:
        self.service, self.output = service, output
        self.process: subprocess.Popen[bytes] | None = None
        self.created = self.started = 0.0
        self.restarts = self.failures = 0
        self.restart_at: float | None = None
        self.last_exit: str | None = None
        self.extra: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the process; its output goes to a file, its signals are ours to send."""
        extra, self.extra = self.extra, ()  # of the first start alone
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.service.command(), *extra],
                env=self.service.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the whole foreground group: the stop order would be lost without this.
                start_new_session=True,
            )
        self.started = time.monotonic()
        self.created = state.born(psutil.Process(self.process.pid))
        self.restart_at = None

    def exit_words(self) -> str | None:
        """Return how the process ended, in words; None while it lives."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        with contextlib.suppress(ValueError):
            if code < 0:
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def last_lines(self, count: int = 8) -> str:
        """Return the end of what the process printed."""
        try:
            with self.output.open("rb") as output:
                output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = output.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return ""
        return "\n".join("  " + line for line in lines)

    def last_word(self) -> str:
        """Return what the process said before it ended by itself, after ": "; empty where it did not complain."""
        if self.process is None or (self.process.returncode or 0) < 0:
            return ""  # killed: it had no time to say why
        line = self.last_lines(1).strip()
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                line = str(told.get("message", "")) if told.get("level") in ("ERROR", "CRITICAL") else ""
        return f": {line[:300]}" if line else ""

    def limit_output(self) -> None:
        """Put what the process printed aside once it is long, so that years of it do not fill the disk."""
        with contextlib.suppress(OSError):
            if self.output.stat().st_size > OUTPUT_BYTES:
                shutil.copyfile(self.output, previous_output(self.output))
                os.truncate(self.output, 0)  # the process appends: it goes on at the new end

    def impostor(self) -> ports.Owner | None:
        """Return who listens at the part's address where it is not the part itself; None where nobody can tell."""
        holder = ports.owner(self.service.port)
        if holder is None or self.process is None or holder.pid == self.process.pid:
            return None
        with contextlib.suppress(psutil.Error):
            if any(parent.pid == self.process.pid for parent in psutil.Process(holder.pid).parents()):
                return None
        return holder


class Supervisor:
    """Owns the processes of one stack.

    Args:
        settings: where the stack lives.
        services: what to run, in start order.
        say: prints one line for the person at the terminal.
        extra: by part, arguments of its first start alone.
    """

    def __init__(
        self,
        settings: StackSettings,
        services: tuple[Service, ...],
        say: Callable[[str], None],
        extra: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self.settings, self.say = settings, say
        self.parts = {service.name: Supervised(service, output_file(settings, service)) for service in services}
        for name, arguments in extra.items():
            self.parts[name].extra = arguments
        self.state_file = settings.run_dir / "state.json"
        self.phase = "starting"
        self.stopping = 0
        self._unwritten: str | None = None
        self._write_again_at = 0.0
        self._me = psutil.Process()
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn Ctrl-C, SIGTERM and a closed terminal into an orderly stop while the block runs."""

        def stop(_number: int, _frame: object) -> None:
            self.stopping += 1

        caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, stop) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def enter(self, phase: str) -> None:
        """Write down what the stack does now, for `status` and `down`."""
        self.phase = phase
        self._write_state()

    def start(self) -> None:
        """Start every service, each once the one before is healthy.

        Raises:
            StackError: one died or did not become healthy; all that ran has been stopped.
        """
        self.enter("starting")
        for part in tuple(self.parts.values()):
            if part.output.exists():  # the run before stays readable for one start more
                part.output.replace(previous_output(part.output))
            part.start()
            self._write_state()
            try:
                self._wait_until_healthy(part)
            except StackError as error:
                if not part.service.optional:
                    raise
                self._leave_out(part, error)
            if self.stopping:
                return
        self.enter("running")

    def _leave_out(self, part: Supervised, error: StackError) -> None:
        """Go on without a part that the stack does not need."""
        self.say(f"  {part.service.name} is left out: {error}")
        if part.process is not None and part.process.poll() is None:
            part.process.kill()
            part.process.wait()
        del self.parts[part.service.name]
        self._write_state()

    def _wait_until_healthy(self, part: Supervised) -> None:
        service, told = part.service, False
        while not self.stopping:
            ended = part.exit_words()
            if ended:
                raise StackError(f"{service.name} ended at once ({ended}):\n{part.last_lines()}")
            if health.is_healthy(service):
                if (holder := part.impostor()) is not None:
                    other = ports.another(service.port)
                    raise StackError(ports.complaint(service.port, service.port_setting, holder, other=other))
                seconds = time.monotonic() - part.started
                self.say(f"  {service.name:12} ready after {seconds:4.1f} s   {service.url}")
                return
            if time.monotonic() - part.started > HEALTH_SECONDS:
                raise StackError(
                    f"{service.name} was not ready after {HEALTH_SECONDS:.0f} s "
                    f"({health.unready_reason(service)}); its output, {part.output}, ends:\n{part.last_lines()}"
                )
            if not told and time.monotonic() - part.started > TELL_SECONDS:
                told = True
                self.say(f"  {service.name:12} not ready yet: {health.unready_reason(service)}")
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Restart what dies, until a stop is asked for; a full disk or a removed folder does not end the watch."""
        while not self.stopping:
            for part in self.parts.values():
                self._look_after(part)
            if self._unwritten and time.monotonic() >= self._write_again_at:
                self._keep_state()
            time.sleep(POLL_SECONDS)

    def _look_after(self, part: Supervised) -> None:
        name, now = part.service.name, time.monotonic()
        if part.restart_at is not None:
            if now >= part.restart_at:
                try:
                    part.start()
                except OSError as error:
                    self._ended(part, f"could not be started: {error.filename or name}: {error.strerror}", now)
                    return
                part.restarts += 1
                self.say(f"{_clock()}  {name} started again (restart {part.restarts})")
                self._keep_state()
            return
        part.limit_output()
        ended = part.exit_words()
        if ended:
            if now - part.started > SETTLED_SECONDS:
                part.failures = 0
            self._ended(part, ended, now, part.last_word())

    def _ended(self, part: Supervised, ended: str, now: float, word: str = "") -> None:
        """Note that a part is gone, and when it starts again."""
        wait = BACKOFF_SECONDS[min(part.failures, len(BACKOFF_SECONDS) - 1)]
        part.failures += 1
        part.last_exit = f"{ended} at {_clock()}{word}"
        part.restart_at = now + wait
        name = part.service.name
        self.say(f"{_clock()}  {name} ended ({ended}){word}; it starts again in {wait:g} s; see {part.output}")
        self._keep_state()

    def stop(self) -> None:
        """Stop every process: what writes first, so that what reads can finish. A second signal hurries."""
        self.phase = "stopping"
        self._keep_state()
        asked = self.stopping
        for service in stop_order(tuple(part.service for part in self.parts.values())):
            part = self.parts[service.name]
            if part.process is None or part.process.poll() is not None:
                continue
            started = time.monotonic()
            part.process.terminate()
            while part.process.poll() is None:
                waited = time.monotonic() - started
                if waited > service.stop_seconds or self.stopping > max(asked, 1):
                    part.process.kill()
                    part.process.wait()
                    self.say(
                        f"  {service.name:12} killed after {waited:.1f} s; what it had not done it will do next time"
                    )
                    break
                time.sleep(POLL_SECONDS)
            else:
                words = part.exit_words()
                ending = "stopped" if words == "exit code 0" else f"stopped with {words}, see {part.output}"
                self.say(f"  {service.name:12} {ending}")
        with contextlib.suppress(OSError):  # it is a dead stack's: `status` and `down` look whether its pid lives
            self.state_file.unlink(missing_ok=True)

    def _keep_state(self) -> None:
        """Write the state; where that cannot be done say so and go on: the parts matter more than what is known."""
        try:
            self._write_state()
        except OSError as error:
            reason = f"{error.filename or self.state_file}: {error.strerror}"
            self._write_again_at = time.monotonic() + WRITE_AGAIN_SECONDS
            if reason != self._unwritten:
                self._unwritten = reason
                self.say(f"{_clock()}  what `status` reads cannot be written ({reason}); everything goes on")
        else:
            self._unwritten = None

    def _write_state(self) -> None:
        state.write(
            self.state_file,
            state.StackState(
                phase=self.phase,
                pid=self._me.pid,
                created=state.born(self._me),
                started_at=self._started_at,
                ports={field: getattr(self.settings, field) for field in VARIABLES if field.endswith("_port")},
                services={
                    name: state.ProcessState(
                        name=name,
                        pid=part.process.pid,
                        created=part.created,
                        restarts=part.restarts,
                        last_exit=part.last_exit,
                    )
                    for name, part in self.parts.items()
                    if part.process is not None
                },
            ),
        )


def previous_output(output: Path) -> Path:
    """Return the file that holds what was printed before `output`."""
    return output.with_suffix(".previous.log")


def _clock() -> str:
    return time.strftime("%H:%M:%S")
