"""The command line: ``tinygrad-rnn demo``, ``tinygrad-rnn forecast`` and ``tinygrad-rnn draw``."""

from __future__ import annotations

import argparse
import csv
import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__

if TYPE_CHECKING:
    import numpy as np

    from .tasks import Forecaster, HoldOut

_MONTHS = 24
_STEPS_DRAWN = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0 if it went well, 2 for wrong arguments or data that cannot be used (one line on stderr says why),
        130 if it was interrupted.
    """
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        run = {"demo": _demo, "forecast": _forecast, "draw": _draw}[args.command]
        run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the output has seen enough; all files are written by then. What is left of it goes
        # nowhere, or Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, OverflowError) as error:
        print(f"tinygrad-rnn {args.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"tinygrad-rnn {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


# ---- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinygrad-rnn",
        description="Recurrent networks on automatic differentiation written from scratch on NumPy.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train on the airline passengers of 1949 to 1958 and forecast 1959 and 1960",
        description="Train LSTMs on the monthly airline passengers of 1949 to 1958 (Box and Jenkins, series "
        "G), forecast 1959 and 1960 without having seen them, and compare with two baselines. Writes "
        "forecast.png, the diagram of the unrolled network (graph.svg, graph.dot) and model.safetensors.",
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    _add_training(demo)
    forecast = commands.add_parser(
        "forecast",
        help="forecast columns of your own CSV file",
        description="Forecast the next values of columns of a CSV file. First the last HORIZON values are "
        "held out and forecast, to show how far forecasts can be trusted; then the networks are trained on "
        "all values. Writes forecast.csv, forecast.png, graph.svg, graph.dot and model.safetensors.",
    )
    forecast.add_argument(
        "--csv", type=Path, required=True, metavar="FILE", help="first row: names of columns"
    )
    forecast.add_argument(
        "--column",
        action="append",
        required=True,
        metavar="NAME",
        help="a column of numbers, evenly spaced in time; repeat for several, forecast together",
    )
    forecast.add_argument(
        "--horizon", type=_positive, required=True, metavar="N", help="how many values to forecast"
    )
    forecast.add_argument(
        "--season",
        type=_positive,
        metavar="N",
        help="values in a season: 12 for months, 7 or 365 for days, 24 for hours (default: no season)",
    )
    forecast.add_argument(
        "--out", type=Path, default=Path("forecast"), metavar="DIR", help="default: forecast"
    )
    forecast.add_argument(
        "--no-holdout", dest="holdout", action="store_false", help="skip the table of errors"
    )
    forecast.add_argument(
        "--log",
        action=argparse.BooleanOptionalAction,
        help="take logarithms (default: of columns whose variation grows with their level)",
    )
    forecast.add_argument(
        "--difference",
        type=_lags,
        metavar="LAGS",
        help="lags of differences such as 1 or 1,12, or none (default: 1 for series that keep to no level)",
    )
    forecast.add_argument("--window", type=_positive, metavar="N", help="past values that the network reads")
    forecast.add_argument("--delimiter", default=",", metavar="CHAR", help="default: a comma; 'tab' for tabs")
    forecast.add_argument(
        "--encoding", default="utf-8-sig", help="default: UTF-8, or what its mark says; often cp949"
    )
    _add_training(forecast)
    _add_draw(commands)
    return parser


def _add_draw(commands: Any) -> None:
    parser = commands.add_parser(
        "draw",
        help="draw a recurrent network, unrolled over time",
        description="Draw a recurrent network, unrolled over time, as SVG, PNG, PDF, DOT, TikZ, Mermaid or "
        "text. The network is a fresh one, or comes from a file: of the forecaster, or of one recurrent "
        "layer with Linear layers after it.",
    )
    parser.add_argument(
        "what", nargs="?", metavar="NETWORK", help="rnn, lstm, gru, or a file of saved parameters"
    )
    parser.add_argument("--list", action="store_true", help="list the views, with when to use each")
    parser.add_argument("--input", type=_positive, default=3, metavar="N", help="features; default: 3")
    parser.add_argument("--hidden", type=_positive, default=4, metavar="N", help="size of h; default: 4")
    parser.add_argument("--layers", type=_positive, default=1, metavar="N", help="default: 1")
    parser.add_argument("--bidirectional", action="store_true", help="in both directions")
    parser.add_argument("--steps", type=_positive, default=4, metavar="N", help="time steps; default: 4")
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="sequences; default: 1")
    parser.add_argument("--view", metavar="NAME", help="see --list; default: ops, folded beyond 6 steps")
    parser.add_argument("--fold", action="store_true", help="leave out the middle of long loops")
    parser.add_argument("--depth", type=_positive, metavar="N", help="deeper modules as single boxes")
    parser.add_argument(
        "--show", default="shapes", metavar="WHAT", help="shapes,dtypes,values,gradients,memory"
    )
    parser.add_argument("--highlight", metavar="NAME", help="all routes from this parameter to the result")
    parser.add_argument("--theme", default="auto", metavar="NAME", help="auto, light, dark or paper")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: NETWORK.svg; its suffix says what is written"
    )
    parser.add_argument("--explore", type=Path, metavar="PAGE", help="write an HTML page to step through")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of the random numbers; default: 0"
    )
    parser.add_argument(
        "--epochs", type=_positive, default=50, metavar="N", help="for each network; default: 50"
    )
    parser.add_argument(
        "--hidden", type=_positive, default=24, metavar="N", help="size of the hidden state; default: 24"
    )
    parser.add_argument(
        "--members", type=_positive, default=3, metavar="N", help="networks to average; default: 3"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _positive(text: str) -> int:
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _seed(text: str) -> int:
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def _lags(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(_positive(part) for part in text.split(","))


# ---- commands


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make a folder, before hours of training and not after; if nothing comes of that, leave none behind."""
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # it holds something already
                path.rmdir()
        raise


