"""What one worker holds: settings, the active model, log, instruments, and the numbers shared with other workers."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.log_buffer import LogBuffer, recover
from app.logs import EventLog, LogFile
from app.model.bundle import BundleError, active, load
from app.model.evaluation import rates
from app.model.served import Served, ServedBundle
from app.monitoring import drift
from app.monitoring.feedback import FeedbackStore
from app.monitoring.metrics import Metrics
from app.monitoring.shared import ActiveUsers, Place, Window
from app.own_model import OwnModelError
from app.own_model import load as load_own
from app.schema import BANK, Schema
from app.settings import AppSettings

ERROR_SECONDS = 300
DRIFT_SLOT_SECONDS = 60
RELOAD_SECONDS = 0.5
VERSIONS = 5  # of which live scores are shown
SCORE_NAMES = ("accuracy", "precision", "recall", "f1_score")
LOGGER = "app.service"


class Active:
    """The model that answers now, with the window of what it has seen; replaced as a whole."""

    def __init__(self, served: Served, window: Window, load_seconds: float, activated_at: dt.datetime) -> None:
        self.served, self.window, self.load_seconds, self.activated_at = served, window, load_seconds, activated_at
        self.about, self.bins = served.about, bins(served)


def bins(served: Served) -> int:
    """Return how many reference bins a model has."""
    return sum(len(feature.counts) for feature in served.features)


def _scored(cells: dict[str, float]) -> tuple[dict[str, float], int]:
    tn, fp, fn, tp = (cells[name] for name in ("tn", "fp", "fn", "tp"))
    return dict(zip(SCORE_NAMES, rates(tn, fp, fn, tp), strict=True)), int(tn + fp + fn + tp)


class ServiceState:
    """Everything that a worker's endpoints share.

    Args:
        settings: as read.
        run_dir: folder of the numbers that processes share; wiped when the service starts.
        user_key: key of the hashes of clients, the same in all workers.
        clock: seconds since 1970.
    """

    def __init__(
        self, settings: AppSettings, run_dir: Path, user_key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings, self.run_dir, self.clock = settings, run_dir, clock
        self.started = clock()
        self._place = Place(run_dir)
        place = self._place.number
        self.metrics = Metrics(place)
        file = (
            LogFile(settings.log_dir, clock, settings.log_file_bytes, self.metrics.log_dropped)
            if settings.log
            else None
        )
        self.log_buffer = LogBuffer(run_dir, file) if file is not None else None
        self.log = EventLog(file, clock, self.log_buffer.put if self.log_buffer is not None else None)
        for found in recover(run_dir, settings.log_dir):
            self.log.event(logging.WARNING, LOGGER, found)
        self.errors = Window(run_dir, "errors", 2, ERROR_SECONDS, 1, clock, place)
        self.users = ActiveUsers(run_dir, user_key, ERROR_SECONDS, clock, place=place)
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self.feedback = FeedbackStore(
            settings.state_dir / "feedback.sqlite",
            settings.feedback_days,
            settings.feedback_rows,
            clock,
            self.metrics.not_kept.inc,
        )
        self.model: Active | None = None
        self.model_error: str | None = None
        self._loaded: tuple[int, int] | None = None
        self._windows: dict[str, Window] = {}
        self._ended = threading.Event()
        if settings.model:
            self._load_own(settings.model)
        else:
            self.reload()
        if self.log_buffer is not None:
            self.log_buffer.flush()  # what the start said, and the folder, are there before the first request
        if file is not None:
            file.look()
        self._watcher = threading.Thread(target=self._watch, name="model", daemon=True)
        self._watcher.start()

    def schema(self) -> Schema:
        """Return what a request may hold."""
        if self.model is not None:
            return self.model.served.schema
        return Schema((), {}, ()) if self.settings.model else BANK

    def _load_own(self, path: str) -> None:
        """Load the user's own model, once: another one needs a restart."""
        from app.model.served_own import ServedOwn

        started = time.perf_counter()
        try:
            served = ServedOwn(load_own(path))
        except OwnModelError as error:
            self._failed(str(error))
            return
        # The first worker's file says when: all workers tell the same moment.
        self._first("own-model")
        since = dt.datetime.fromtimestamp((self.run_dir / "own-model").stat().st_mtime, dt.UTC)
        self._activate(served, time.perf_counter() - started, since)

    def reload(self) -> None:
        """Load the active model if another became active; the old one answers until the new one is ready."""
        path = self.settings.model_dir / "active.json"
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen == self._loaded:
                return
            started = time.perf_counter()
            activation = active(self.settings.model_dir)
            if activation is None:
                return
            bundle = load(self.settings.model_dir, activation.version, activation.sha256)
            if self.model is None or self.model.about.version != activation.version:
                self._activate(ServedBundle(bundle), time.perf_counter() - started, activation.activated_at)
        except FileNotFoundError:
            self._failed(f"{path} is not there; run `ml-app train`, or `ml-app models activate VERSION`")
        except (BundleError, OSError) as error:
            self._failed(str(error))
        else:
            self._loaded, self.model_error = seen, None

    def _failed(self, text: str) -> None:
        if text != self.model_error:
            self.model_error = text
            self.log.event(logging.ERROR, LOGGER, "a model could not be loaded", error=text)

    def _activate(self, served: Served, load_seconds: float, activated_at: dt.datetime) -> None:
        """Let a model answer from now on; a version that comes back goes on with its own window."""
        about = served.about
        if about.version not in self._windows:
            self._windows[about.version] = Window(
                self.run_dir,
                f"drift-{about.version.replace('.', '_')}",
                bins(served) + len(drift.ESTIMATES),
                self.settings.drift_minutes,
                DRIFT_SLOT_SECONDS,
                self.clock,
                self._place.number,
            )
        self.model = Active(served, self._windows[about.version], load_seconds, activated_at)
        if self._first(f"activation-{activated_at:%Y%m%dT%H%M%S%f}"):
            self.log.event(
                logging.INFO, LOGGER, "model activated", model_type=about.model_type, model_version=about.version
            )

    def _first(self, name: str) -> bool:
        """Whether this is the first process to say so."""
        try:
            os.close(os.open(self.run_dir / name, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def _watch(self) -> None:
        while not self._ended.wait(RELOAD_SECONDS):
            if not self.settings.model:
                self.reload()

    def close(self) -> None:
        """Write what is waiting and close the files."""
        self._ended.set()
        self._watcher.join(timeout=5)
        self.feedback.close()
        if self.log_buffer is not None:
            self.log_buffer.close()

    def live(self) -> tuple[dict[str, float], int]:
        """Return the active model's scores on labels and their number; nothing without a model."""
        model = self.model
        if model is None:
            return {}, 0
        return _scored(self.feedback.confusion(model.about.version, self.settings.live_days))

    def live_by_version(self) -> dict[str, tuple[dict[str, float], int]]:
        """Return the same of the versions that predicted last: labels still come for one that is active no more."""
        cells = self.feedback.confusions(self.settings.live_days)
        return {version: _scored(cells[version]) for version in list(cells)[:VERSIONS]}

    def scores(self) -> tuple[dict[str, float], bool, int]:
        """Return the scores to show, whether they are live, and how many labels there are."""
        values, count = self.live()
        if self.model is None:
            return {}, False, 0
        if count >= self.settings.live_minimum:
            return values, True, count
        hold_out = self.model.about.scores.get("all")
        return {name: getattr(hold_out, name) for name in SCORE_NAMES if hold_out}, False, count

    def error_rate(self) -> float:
        """Return 5xx / all prediction requests of the last five minutes, over all processes; 0 when idle."""
        total, failed = self.errors.total()
        return float(failed / total) if total else 0.0

    def drifts(self) -> list[drift.Drift]:
        """Return each feature's drift for the active model."""
        model = self.model  # another may become active meanwhile
        if model is None:
            return []
        return drift.measure(model.served.features, model.window.total(), self.settings.drift_minimum)

    def estimated(self) -> tuple[dict[str, float], int]:
        """Return the scores that calibrated probabilities promise, and of how many predictions; no labels are used."""
        model = self.model
        if model is None:
            return {}, 0
        tn, fp, fn, tp = model.window.total()[model.bins :].tolist()
        return dict(zip(SCORE_NAMES, rates(tn, fp, fn, tp), strict=True)), round(tn + fp + fn + tp)

    def memory(self) -> int:
        """Return the resident bytes of all workers."""
        import psutil

        me = psutil.Process()
        workers = [me]
        if (parent := me.parent()) is not None and (self.run_dir / f"parent-{parent.pid}").exists():
            workers = [parent, *parent.children()]
        total = 0
        for process in workers:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:  # ended between listing and asking
                continue
        return total

    def log_trouble(self) -> str | None:
        """Return in words why lines do not reach the log's disk now; None where they do."""
        file = self.log.file
        if file is None or self.log_buffer is None:
            return None
        return self.log_buffer.stuck() or ((file.last_error or "lines are dropped") if file.failing else None)

    def status(self) -> dict[str, object]:
        """Return what /status tells."""
        values, is_live, count = self.scores()
        model: dict[str, object] | None = None
        if self.model is not None:
            about = self.model.about
            model = {
                "type": about.model_type,
                "version": about.version,
                "trained_at": about.trained_at,
                "data": about.data_source,
                "scores": values,
                "scores_live": is_live,
                "labels": count,
                "estimated": self.estimated()[0],
                "holdout": about.scores,
                "drift": "on" if self.model.served.features else "off: the model has no reference rows",
                "drifted": [each.feature for each in self.drifts() if each.drifted],
            }
        file = self.log.file
        return {
            "status": "ok" if self.model is not None else "no model",
            "uptime_seconds": round(self.clock() - self.started, 3),
            "time": dt.datetime.fromtimestamp(self.clock(), dt.UTC),
            "worker": os.getpid(),
            "model": model,
            "model_error": self.model_error,
            "log": {
                "directory": str(self.settings.log_dir),
                "file": file.path.name if file else None,
                "written": file.written if file else 0,
                "dropped": file.dropped if file else 0,
                "failing": self.log_trouble() is not None,
                "last_error": self.log_trouble() or (file.last_error if file else None),
            },
            "feedback": {
                "last_error": self.feedback.last_error,
                "versions": {
                    version: {"labels": labels, "scores": scores}
                    for version, (scores, labels) in self.live_by_version().items()
                },
            },
        }
