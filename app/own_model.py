"""A model of the user's own, named by `APP_MODEL=package.module:make`: what `make` returns, and how it is loaded.

Nothing is read from disk here but the module that is named: what it trains, downloads or loads is its own affair.
"""

from __future__ import annotations

import datetime as dt
import importlib
import math
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.schema import Field

__all__ = ["Field", "OwnModel", "OwnModelError", "check_apart", "load"]

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_RESERVED = ("instances",)  # what a batch is told by


class OwnModelError(ValueError):
    """The model that APP_MODEL names cannot be used; the message says why and what to do."""


class OwnModel(msgspec.Struct, frozen=True, kw_only=True):
    """A binary classifier with a schema of its own.

    Attributes:
        type: what kind of model it is, e.g. `logistic_regression`; the log's `model_type`.
        version: letters, digits, `.`, `_`, `-`, at most 64; labels and live scores are kept by it, so that another
            model needs another version.
        fields: what a request holds, in the order of a row's values.
        predict_proba: is given a list of rows; a number is a float (NaN where it is missing), a category its text
            (None where it is missing). Returns the probability of class 1 of each, shape (n,), or of both classes,
            shape (n, 2), as scikit-learn does. Is called from several threads at once.
        trained_at: when, with its time zone.
        data: what it was trained on, in words.
        reference: rows such as it was trained on, 200 or more; without them drift is off.
        holdout: rows that training never saw, and their classes 0 and 1; without them there are no hold-out scores.
    """

    type: str
    version: str
    fields: Sequence[Field]
    predict_proba: Callable[[list[list[Any]]], Any]
    trained_at: dt.datetime | None = None
    data: str = ""
    reference: Any = None
    holdout: tuple[Any, Any] | None = None


def load(path: str) -> OwnModel:
    """Import the module and call its function.

    Args:
        path: `package.module:function`.

    Raises:
        OwnModelError: it cannot be imported, the function fails, or what it returns is not usable.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the module raises becomes a sentence
        lacks = str(error.name) if isinstance(error, ModuleNotFoundError) else ""
        absent = bool(lacks) and f"{module_name}.".startswith(f"{lacks}.")
        advice = "; PYTHONPATH must name the folder that holds it"
        if lacks and not absent:
            folder = f"python{sys.version_info.major}.{sys.version_info.minor} -m pip install --target my_libs"
            advice = (
                f"; install what it needs beside it ({folder} {lacks.partition('.')[0]}) and add my_libs to PYTHONPATH"
            )
        raise OwnModelError(
            f"APP_MODEL={path}: {module_name} cannot be imported ({type(error).__name__}: {error})"
            + (advice if lacks else "")
        ) from (None if absent else error)
    make = getattr(module, name, None)
    if not callable(make):
        raise OwnModelError(f"APP_MODEL={path}: {module.__file__} has no function {name}")
    try:
        made = make()
    except (Exception, SystemExit) as error:
        raise OwnModelError(f"APP_MODEL={path}: {name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(made, OwnModel):
        raise OwnModelError(
            f"APP_MODEL={path}: {name}() returned a {type(made).__name__}, not an app.own_model.OwnModel"
        )
    if isinstance(made.fields, Sequence):
        made = msgspec.structs.replace(made, fields=[_plain(field) for field in made.fields])
    if problems := [*_about(made), *_fields(made.fields)]:
        raise OwnModelError(f"APP_MODEL={path}: {'; '.join(problems)}")
    return made


def _plain(field: Any) -> Any:
    """Return a field with Python's own bounds and categories: the API's document cannot hold numpy's."""
    if not isinstance(field, Field):
        return field
    low, high = (each.item() if isinstance(each, np.generic) else each for each in (field.low, field.high))
    given: Any = field.categories
    listed = given.tolist() if isinstance(given, np.ndarray) else given
    texts = tuple(map(_text, listed)) if isinstance(listed, list | tuple) else listed
    return msgspec.structs.replace(field, low=low, high=high, categories=texts)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _about(model: Any) -> list[str]:
    """Return what is wrong with all but the fields, whose types nobody checked yet."""
    problems = []
    for name, value in (("type", model.type), ("version", model.version)):
        if not isinstance(value, str) or not _VERSION.fullmatch(value):
            problems.append(f"{name} must be 1 to 64 letters, digits, `.`, `_` or `-`")
    if not callable(model.predict_proba):
        problems.append("predict_proba must be callable")
    if model.trained_at is not None and (not isinstance(model.trained_at, dt.datetime) or not model.trained_at.tzinfo):
        problems.append("trained_at must be a datetime with a time zone")
    if not isinstance(model.data, str):
        problems.append("data must be text")
    return problems


def _fields(fields: Any) -> list[str]:
    """Return what is wrong with the fields."""
    if not isinstance(fields, Sequence) or not fields or not all(isinstance(field, Field) for field in fields):
        return ["fields must be a list of app.own_model.Field, one or more"]
    problems = []
    names = [field.name for field in fields]
    for field in fields:
        if not isinstance(field.name, str) or not _NAME.fullmatch(field.name) or field.name in _RESERVED:
            problems.append(f"field {field.name!r}: a name is 1 to 40 letters, digits and `_`, and not `instances`")
        elif names.count(field.name) > 1:
            problems.append(f"field {field.name}: the name stands twice")
        elif not isinstance(field.categories, tuple) or not all(isinstance(t, str) and t for t in field.categories):
            problems.append(f"field {field.name}: categories must be texts, in a list")
        elif not field.categories and not _is_range(field.low, field.high):
            problems.append(f"field {field.name}: a number needs low and high, finite, low below high")
    return problems


def _is_range(low: object, high: object) -> bool:
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return False
    return math.isfinite(low) and math.isfinite(high) and low < high


class Checked(msgspec.Struct):
    """What a check found: the version, or what is wrong."""

    version: str = ""
    problem: str = ""


def check_apart(path: str, folder: Path) -> str:
    """Load the model in a process of its own, and return its version.

    Libraries' threads, OpenMP's among them, do not survive the fork into workers: so the process that forks them never
    loads the model itself.

    Args:
        path: `package.module:function`.
        folder: where the answer is written.

    Raises:
        OwnModelError: it cannot be used.
    """
    answer = folder / "own-model.json"
    code = "import sys; from app.own_model import report; report(sys.argv[1], sys.argv[2])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-P", "-c", code, path, str(answer)], env=environment, check=False)
    if not answer.exists():
        raise OwnModelError(f"APP_MODEL={path}: the process that loaded it ended with {done.returncode}; see above")
    checked = msgspec.json.decode(answer.read_bytes(), type=Checked)
    if checked.problem:
        raise OwnModelError(checked.problem)
    return checked.version


def report(path: str, answer: str) -> None:
    """Load the model as a worker will, and write what was found; a traceback of the user's code goes to stderr."""
    from app.model.served_own import ServedOwn

    try:
        checked = Checked(version=ServedOwn(load(path)).about.version)
    except OwnModelError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        checked = Checked(problem=str(error))
    Path(answer).write_bytes(msgspec.json.encode(checked))