def _demo(args: argparse.Namespace) -> None:
    import numpy as np

    from . import data, tasks

    began = time.perf_counter()
    series = data.airline()
    forecaster = tasks.Forecaster(
        12, hidden=args.hidden, members=args.members, epochs=args.epochs, rng=args.seed
    )
    figure = args.out / "forecast.png"
    with _folder(args.out):
        held = tasks.hold_out(series, _MONTHS, forecaster, progress=not args.quiet)
        tasks.save_figure(
            figure,
            series[:, None],
            held,
            title="Airline passengers: 1959 and 1960, forecast from the years before",
            labels=["passengers (thousands a month)"],
            names={
                "history": "history (trained on)",
                "held out": "truth (held out)",
                "forecast": "LSTM forecast",
                "last season": "same month last year",
            },
            time=1949 + np.arange(len(series)) / 12,
            time_label="year",
        )
        written = [figure, *_save_network(forecaster, args.out)]
    print("Airline passengers, monthly, in thousands (Box and Jenkins, series G)")
    print(f"Trained on 1949 to 1958, {len(series) - _MONTHS} months; forecast 1959 and 1960 unseen.")
    print(f"{_networks(forecaster)}\n")
    _print_errors(held, 0, ("same month last year", "LSTM"))
    print()
    _print_written(written)
    print(f"\n{time.perf_counter() - began:.1f} seconds")


def _forecast(args: argparse.Namespace) -> None:
    from . import data, tasks

    began = time.perf_counter()
    delimiter = "\t" if args.delimiter == "tab" else args.delimiter
    names = list(dict.fromkeys(args.column))
    series = data.read_csv(args.csv, names, delimiter=delimiter, encoding=args.encoding)
    options: dict[str, Any] = {
        "log": args.log,
        "window": args.window,
        "hidden": args.hidden,
        "members": args.members,
        "epochs": args.epochs,
        "rng": args.seed,
    }
    forecaster = tasks.Forecaster(args.season, difference=args.difference, **options)
    table, figure = args.out / "forecast.csv", args.out / "forecast.png"
    held = None
    with _folder(args.out):
        try:
            if args.holdout:
                held = tasks.hold_out(series, args.horizon, forecaster, progress=not args.quiet)
                # What is trained on all values is what was judged.
                assert forecaster.recipe is not None
                recipe = forecaster.recipe
                forecaster = tasks.Forecaster(
                    args.season,
                    difference=recipe.difference,
                    harmonics=recipe.harmonics,
                    **{**options, "window": recipe.window},
                )
            forecaster.fit(series, names=names, progress=not args.quiet)
        except tasks.TooShortError as error:
            mend = "; --no-holdout forecasts without a table of errors" if args.holdout else ""
            raise ValueError(f"{args.csv}: {error}{mend}") from error
        future = forecaster.forecast(args.horizon)
        _write_table(table, names, future, len(series))
        tasks.save_figure(
            figure,
            series,
            held,
            future,
            title=f"{', '.join(names)}: the next {args.horizon} values",
            labels=names,
            names={"forecast": "LSTM, held-out values unseen", "future": "LSTM, beyond the end"},
            time_label="position in the series",
        )
        written = [table, figure, *_save_network(forecaster, args.out)]
    if held is not None:
        print(f"{args.csv}: {len(series)} rows. The last {args.horizon} held out, and forecast without them.")
        print(_networks(held.forecaster))
        for k, name in enumerate(names):
            print(f"\n{name}")
            _print_errors(held, k, ("last season", "LSTM"))
        print()
    _print_written(written)
    print(f"\n{time.perf_counter() - began:.1f} seconds")


