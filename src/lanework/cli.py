"""The command line: parse, call `lanework.api`, print.

Owns the commands, the progress display and the exit codes: 0 done, 1 the study ran but no run of it ended well, 2 a bad
request, 130 interrupted. Everything heavy is imported inside the commands, so that `lanework --help` answers at once;
at its top this module must import neither JAX nor pandas, Rich or pydantic.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lanework.errors import LaneworkError

if TYPE_CHECKING:
    from rich.table import Table

    from lanework.api import Progress
    from lanework.api.check import Check

NO_GOOD_RUN, BAD_REQUEST, INTERRUPTED = 1, 2, 130
LINE_EVERY_S = 5.0
LINE_EVERY_SHARE = 0.1
UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train whole studies of neural networks side by side, and compare their recipes honestly.",
    epilog="Start with: lanework run STUDY.yaml. Exit codes: 0 done, 1 no run ended well, 2 bad request, 130 interrupted.",
)


def main() -> None:
    """Run the command line; a bad request is told in words and ends with exit code 2."""
    try:
        app(prog_name="lanework")
    except LaneworkError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_REQUEST)


def parse_size(text: str) -> float:
    """Bytes of a size as people write it.

    Args:
        text: A number and a unit: ``4GiB``, ``500 MB``, ``1e9``.

    Returns:
        Bytes, above 0.

    Raises:
        BadParameter: It is no such size.

    Example:
        >>> parse_size("1.5 KiB")
        1536.0
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    try:
        size = float(match.group(1)) * UNITS[match.group(2)] if match else math.nan
    except (ValueError, KeyError):
        size = math.nan
    if not size > 0:
        raise typer.BadParameter(
            f"must be a size above 0, got {text!r}. Use a number with a unit, for example 4GiB or 500MB."
        )
    return size


StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a study.")]
Memory = Annotated[
    float | None,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Memory that lanes may use, e.g. 4GiB. Default: 60 % of the machine's.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain values as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, but no progress.")]


def _at_least_one(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise typer.BadParameter(f"must be a whole number >= 1, got {value}. Use for example 5.")
    return value


def _number(text: str, *, metavar: str = "N") -> Any:
    """An option for a whole number >= 1 whose help tells its default."""
    return typer.Option(metavar=metavar, callback=_at_least_one, help=text, show_default=False)


def _version(is_asked: bool) -> None:
    if is_asked:
        from lanework import __version__

        print(f"lanework {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def run(
    study: StudyFile,
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where. Default: runs/NAME-OF-THE-STUDY."),
    ] = None,
    memory: Memory = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted study stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the study that is in the folder first.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the path of the report.")
    ] = False,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Look at everything in every configuration first (lanework check), or at nothing. Default: at what costs little.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="As --check, and do not train where it finds a fault."),
    ] = False,
) -> None:
    """Train a study, write its report and say where it is."""
    if resume and overwrite:
        raise typer.BadParameter(
            "--resume keeps what is in the folder, --overwrite deletes it. Give one of them."
        )
    from lanework import api

    with _display(is_quiet=quiet, interrupted=_how_to_resume(study, out)) as watcher:
        results = api.run(
            study,
            folder=out,
            memory=memory,
            resume=resume,
            overwrite=overwrite,
            progress=watcher,
            check=check,
            is_strict=strict,
            on_check=None if quiet else _tell_check,
        )
    page = results.folder / "report.html"
    print(page if quiet else f"{results.summary()}\n\nReport: {page}")
    if not (results.folder / "best").is_dir():
        print(
            "No run of this study ended well, so there is no best model; the report says what went wrong.",
            file=sys.stderr,
        )
        raise typer.Exit(NO_GOOD_RUN)


def _tell_check(found: Check) -> None:
    """What the gate says: its count where all was looked at, and what is not as it should be."""
    doubtful = found.text(passed=False)
    if doubtful or not found.left_out:
        print(f"check: {found.summary()}", file=sys.stderr)
    if doubtful:
        print(doubtful, file=sys.stderr)


def _how_to_resume(study: Path, out: Path | None) -> str:
    where = f" --out {out}" if out else ""
    return f"Interrupted. What is done is saved; go on with: lanework run {study}{where} --resume"


