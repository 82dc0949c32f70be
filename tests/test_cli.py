"""The command line as a user meets it: outputs, exit codes, progress, interruption."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lanework import cli
from tests.helpers import lanework

Golden = Callable[[str, str], None]

STUDY = """\
study: tiny
data: {source: iris}
model: {net: mlp, hidden: [8]}
train: {epochs: 4, batch_size: 16}
compare: {optimizer: [sgd, adam]}
seeds: 2
"""
DOOMED = """\
study: doomed
data: {source: diabetes}
model: {net: mlp, hidden: [8]}
train: {epochs: 2, optimizer: sgd, learning_rate: 1.0e30, heal: {retries: 0}}
seeds: 2
"""
WRONG = """\
study: wrong
data: {source: diggits}
model: {net: mlp, hiden: [8]}
train: {epochs: 4, learning_rate: -1, optimizer: adm}
compare:
  learning_rate: {log: [0, 1], points: 3}
"""
LONG = """\
study: long
data: {source: digits}
model: {net: mlp, hidden: [16]}
train: {epochs: 300, batch_size: 16, eval_every: 5}
compare: {learning_rate: [0.01, 0.001]}
seeds: 2
"""


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which the tiny study was run, and what that printed."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(STUDY)
    return folder, lanework("run", "tiny.yaml", folder=folder)


# What needs no training ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "run", "plan", "list", "schema", "show", "report"])
def test_help_reads_as_reviewed(command: str, tmp_path: Path, golden: Golden) -> None:
    done = lanework(*[command] if command else [], "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    golden(f"help-{command or 'lanework'}.txt", done.stdout)


@pytest.mark.parametrize(
    "arguments", [(), ("optimizer",), ("optimizer", "adam"), ("schedule", "cosine")]
)
def test_list_reads_as_reviewed(arguments: tuple[str, ...], tmp_path: Path, golden: Golden) -> None:
    done = lanework("list", *arguments, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    golden(f"{'-'.join(['list', *arguments])}.txt", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "optimiser"), r"got 'optimiser'.*optimizer"),
        (("list", "optimizer", "adm"), r"got 'adm'.*adam"),
        (("plan", "nowhere.yaml"), r"nowhere\.yaml"),
        (("run", "nowhere.yaml"), r"nowhere\.yaml"),
        (("show", "nowhere"), r"nowhere"),
        (("report", "nowhere"), r"nowhere"),
        (("run", "x.yaml", "--memory", "much"), r"must be a size above 0, got 'much'.*4GiB"),
        (("run", "x.yaml", "--memory", "0GiB"), r"must be a size above 0, got '0GiB'"),
        (
            ("run", "x.yaml", "--resume", "--overwrite"),
            r"--overwrite deletes it\. Give one of them",
        ),
        (("trian", "x.yaml"), r"trian"),
    ],
)
def test_a_bad_request_ends_with_2_and_no_traceback(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = lanework(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.search(message, " ".join(done.stderr.split()))


@pytest.mark.parametrize("command", ["plan", "run"])
def test_all_problems_of_a_file_are_told_at_once(
    command: str, tmp_path: Path, golden: Golden
) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    done = lanework(command, "wrong.yaml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    golden("wrong.txt", done.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong.yaml"]


def test_version_is_the_package_s(tmp_path: Path) -> None:
    from lanework import __version__

    assert lanework("--version", folder=tmp_path).stdout == f"lanework {__version__}\n"


def test_schema_is_json_that_knows_the_catalogue(tmp_path: Path) -> None:
    done = lanework("schema", folder=tmp_path)
    assert done.returncode == 0
    assert "properties" in json.loads(done.stdout)
    assert '"nesterov"' in done.stdout


def test_reading_results_does_not_load_jax(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    code = "import sys; from lanework import cli; cli.app(['show', 'runs/tiny'], standalone_mode=False); print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("statement", ["import lanework", "import lanework.cli"])
def test_starting_imports_nothing_heavy(statement: str) -> None:
    heavy = ("jax", "flax", "optax", "pandas", "scipy", "sklearn", "pyarrow", "rich", "pydantic")
    code = f"import sys; {statement}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# Running a study -------------------------------------------------------------------------------


def test_run_trains_and_says_where_the_report_is(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("Report: runs/tiny/report.html")
    assert (folder / "runs/tiny/report.html").stat().st_size > 0
    assert json.loads((folder / "runs/tiny/results.json").read_text())["runs"]


def test_progress_without_a_terminal_is_plain_lines(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = finished
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert re.search(r"4 of 4 runs done, 0 training; best val_accuracy 0\.\d+ \(", done.stderr)


def test_running_again_asks_what_to_do(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    again = lanework("run", "tiny.yaml", folder=folder)
    assert again.returncode == 2
    assert re.search(r"runs/tiny: .*this one holds a complete study.*--overwrite", again.stderr)


def test_resuming_a_complete_study_tells_its_results(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = finished
    again = lanework("run", "tiny.yaml", "--resume", folder=folder)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_show_says_it_again_and_lists_the_runs(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = finished
    shown = lanework("show", "runs/tiny", folder=folder)
    assert shown.returncode == 0, shown.stderr
    assert done.stdout.startswith(shown.stdout.rstrip())
    with_runs = lanework("show", "runs/tiny", "--runs", folder=folder)
    table = with_runs.stdout.removeprefix(shown.stdout).strip().splitlines()
    assert table[0].split()[:3] == ["run", "seed", "optimizer"]
    assert len(table) == 1 + 4


def test_report_is_written_anew(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    page = folder / "runs/tiny/report.html"
    before = page.read_text()
    page.unlink()
    done = lanework("report", "runs/tiny", folder=folder)
    assert (done.returncode, done.stdout) == (0, "runs/tiny/report.html\n")
    assert page.read_text() == before


def test_quiet_prints_only_where_the_report_is(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    done = lanework("run", "tiny.yaml", "--quiet", "--out", "here", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "here/report.html\n", "")


def test_plan_counts_runs_and_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    done = lanework("plan", "tiny.yaml", "--memory", "1 GiB", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 recipes x 2 seeds = 4 runs in 2 programs" in done.stdout
    assert "1.0 GiB" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_study_without_a_good_run_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "doomed.yaml").write_text(DOOMED)
    done = lanework("run", "doomed.yaml", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "No run of this study ended well" in done.stderr
    assert (tmp_path / "runs/doomed/report.html").exists()


def test_interrupt_says_how_to_resume_and_resuming_works(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    command = [sys.executable, "-m", "lanework.cli", "run", "long.yaml", "--out", "here"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "training program" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "lanework run long.yaml --out here --resume" in rest
    assert "Traceback" not in rest

    again = lanework("run", "long.yaml", "--out", "here", folder=tmp_path)
    assert again.returncode == 2
    assert "this one holds an interrupted study. Continue it with --resume" in again.stderr

    resumed = lanework("run", "long.yaml", "--out", "here", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    runs = json.loads((tmp_path / "here/results.json").read_text())["runs"]
    assert len(runs) == 4


@pytest.mark.parametrize(
    ("command", "works", "told"),
    [
        ("check", "Study.from_file", ""),
        ("rate", "rates.rate", "Interrupted. Nothing of a search for a rate is kept.\n"),
        (
            "heal",
            "Study.from_file",
            "Interrupted. What is done is saved; the same command goes on.\n",
        ),
    ],
)
def test_ctrl_c_ends_with_130_and_says_what_is_kept(
    command: str, works: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"lanework.api.{works}", interrupt)
    done = CliRunner().invoke(cli.app, [command, "any.yaml"])
    assert (done.exit_code, done.stderr) == (130, told)


def test_a_terminal_gets_one_live_display(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "lanework.cli", "run", "tiny.yaml"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = _read_all(ours)
        assert process.wait(60) == 0
    assert "\x1b[?25l" in shown  # the cursor is hidden while the display is live
    assert "\x1b[?25h" in shown  # and shown again
    assert "runs done" in shown
    assert "best val_accuracy" in shown


def _read_all(descriptor: int) -> str:
    """All that is written to a terminal until its other side closes."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other side has gone
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


