"""`ml-app serve | train | evaluate | models | statistics`."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from app.settings import AppSettings, SettingsError, read_settings

if TYPE_CHECKING:
    from app.model.dataset import Dataset
    from app.model.evaluation import Scores

ROOT = Path(__file__).resolve().parent
SEED = click.IntRange(0, 2**31)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _settings() -> AppSettings:
    try:
        settings, ignored = read_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    if ignored:
        _say(f"ignored, from a Kubernetes service link: {', '.join(sorted(ignored))}")
    return settings


def _version(context: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    """Print the version and end; an image holds the code without its package's metadata."""
    if is_wanted and not context.resilient_parsing:
        from importlib import metadata

        try:
            version = metadata.version("ml-pipeline-observability")
        except metadata.PackageNotFoundError:
            version = "not known (not installed as a package; an image holds the code alone)"
        click.echo(f"ml-app, version {version}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """The model service: predictions over HTTP, of the bank-marketing model or of your own (APP_MODEL)."""


@main.command()
def serve() -> None:
    """Answer requests until SIGTERM or Ctrl-C."""
    from app.server import ServeError, run

    try:
        run(_settings())
    except (ServeError, SettingsError) as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option("--if-missing", is_flag=True, help="Do nothing when the model folder has an active model.")
@click.option("--data", type=click.Path(path_type=Path), help="bank-full.csv, with semicolons or commas.")
@click.option("--openml", is_flag=True, help="Fetch the data set from OpenML.")
@click.option("--rows", type=click.IntRange(min=1000), help="Rows of generated data; as many as bank-full.csv has.")
@click.option("--seed", type=SEED, default=1, show_default=True)
def train(if_missing: bool, data: Path | None, openml: bool, rows: int | None, seed: int) -> None:
    """Train a model and make it the active one."""
    if sum(map(bool, (data, openml, rows))) > 1:
        raise click.UsageError("--data, --openml and --rows name different data: give one of them")
    _share_the_cores()
    from app.model import bundle

    settings = _settings()
    if settings.model and if_missing:
        _say(f"APP_MODEL={settings.model}: the model is your own; there is nothing to train")
        return
    _only_bundles(settings)
    try:
        if if_missing and bundle.active(settings.model_dir) is not None:
            found = bundle.load_active(settings.model_dir).manifest
            _say(f"there is a model already: {found.version}")
            return
        bundle.check_folder(settings.model_dir)  # before minutes are spent on what cannot be kept
        from app.model.training import train as fit

        started = time.monotonic()
        trained = fit(_data(data, openml=openml, rows=rows, seed=seed), seed, dt.datetime.now(dt.UTC), _say)
        manifest = bundle.save(trained, settings.model_dir)
        bundle.activate(settings.model_dir, manifest.version, dt.datetime.now(dt.UTC))
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    _table(manifest.scores, "hold-out")
    _say(f"model {manifest.version} is active, after {time.monotonic() - started:.1f} s")


def _only_bundles(settings: AppSettings) -> None:
    """Refuse what concerns stored bundles where the model is the user's own."""
    if settings.model:
        raise click.ClickException(
            f"APP_MODEL={settings.model} is served, and no bundle: to change it, change its module and restart the "
            "service; without APP_MODEL this command works on the bundles in APP_MODEL_DIR"
        )


def _share_the_cores() -> None:
    """Let OpenMP's threads sleep while they wait: on a busy machine spinning is many times slower.

    Measured in docs/own-model.md. OpenMP reads it when it is loaded, so this comes before scikit-learn is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _data(path: Path | None, *, seed: int, openml: bool = False, rows: int | None = None) -> Dataset:
    from app.model import dataset, generated

    if path is not None:
        return dataset.read_csv(path)
    if openml:
        return dataset.fetch_openml_dataset()
    return generated.generate(generated.load(), rows or generated.ROWS, seed)


@main.command()
@click.option("--data", type=click.Path(path_type=Path), help="bank-full.csv to measure on; else generated data.")
@click.option("--splits", type=click.IntRange(min=1), help="Train and measure over this many 80/20 splits.")
@click.option("--on-generated", is_flag=True, help="With --splits: train on generated data instead.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write the calibration plot (PNG) here.")
@click.option("--seed", type=SEED, default=1, show_default=True)
def evaluate(data: Path | None, splits: int | None, on_generated: bool, plot: Path | None, seed: int) -> None:
    """Measure the active model, or (--splits) the way it is trained."""
    _share_the_cores()
    from app.model import bundle, generated
    from app.model.training import only_required, split_scores

    if _settings().model:
        if data or splits or on_generated or plot:
            _only_bundles(_settings())
        _evaluate_own(_settings().model)
        return
    if plot and splits:
        raise click.UsageError("--plot draws the active model: leave --splits out")
    if on_generated and not splits:
        raise click.UsageError("--on-generated says what --splits trains on: give --splits too")
    try:
        # Another seed than training's: rows that the model has not seen.
        rows = _data(data, seed=seed + 1000)
        if splits:
            other = generated.generate(generated.load(), generated.ROWS, seed) if on_generated else None
            _print(split_scores(rows, other, splits, seed, _say), f"mean of {splits} splits of {rows.source}")
            return
        from app.model.evaluation import measure

        active = bundle.load_active(_settings().model_dir)
        scorer = active.scorer
        scores = {
            "all": measure(rows.labels, scorer.predict(rows.rows.tolist())),
            "required": measure(rows.labels, scorer.predict(only_required(rows.rows).tolist())),
        }
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if rows.digest() == active.manifest.data_sha256:
        _say("these are the rows it was trained on: the hold-out's scores in `ml-app models list` are the honest ones")
    _print(scores, f"model {active.manifest.version} on {rows.source}")
    if plot:
        from app.model.calibration_plot import PlotError, write

        try:
            write(scores, f"{active.manifest.version} on {rows.source}", plot)
        except (PlotError, OSError) as error:
            raise click.ClickException(str(error)) from None
        _say(f"calibration plot: {plot}")


def _evaluate_own(path: str) -> None:
    """Show the scores on the rows that the user's own model brings."""
    from app.model.served_own import ServedOwn
    from app.own_model import OwnModelError, load

    try:
        about = ServedOwn(load(path)).about
    except OwnModelError as error:
        raise click.ClickException(str(error)) from None
    if not about.scores:
        raise click.ClickException(f"APP_MODEL={path}: it brings no `holdout`, so there is nothing to measure on")
    _print(about.scores, f"{about.model_type} {about.version} on its hold-out")


def _print(scores: dict[str, Scores], title: str) -> None:
    """Show all that was measured."""
    _table(scores, title)
    for name, each in scores.items():
        (tn, fp), (fn, tp) = each.confusion
        click.echo(f"  {name}: true no {tn:,}, false yes {fp:,}, false no {fn:,}, true yes {tp:,}")
        for part in each.calibration:
            click.echo(f"    {part.count:7,} rows: said {part.predicted:.3f}, were {part.observed:.3f}")


def _table(scores: dict[str, Scores], title: str) -> None:
    """Show one line of scores for each way of asking."""
    click.echo(title)
    click.echo(f"  {'fields given':18}accuracy  precision  recall      F1     AUC   Brier  majority class")
    for name, each in scores.items():
        click.echo(
            f"  {name:18}{each.accuracy:8.4f}{each.precision:11.4f}{each.recall:8.4f}{each.f1_score:8.4f}"
            f"{each.roc_auc:8.4f}{each.brier:8.4f}{each.baseline_accuracy:16.4f}"
        )


@main.group()
def models() -> None:
    """List, activate and roll back stored models; a running service follows within a second."""


@models.command(name="list")
def list_models() -> None:
    """Show the stored models; the active one has a star."""
    from app.model import bundle

    settings = _settings()
    _only_bundles(settings)
    folder = settings.model_dir
    try:
        present = bundle.active(folder)
    except bundle.BundleError as error:
        _say(str(error))
        present = None
    found = bundle.versions(folder)
    if not found:
        _say(f"{folder}: there is no model; run `ml-app train`")
    for version in found:
        star = "*" if present and present.version == version else " "
        try:
            manifest = bundle.load(folder, version).manifest
        except bundle.BundleError as error:
            click.echo(f"{star} {version}  broken: {error}")
            continue
        scores = manifest.scores["all"]
        click.echo(
            f"{star} {version}  accuracy {scores.accuracy:.4f}  AUC {scores.roc_auc:.4f}  {manifest.data_source}"
        )


@models.command()
@click.argument("version")
def activate(version: str) -> None:
    """Make VERSION the active model."""
    from app.model import bundle

    settings = _settings()
    _only_bundles(settings)
    try:
        done = bundle.activate(settings.model_dir, version, dt.datetime.now(dt.UTC))
    except (bundle.BundleError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{done.version} is active")


@models.command()
def rollback() -> None:
    """Make the model active that was so before."""
    from app.model import bundle

    settings = _settings()
    _only_bundles(settings)
    try:
        done = bundle.rollback(settings.model_dir, dt.datetime.now(dt.UTC))
    except (bundle.BundleError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{done.version} is active")


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), default=ROOT / "model" / "statistics.json", show_default=True)
def statistics(data: Path, to: Path) -> None:
    """Count in bank-full.csv what generated data are drawn from."""
    from app.model import dataset, generated

    try:
        counted = generated.measure(dataset.read_csv(data))
        to.write_bytes(msgspec.json.encode(counted) + b"\n")
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    _say(f"{to}: {to.stat().st_size:,} bytes, {sum(counted.labels):,} rows")


if __name__ == "__main__":
    sys.exit(main())
