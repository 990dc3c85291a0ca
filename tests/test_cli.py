"""The command line: what it prints, writes and returns, for good arguments and bad ones."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli, data, draw, tasks
from tinygrad_rnn.cli import main

QUICK = ["--epochs", "1", "--members", "1", "--hidden", "4", "--quiet"]


@pytest.fixture
def table(tmp_path):
    """A file with Korean names, in a folder with one."""
    path = tmp_path / "자료" / "승객.csv"
    path.parent.mkdir()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["월", "승객 수", "번호"])
        writer.writerows([f"m{k}", value, k] for k, value in enumerate(data.airline()))
    return path


def errors_in(text):
    """The rows of printed tables of errors: name to RMSE, MAE, MAPE."""
    row = re.compile(r"^(.+?) {2,}(\S+) +(\S+) +(\S+) %$", re.MULTILINE)
    return {m[1]: tuple(float(m[k]) for k in (2, 3, 4)) for m in row.finditer(text)}


def assert_files(folder, *more):
    for name in ("forecast.png", "graph.svg", "graph.dot", "model.safetensors", *more):
        assert (folder / name).stat().st_size > 100
    assert (folder / "forecast.png").read_bytes().startswith(b"\x89PNG")
    assert "digraph" in (folder / "graph.dot").read_text(encoding="utf-8")


def test_the_demo_as_a_user_starts_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_rnn", "demo", "--seed", "1"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    errors = errors_in(done.stdout)
    ours = errors.pop("LSTM")
    assert errors.keys() == {"last value", "same month last year"}
    for baseline in errors.values():
        assert all(mine < theirs for mine, theirs in zip(ours, baseline, strict=True))
    assert_files(tmp_path / "demo")
    for name in ("forecast.png", "graph.svg", "graph.dot", "model.safetensors"):
        assert str(Path("demo", name)) in done.stdout
    assert "training" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_s_model_is_the_one_that_was_judged(tmp_path, capsys):
    out = tmp_path / "나의 결과"
    assert main(["demo", "--out", str(out), "--seed", "3", *QUICK]) == 0
    printed = errors_in(capsys.readouterr().out)
    forecast = tasks.Forecaster.load(out / "model.safetensors").forecast(24)[:, 0]
    errors = tasks.measure(data.airline()[120:], forecast)
    assert printed["LSTM"] == pytest.approx((errors.rmse, errors.mae, errors.mape), rel=1e-2)


def test_the_seed_decides(table, tmp_path):
    own = ["forecast", "--csv", str(table), "--column", "승객 수", "--horizon", "3", "--no-holdout"]

    def forecast(arguments, seed):
        assert main([*arguments, "--seed", seed, "--out", str(tmp_path), *QUICK]) == 0
        return tasks.Forecaster.load(tmp_path / "model.safetensors").forecast(3).tobytes()

    for arguments in (["demo"], own):
        assert forecast(arguments, "1") == forecast(arguments, "1") != forecast(arguments, "2")


def test_a_forecast_of_ones_own_file(table, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--csv", str(table), "--column", "승객 수", "--column", "번호", "--horizon", "6"]
    assert main(["forecast", *arguments, "--season", "12", "--out", str(out), *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "144 rows. The last 6 held out" in captured.out
    assert captured.out.count("last season") == captured.out.count("last value") == 2
    assert captured.out.index("승객 수\n") < captured.out.index("번호\n")
    assert_files(out, "forecast.csv")
    values = data.read_csv(out / "forecast.csv", ["step", "승객 수", "번호"])
    assert values[:, 0].tolist() == list(range(145, 151))
    model = tasks.Forecaster.load(out / "model.safetensors")
    assert model.names == ["승객 수", "번호"]
    np.testing.assert_array_equal(model.forecast(6), values[:, 1:])
    # Spreadsheets read Korean names only after a byte order mark.
    assert (out / "forecast.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_without_a_season_there_is_no_seasonal_baseline(table, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--csv", str(table), "--column", "번호", "--horizon", "6", "--out", str(out), *QUICK]
    assert main(["forecast", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "last value" in printed
    assert "last season" not in printed


def test_options_reach_the_forecaster(table, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--csv", str(table), "--column", "승객 수", "--horizon", "6", "--out", str(out), *QUICK]
    options = ["--log", "--difference", "1,12", "--window", "7", "--no-holdout"]
    assert main(["forecast", *arguments, *options]) == 0
    assert "RMSE" not in capsys.readouterr().out
    model = tasks.Forecaster.load(out / "model.safetensors")
    assert model.recipe == tasks.Recipe((1, 12), 0, 7)
    assert model.preprocessing.log == (True,)
    assert model.hidden == 4
    assert main(["forecast", *arguments, "--difference", "none", "--no-log", "--no-holdout"]) == 0
    model = tasks.Forecaster.load(out / "model.safetensors")
    assert model.recipe.difference == ()
    assert model.preprocessing.log == (False,)


def test_an_undefined_percentage_is_called_so(tmp_path, capsys):
    path = tmp_path / "zeros.csv"
    path.write_text("x;y\n" + "".join(f"{k % 2};1\n" for k in range(40)), encoding="utf-16")
    arguments = ["--csv", str(path), "--column", "x", "--horizon", "4", "--out", str(tmp_path), *QUICK]
    assert main(["forecast", *arguments, "--delimiter", ";", "--encoding", "utf-16"]) == 0
    assert "MAPE is undefined where a true value is 0" in capsys.readouterr().out
    assert not (tmp_path / "forecast.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_tables_stand_in_columns(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(k for k, line in enumerate(lines) if "RMSE" in line)
    assert len({len(line) for line in lines[start : start + 4]}) == 1


def test_a_diagram_that_cannot_be_laid_out_is_left_as_source(tmp_path, capsys, monkeypatch):
    class Diagram:
        source = "digraph {}"

        def save(self, path):
            import warnings

            Path(path).with_suffix(".dot").write_text(self.source)
            warnings.warn("no Graphviz here", stacklevel=2)

    monkeypatch.setattr(draw, "graph", lambda loss: Diagram(), raising=False)
    (tmp_path / "graph.svg").write_text("of last week")
    assert main(["demo", "--out", str(tmp_path), *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == "tinygrad-rnn: no Graphviz here\n"
    assert "graph.dot" in captured.out
    assert "graph.svg" not in captured.out
    assert not (tmp_path / "graph.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--column", "없음", "--horizon", "6"],
            "has no column '없음'; its columns are '월', '승객 수', '번호'",
        ),
        (["--column", "월", "--horizon", "6"], "row 2, column '월': 'm0' is no finite number"),
        (
            ["--column", "번호", "--horizon", "6", "--log"],
            "value 1 of column 1 is 0: leave out the logarithm",
        ),
        (["--column", "번호", "--horizon", "140"], "has 144 values, but holding out 140 needs at least 157"),
        (["--column", "번호", "--horizon", "140"], "--no-holdout forecasts without a table"),
        (
            ["--column", "번호", "--horizon", "1", "--no-holdout", "--window", "150"],
            "has 144 values, but training needs at least 155",
        ),
        (["--column", "번호", "--horizon", "1", "--season", "1"], "needs season >= 2, got 1"),
        (["--column", "번호", "--horizon", "1", "--encoding", "x"], "unknown encoding 'x'"),
        (["--column", "번호", "--horizon", "1", "--delimiter", "ab"], "must be one character"),
        (["--column", "번호", "--horizon", "1", "--csv", "없는.csv"], "없는.csv: No such file or directory"),
    ],
)
def test_data_that_cannot_be_used(table, tmp_path, capsys, arguments, message):
    assert main(["forecast", "--csv", str(table), "--out", str(tmp_path / "o"), *arguments, *QUICK]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("tinygrad-rnn forecast: ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file"), *QUICK]) == 2
    assert "file: File exists" in capsys.readouterr().err


@pytest.mark.parametrize(("below", "message"), [("", "File exists"), ("x", "Not a directory")])
def test_a_folder_that_cannot_be_made_is_refused_before_training(table, capsys, monkeypatch, below, message):
    monkeypatch.setattr(tasks.Forecaster, "fit", lambda *args, **options: pytest.fail("trained"))
    arguments = ["--csv", str(table), "--column", "번호", "--horizon", "2", "--out", str(table / below)]
    assert main(["forecast", *arguments, *QUICK]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "forecast"])
def test_files_are_written_for_a_reader_who_leaves(table, tmp_path, command):
    out = tmp_path / "out"
    own = ["--csv", str(table), "--column", "번호", "--horizon", "12"] if command == "forecast" else []
    arguments = [command, *own, "--out", str(out)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "tinygrad_rnn", *arguments, *QUICK],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert_files(out, *(["forecast.csv"] if own else []))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "invalid choice: 'fly'"),
        (["demo", "--seed", "x"], "--seed: must be a whole number, got 'x'"),
        (["demo", "--seed", "-1"], "--seed: must not be negative, got -1"),
        (["demo", "--epochs", "0"], "--epochs: must be at least 1, got 0"),
        (["demo", "--wings"], "unrecognized arguments: --wings"),
        (["forecast", "--horizon", "1"], "the following arguments are required: --csv, --column"),
        (["forecast", "--difference", "1,a"], "--difference: must be a whole number, got 'a'"),
    ],
)
def test_wrong_arguments(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tinygrad-rnn {tg.__version__}\n"
    assert main([]) == 0
    plain = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == plain
    assert "demo" in plain
    assert "forecast" in plain
    for command in ("demo", "forecast"):
        assert main([command, "--help"]) == 0
        assert "--seed" in capsys.readouterr().out


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_demo", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "tinygrad-rnn demo: interrupted\n"


def test_the_command_line_starts_without_the_heavy_libraries():
    code = (
        "import sys, tinygrad_rnn.cli as cli; cli.main(['--version']);"
        "sys.exit(bool({'matplotlib', 'tqdm', 'graphviz', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- draw


def test_every_view_is_listed(capsys):
    assert main(["draw", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [*draw.VIEWS, "anatomy"]


@pytest.mark.parametrize("view", [*draw.VIEWS, "anatomy"])
@pytest.mark.parametrize("network", ["rnn", "lstm", "gru"])
def test_networks_are_drawn(tmp_path, capsys, network, view):
    out = tmp_path / "x.txt"
    assert main(["draw", network, "--steps", "3", "--view", view, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert len(out.read_text(encoding="utf-8").splitlines()) > 3


def test_the_sizes_of_a_drawn_network(tmp_path):
    out = tmp_path / "x.txt"
    sizes = [
        "--input",
        "8",
        "--hidden",
        "16",
        "--steps",
        "3",
        "--layers",
        "2",
        "--batch",
        "5",
        "--bidirectional",
    ]
    assert main(["draw", "gru", *sizes, "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    for part in "(48, 8)", "(48, 16)", "(48, 32)", "(5, 3, 32)", "weight_hh_l1_reverse":
        assert part in text


def test_the_default_is_a_picture_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", "lstm", "--view", "cells"]) == 0
    assert (tmp_path / "lstm.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_options_of_a_drawing(tmp_path, capsys):
    out = tmp_path / "x.svg"
    options = ["--steps", "9", "--view", "cells", "--fold", "--theme", "paper", "--show", "shapes,gradients"]
    assert main(["draw", "lstm", *options, "--highlight", "weight_hh_l0", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    for part in "5 steps", "highlighted", "|grad|":
        assert part in text


def test_a_saved_network_is_drawn(tmp_path):
    from tinygrad_rnn import nn

    model, out = tmp_path / "model.safetensors", tmp_path / "x.txt"
    nn.Sequential(nn.GRU(2, 3, return_state=False, rng=0), nn.Linear(3, 1, rng=0)).save(model)
    assert main(["draw", str(model), "--view", "cells", "--out", str(out)]) == 0
    assert "linear1" in out.read_text(encoding="utf-8")
    assert main(["draw", str(model), "--view", "anatomy", "--out", str(out)]) == 0
    assert "GRUCell, one time step" in out.read_text(encoding="utf-8")


def test_a_saved_forecaster_is_drawn(tmp_path):
    assert main(["demo", "--out", str(tmp_path), *QUICK]) == 0
    out = tmp_path / "x.txt"
    assert main(["draw", str(tmp_path / "model.safetensors"), "--steps", "3", "--out", str(out)]) == 0
    assert "t002" in out.read_text(encoding="utf-8")


def test_a_page_to_explore(tmp_path, capsys):
    page = tmp_path / "tape.html"
    assert main(["draw", "rnn", "--explore", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tape.html"]
    assert main(["draw", "rnn", "--explore", str(page), "--out", str(tmp_path / "x.txt")]) == 0
    assert (tmp_path / "x.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which network? One of rnn, lstm, gru, or a file"),
        (["cnn"], "cnn: no such network (rnn, lstm, gru), and no such file"),
        (["lstm", "--view", "3d"], "--view is one of ops, folded, cells, rolled, tape and anatomy, got '3d'"),
        (["lstm", "--out", "x.bmp"], "a diagram is saved as .svg"),
        (["lstm", "--out", "missing/x.svg"], "the folder 'missing'"),
        (["lstm", "--show", "all"], "show takes any of shapes"),
        (["lstm", "--theme", "pink"], "theme is one of auto"),
        (["lstm", "--highlight", "w"], "'w' is no leaf of this tape"),
        (["cnn", "--view", "anatomy", "--out", "x.svg"], "draw.anatomy has the figures"),
        (["lstm", "--view", "anatomy", "--explore", "x.html"], "choose one of them"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