# Pieces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("500 MB", 5e8), ("1e9", 1e9), ("2kib", 2048), ("0.5TB", 5e11)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: float) -> None:
    assert cli.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "4 apples", "-1GB", "0", "1.2.3", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="must be a size above 0, got"):
        cli.parse_size(text)


def _progress(**changes: object) -> cli.Progress:
    from dataclasses import replace

    from lanework.api import Progress

    progress = Progress(
        message="training program 1 of 1",
        runs_total=40,
        runs_done=0,
        lanes_active=8,
        lanes_in_trouble=0,
        metric="val_accuracy",
        best_name="",
        best_value=float("nan"),
        samples_per_s=0.0,
        seconds_left=None,
        elapsed_s=1.5,
    )
    return replace(progress, **changes)


def test_a_line_tells_what_is_known() -> None:
    assert cli.progress_line(_progress()) == (
        "   1.5 s  training program 1 of 1: 0 of 40 runs done, 8 training"
    )
    known = _progress(
        runs_done=7,
        lanes_in_trouble=2,
        best_name="adam 0.01",
        best_value=0.98111,
        samples_per_s=1_810_000.0,
    )
    assert cli.progress_line(known) == (
        "   1.5 s  training program 1 of 1: 7 of 40 runs done, 8 training; "
        "best val_accuracy 0.9811 (adam 0.01); 1.81 M samples/s; 2 in trouble"
    )