@app.command()
def plan(study: StudyFile, *, memory: Memory = None) -> None:
    """Say what a study would do and what it would cost, without training."""
    from lanework import api

    print(api.Study.from_file(study).plan(memory=memory).text())


@app.command()
def describe(
    study: StudyFile,
    *,
    as_json: AsJson = False,
    memory: Memory = None,
) -> None:
    """Print the networks of a study: layers, shapes, parameters, multiply-adds, memory per lane."""
    import json

    from lanework import api

    found = api.Study.from_file(study).describe(memory=memory)
    print(json.dumps(found.record(), indent=1) if as_json else found.text())


@app.command()
def check(
    study: StudyFile,
    *,
    as_json: AsJson = False,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Look at every configuration of a study before training: data, networks, gradients, rates."""
    import json

    from lanework import api

    with _display(is_quiet=quiet or as_json) as watcher:
        found = api.Study.from_file(study).check(memory=memory, progress=watcher)
    print(json.dumps(found.record(), indent=1) if as_json else _check_text(found))
    if not found.is_good:
        raise typer.Exit(NO_GOOD_RUN)


def _check_text(found: Check) -> str:
    """The items of the gate, levels in colour on a terminal."""
    return _coloured(f"{found.text()}\n\n{found.summary()}")


def _coloured(text: str) -> str:
    """Lines that begin with a level, in colour on a terminal."""
    from rich.console import Console
    from rich.text import Text

    if not sys.stdout.isatty():
        return text
    coloured = Text(text)
    for level, style in (("pass", "green"), ("warn", "yellow"), ("fail", "bold red")):
        coloured.highlight_regex(rf"(?m)^{level}\b", style)
    console = Console()
    with console.capture() as capture:
        console.print(coloured, end="")
    return capture.get()


@app.command()
def rate(
    study: StudyFile,
    *,
    budget: Annotated[
        int | None,
        _number(
            "Epochs of a run of the search. Default: some hundred steps, at most the study's.",
            metavar="EPOCHS",
        ),
    ] = None,
    seeds: Annotated[int, _number("Seeds of each rate. Default: 5.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where. Default: runs/NAME-OF-THE-STUDY-rate."),
    ] = None,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Search for the learning rate of each recipe of a study, and say why."""
    from lanework.api import rates

    interrupted = "Interrupted. Nothing of a search for a rate is kept."
    with _display(is_quiet=quiet, interrupted=interrupted) as watcher:
        found, page = rates.rate(
            study,
            epochs=budget,
            num_seeds=seeds,
            folder=out,
            memory=memory,
            progress=watcher,
        )
    print(f"{rates.summary(found)}\n\nPage: {page}")
    if all(one.rate is None for one in found.recipes):
        print("No rate trained any recipe; the page says what was tried.", file=sys.stderr)
        raise typer.Exit(NO_GOOD_RUN)


@app.command()
def heal(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study file, or the folder of a study.")
    ],
    *,
    top: Annotated[int, _number("Remedies of each cause. Default: 3.")] = 3,
    seeds: Annotated[int, _number("Seeds of each remedy. Default: 5.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where: of a file, the study (default: runs/NAME-OF-THE-STUDY); of a folder, the remedies (default: remedies in it).",
        ),
    ] = None,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a study, and measure what mends it.

    Each sick recipe is trained again beside its remedies, with the same seeds and batches. The best goes into healed.yaml.
    """
    from lanework import api

    interrupted = "Interrupted. What is done is saved; the same command goes on."
    with _display(is_quiet=quiet, interrupted=interrupted) as watcher:
        if study.is_dir():
            found = api.load(study).heal(
                top=top, seeds=seeds, folder=out, memory=memory, progress=watcher
            )
        else:
            asked = api.Study.from_file(study)
            found = asked.heal(out, top=top, seeds=seeds, memory=memory, progress=watcher)
    print(f"{found.text()}\n\nReport: {found.folder / 'report.html'}")


@app.command()
def look(
    study: StudyFile,
    *,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A recipe of the study. May be repeated. Default: all."),
    ] = None,
    epochs: Annotated[
        str, typer.Option(metavar="LIST", help="Epochs, with commas, counted from 1.")
    ] = "1,2,3",
    count: Annotated[int, typer.Option(metavar="NUMBER", help="How many samples.", min=1)] = 8,
    seed: Annotated[
        int | None, typer.Option(metavar="SEED", help="Default: the first of the study.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where. Default: runs/NAME-OF-THE-STUDY-look."),
    ] = None,
) -> None:
    """Show exactly what enters the network: samples before and after augmentation, with their labels."""
    try:
        chosen = [int(item) for item in epochs.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"must be whole numbers with commas, got {epochs!r}. Use for example 1,2,3."
        ) from None
    from lanework.api import look as looking

    shown = looking.look(study, arms=arm or (), epochs=chosen, count=count, seed=seed, folder=out)
    print(f"{shown.summary}\n\nPage:    {shown.page}\nPicture: {shown.picture}")


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="One kind, e.g. optimizer.")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One row of it, e.g. adam.")
    ] = None,
) -> None:
    """List everything that can be chosen by name in a study file."""
    from lanework import catalog

    try:
        print(catalog.listing(kind, name))
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        raise typer.Exit(BAD_REQUEST) from None


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    import json

    from lanework import spec

    print(json.dumps(spec.schema(), indent=2))


@app.command()
def show(
    folder: Folder,
    *,
    runs: Annotated[bool, typer.Option("--runs", help="Add a table of all runs.")] = False,
) -> None:
    """Say again what came out of a study."""
    from lanework import report as reports

    print(reports.summary(folder))
    if runs:
        from lanework import api

        table = api.load(folder).frame().drop(columns="arm", errors="ignore")
        print(f"\n{table.to_string(index=False, na_rep='-', float_format='{:.4g}'.format)}")


@app.command()
def diagnose(
    folder: Folder,
    *,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also print the layers of sick runs as tables.")
    ] = False,
) -> None:
    """Say what is wrong with the runs of a study and what helps."""
    from lanework.api import diagnose as diagnosing

    print(_coloured(diagnosing.diagnose(folder).text(layers=layers)))


@app.command()
def report(folder: Folder) -> None:
    """Write the report of a study anew from its records, and say where it is."""
    from lanework import report as reports

    print(reports.write(folder))


@app.command()
def export(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A safetensors file to write.")],
) -> None:
    """Write the best model of a study of resnets as safetensors under torchvision's names."""
    from lanework import api

    print(f"{api.load(folder).best().save_torchvision(file)}: names and layout of torchvision.")


@app.command()
def sample(
    folder: Folder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="How the text begins.")] = "",
    *,
    length: Annotated[
        int, typer.Option(metavar="N", callback=_at_least_one, help="New characters.")
    ] = 300,
    temperature: Annotated[
        float,
        typer.Option(metavar="T", help="Above 1 more varied, below 1 more cautious, 0 likeliest."),
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Same seed, same text.")] = 0,
) -> None:
    """Let the best model of a study of a running text write on."""
    from lanework import api

    model = api.load(folder).best()
    print(prompt + model.sample(prompt, length=length, temperature=temperature, seed=seed))