def _draw(args: argparse.Namespace) -> None:
    from . import draw

    if args.list:
        for name, (_, use) in draw.VIEWS.items():
            print(f"{name:7}  {use}")
        print(f"{'anatomy':7}  what happens inside one cell, as textbooks draw it")
        return
    if args.what is None:
        raise ValueError("which network? One of rnn, lstm, gru, or a file; --list lists the views")
    out = args.out or Path(f"{Path(args.what).stem}.svg")
    if args.view not in (None, *draw.VIEWS, "anatomy"):
        raise ValueError(f"--view is one of {', '.join(draw.VIEWS)} and anatomy, got {args.view!r}")
    if args.view == "anatomy":
        if args.explore:
            raise ValueError(
                "--explore steps through a tape; --view anatomy draws one cell: choose one of them"
            )
        diagram = draw.anatomy(_cell(args.what), theme=args.theme)
    else:
        with draw.keep_values() as kept:
            result = _result(args)
        if args.explore:
            print(draw.explore(result, args.explore, kept=kept))
            if args.out is None:
                return
        diagram = draw.graph(
            result,
            view=args.view,
            fold=True if args.fold else None,
            depth=args.depth,
            show=args.show.split(","),
            highlight=args.highlight,
            kept=kept,
            theme=args.theme,
        )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        written = diagram.save(out)
    for text in [*(str(warning.message) for warning in told), *diagram.view.notes]:
        print(f"tinygrad-rnn: {text}", file=sys.stderr)
    print(written)


def _cell(what: str) -> Any:
    """The name of a textbook's cell, or the first cell of a saved network."""
    from . import draw, nn

    if not Path(what).exists():
        return what.lower()
    model, _ = draw.network(nn.load_state(what)[0])
    return next(m for m in model.modules() if hasattr(m, "initial_state") and hasattr(m, "input_size"))


def _result(args: argparse.Namespace) -> Any:
    """What is drawn: the output of the network for random inputs, or the forecaster's loss."""
    import numpy as np

    from . import draw, nn, tasks

    kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    rng = np.random.default_rng(0)
    if args.what.lower() in kinds:
        size, options = args.input, {"bidirectional": args.bidirectional, "return_state": False, "rng": rng}
        model = kinds[args.what.lower()](size, args.hidden, args.layers, **options)
    elif not Path(args.what).exists():
        raise FileNotFoundError(
            errno.ENOENT, "no such network (rnn, lstm, gru), and no such file", str(args.what)
        )
    else:
        state, metadata = nn.load_state(args.what)
        if str(metadata.get("kind")).startswith("forecaster/"):
            return tasks.Forecaster.load(args.what).loss(args.steps)
        model, size = draw.network(state)
    return model(rng.standard_normal((args.batch, args.steps, size)).astype(np.float32))


def _networks(forecaster: Forecaster) -> str:
    assert forecaster.preprocessing is not None
    log = forecaster.preprocessing.log
    flags = [log] if isinstance(log, bool) else list(log)
    logs = "logarithms" if all(flags) else "logarithms of some columns" if any(flags) else "no logarithms"
    count = forecaster.members
    return (
        f"{count} LSTM{'s' if count > 1 else ''} of {forecaster.hidden} units; {logs}, {forecaster.recipe}."
    )


def _print_errors(held: HoldOut, column: int, words: tuple[str, str]) -> None:
    rows = {"forecast": words[1], "last value": "last value", "last season": words[0]}
    width = max(len(word) for word in rows.values())
    print(f"{'':{width}}  {'RMSE':>10}  {'MAE':>10}  {'MAPE':>10}")
    undefined = False
    for name, errors in held.errors(column).items():
        undefined = undefined or errors.mape is None
        percent = "undefined" if errors.mape is None else f"{errors.mape:.2f} %"
        print(f"{rows[name]:{width}}  {errors.rmse:>10.4g}  {errors.mae:>10.4g}  {percent:>10}")
    if undefined:
        print("MAPE is undefined where a true value is 0.")


def _write_table(path: Path, names: list[str], future: np.ndarray, count: int) -> None:
    # Spreadsheets take a file for the local encoding, and spoil Korean names, unless it has this mark.
    encoding = "utf-8" if all(name.isascii() for name in names) else "utf-8-sig"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *names])
        for h, values in enumerate(future.tolist(), start=1):
            writer.writerow([count + h, *values])


def _save_network(forecaster: Forecaster, out: Path) -> list[Path]:
    """The model, and the diagram of a network, drawn over few steps so that it can be read."""
    from . import draw

    model = out / "model.safetensors"
    forecaster.save(model)
    diagram = draw.graph(forecaster.loss(_STEPS_DRAWN))
    source, picture = out / "graph.dot", out / "graph.svg"
    source.write_text(diagram.source, encoding="utf-8")
    picture.unlink(missing_ok=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        diagram.save(picture)
    for warning in told:
        print(f"tinygrad-rnn: {warning.message}", file=sys.stderr)
    return [path for path in (picture, source) if path.exists()] + [model]


def _print_written(paths: list[Path]) -> None:
    what = {
        "forecast.csv": "the forecast",
        "forecast.png": "figure",
        "graph.svg": f"the network unrolled over {_STEPS_DRAWN} time steps",
        "graph.dot": "the same for Graphviz",
        "model.safetensors": "weights, and what is needed to forecast with them",
    }
    width = max(len(str(path)) for path in paths)
    print("Written:")
    for path in paths:
        print(f"  {path!s:{width}}  {what[path.name]}")