@pytest.mark.parametrize(
    ("rate", "text"),
    [(12.0, "12 samples/s"), (4_050.0, "4.05 k samples/s"), (2.5e6, "2.5 M samples/s")],
)
def test_speed_has_a_readable_unit(rate: float, text: str) -> None:
    assert text in cli.progress_line(_progress(samples_per_s=rate))


def test_lines_come_for_news_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(cli.time, "monotonic", lambda: now)
    lines: list[str] = []
    watch = cli.lines_to(lines.append)
    watch(_progress(message="compiling program 1 of 1"))  # the first one
    watch(_progress(message="compiling program 1 of 1"))  # nothing new
    assert len(lines) == 1
    watch(_progress(runs_done=1))  # another stage
    watch(_progress(runs_done=3))  # less than a tenth of the runs
    assert len(lines) == 2
    watch(_progress(runs_done=5))  # a tenth more
    assert len(lines) == 3
    now += 2 * cli.LINE_EVERY_S
    watch(_progress(runs_done=5))  # some time has passed
    assert len(lines) == 4
    watch(_progress(runs_done=40))  # all done
    watch(_progress(runs_done=40))
    assert len(lines) == 5


def test_the_live_display_shows_what_one_waits_for() -> None:
    from rich.console import Console

    def shown(progress: cli.Progress | None) -> str:
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(cli._drawn(progress, 75.0))
        return console.export_text()

    assert shown(None).split() == ["loading", "1:15"]
    starting = shown(_progress())
    assert "no evaluation yet" in starting
    assert "1:15 so far, ? left" in starting
    assert "trouble" not in starting
    text = shown(
        _progress(
            runs_done=7,
            lanes_in_trouble=2,
            best_name="adam",
            best_value=0.5,
            samples_per_s=1e6,
            seconds_left=3.2,
        )
    )
    assert "7 of 40 runs done, 8 training" in text
    assert "best val_accuracy 0.5 (adam)" in text
    assert "1 M samples/s" in text
    assert "1:15 so far, 0:03 left" in text
    assert "2 runs healed or diverged" in text