@app.command()
def surface(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The surface, e.g. ravine.")
    ] = None,
    *,
    list_: Annotated[bool, typer.Option("--list", help="List the surfaces and stop.")] = False,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="An update rule, with options as in momentum:momentum=0.95. May be repeated. Default: the usual seven.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="One rate for all. Default: each rule's best."),
    ] = None,
    budget: Annotated[
        int, typer.Option(metavar="NUMBER", help="How many rates are tried for each rule.")
    ] = 40,
    rates: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Between which rates. Default: 1e-5,100."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="How many steps. Default: the surface's."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Where all rules start. Default: the surface's."),
    ] = None,
    noise: Annotated[
        float,
        typer.Option(metavar="STD", help="Standard deviation of noise on the gradient."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Seed of the noise.")] = 0,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where. Default: runs/surfaces.", show_default=False),
    ] = Path("runs/surfaces"),
) -> None:
    """Draw how update rules move on a 2-D surface: a page and a still figure."""
    from lanework import surfaces

    if list_:
        print(surfaces.listing())
        return
    if name is None:
        names = ", ".join(surfaces.SURFACES)
        raise typer.BadParameter(f"must have the name of a surface. Use one of {names}.")
    asked = surfaces.request(
        surfaces.find(name),
        optimizer or (),
        rate=rate,
        budget=budget,
        rates=rates,
        steps=steps,
        start=start,
        noise=noise,
        seed=seed,
    )
    drawn = surfaces.draw(asked, folder=out)
    print(f"{drawn.summary}\n\nPage:   {drawn.page}\nFigure: {drawn.figure}")


# Progress --------------------------------------------------------------------------------------


@contextmanager
def _display(
    *, is_quiet: bool, interrupted: str = ""
) -> Iterator[Callable[[Progress], None] | None]:
    """What is called with each progress: a live display on a terminal, lines elsewhere, nothing when quiet.

    Ctrl-C ends the command there, and says what `interrupted` says.
    """
    import os

    try:
        if is_quiet:
            yield None
        elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            with _live() as watcher:
                yield watcher
        else:
            yield lines_to(lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def lines_to(write: Callable[[str], None]) -> Callable[[Progress], None]:
    """A watcher that writes a line now and then: for each stage, each further tenth of the runs, and every few seconds.

    Args:
        write: Takes one line without its end.
    """
    last_time, last_share, last_message = -math.inf, 0.0, ""

    def watch(progress: Progress) -> None:
        nonlocal last_time, last_share, last_message
        share = progress.runs_done / max(1, progress.runs_total)
        is_new = progress.message != last_message
        is_due = time.monotonic() - last_time >= LINE_EVERY_S
        if is_new or is_due or share >= min(1.0, last_share + LINE_EVERY_SHARE) > last_share:
            last_time, last_share = time.monotonic(), share
            last_message = progress.message
            write(progress_line(progress))

    return watch


def progress_line(progress: Progress) -> str:
    """One progress as one line of text."""
    if not progress.runs_total:
        return f"{progress.elapsed_s:6.1f} s  {progress.message}"
    parts = [f"{progress.elapsed_s:6.1f} s  {progress.message}: {_runs(progress)}"]
    if progress.best_name:
        parts.append(_best(progress))
    if progress.samples_per_s:
        parts.append(_speed(progress))
    if progress.lanes_in_trouble:
        parts.append(f"{progress.lanes_in_trouble} in trouble")
    return "; ".join(parts)


def _runs(progress: Progress) -> str:
    return (
        f"{progress.runs_done} of {progress.runs_total} runs done, {progress.lanes_active} training"
    )


def _best(progress: Progress) -> str:
    return f"best {progress.metric} {progress.best_value:.4g} ({progress.best_name})"


def _speed(progress: Progress) -> str:
    rate = progress.samples_per_s
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if rate >= factor:
            return f"{rate / factor:.3g} {unit} samples/s"
    return f"{rate:.3g} samples/s"


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours, minutes and seconds.

    Example:
        >>> clock(75.2), clock(3723.0)
        ('1:15', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    """One display that stays in place on a terminal and is gone at the end."""
    from rich.console import Console
    from rich.live import Live

    latest: list[Progress] = []

    def watch(progress: Progress) -> None:
        latest[:] = [progress]

    begun = time.monotonic()
    with Live(
        get_renderable=lambda: _drawn(latest[-1] if latest else None, time.monotonic() - begun),
        console=Console(stderr=True),
        refresh_per_second=8,
        transient=True,
    ):
        yield watch


def _drawn(progress: Progress | None, elapsed_s: float) -> Table:
    """The live display: a bar, and under it what one wants to know while waiting."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    if progress is None or not progress.runs_total:
        table.add_row(progress.message if progress else "loading", clock(elapsed_s))
        return table
    left = "?" if progress.seconds_left is None else clock(progress.seconds_left)
    bar = ProgressBar(total=progress.runs_total, completed=progress.runs_done, width=32)
    table.add_row("runs", bar, f"{_runs(progress)}")
    table.add_row("best", _best(progress) if progress.best_name else "no evaluation yet")
    table.add_row("speed", _speed(progress) if progress.samples_per_s else progress.message)
    table.add_row("time", f"{clock(elapsed_s)} so far, {left} left")
    if progress.lanes_in_trouble:
        table.add_row("trouble", f"[red]{progress.lanes_in_trouble} runs healed or diverged[/red]")
    return table


if __name__ == "__main__":
    main()
