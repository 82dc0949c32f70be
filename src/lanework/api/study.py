"""Studies and their results as Python sees them, with the same names as a study file.

Owns the public functions; strings `spec`, `training` and `report` together and computes nothing itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanework import spec as specs
from lanework.errors import Problem, StoreError
from lanework.store import FindingRow, Store

if TYPE_CHECKING:
    import pandas as pd

    from lanework.api.check import Check
    from lanework.api.describe import Description
    from lanework.api.heal import Healing
    from lanework.api.preparing import Prepared
    from lanework.api.session import Watcher
    from lanework.export import Model

FROM_PYTHON = "<object>"


class Study:
    """A study: data, network, recipes to compare, seeds.

    Example:
        >>> study = Study(
        ...     study="demo",
        ...     data="iris",
        ...     model={"net": "mlp", "hidden": [8]},
        ...     train={"epochs": 2},
        ...     compare={"optimizer": ["sgd", "adam"]},
        ...     seeds=2,
        ... )
        >>> len(study.spec.seeds)
        2
    """

    def __init__(
        self,
        *,
        data: Any,
        study: str = "study",
        model: Any = "mlp",
        train: Mapping[str, Any] | None = None,
        compare: Mapping[str, Any] | Sequence[Any] | None = None,
        seeds: int | Sequence[int] = 1,
        report: Mapping[str, Any] | None = None,
        exclude: Sequence[Mapping[str, Any]] = (),
        notes: str = "",
    ) -> None:
        """Check and take down a study; nothing is loaded or trained yet.

        Args:
            data: A source name or path, a mapping as in a study file, a DataFrame (with `{"source": frame, "target": ...}`), or a
                pair of arrays `(x, y)`.
            study: Its name, also the name of its folder.
            model: A network name, a mapping as in a study file, or an `nnx.Module` class.
            train: The recipe, as in a study file.
            compare: What to compare, as in a study file.
            seeds: How many seeds, or which.
            report: What the report ranks by.
            exclude: Combinations to leave out.
            notes: Free text for the report.

        Raises:
            SpecError: With every problem found.
        """
        self._arrays, data_spec = _take_data(data)
        self._module, model_spec = _take_model(model)
        mapping: dict[str, Any] = {
            "study": study,
            "data": data_spec,
            "model": model_spec,
            "seeds": seeds,
        }
        given = {
            "train": train,
            "compare": compare,
            "report": report,
            "exclude": list(exclude),
            "notes": notes,
        }
        mapping |= {key: value for key, value in given.items() if value}
        self.spec = specs.parse_study(
            _plain(mapping), base=Path.cwd(), where="Study(...)", look=_look
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Study:
        """The study of a study file.

        Raises:
            SpecError: With every problem of the file.
        """
        return cls._of(specs.load_study(Path(path), look=_look))

    @classmethod
    def _of(cls, spec: specs.StudySpec, *, arrays: Any = None, module: Any = None) -> Study:
        study = cls.__new__(cls)
        study.spec, study._arrays, study._module = spec, arrays, module
        return study

    def plan(self, *, memory: float | None = None) -> Plan:
        """Runs, programs, expected time and memory, without training.

        Args:
            memory: Bytes that lanes may use; 60 % of the machine's by default.
        """
        if not specs.may_have_auto(self.spec):
            return Plan(self._prepare(self.spec, memory=memory, known=None))
        from lanework.api import rates

        return Plan(self._prepare(rates.stand_in(self.spec), memory=memory, known=None))

    def signals(self) -> str:
        """How signals and gradients pass through each network of the study before its first step, as a table to print.

        For each network, with the weights of the first seed and up to 256 training samples: variance by layer of the
        outputs, of what the activation makes of them, and of the loss gradient that comes back.

        Raises:
            LaneworkError: As `run`.
        """
        from lanework.api import rates, starts

        prepared = self._prepare(rates.stand_in(self.spec), memory=None, known=None)
        return starts.text(starts.starts(prepared, is_measured=True))

    def describe(self, *, memory: float | None = None) -> Description:
        """The study's networks: layers, shapes, parameters, multiply-adds, memory of a lane; trains nothing.

        Args:
            memory: Bytes that lanes may use; 60 % of the machine's by default.
        """
        from lanework.api import describe

        spec = self.spec
        if specs.may_have_auto(spec):
            from lanework.api import rates

            spec = rates.stand_in(spec)
        return describe.describe(self._prepare(spec, memory=memory, known=None))

    def check(self, *, memory: float | None = None, progress: Watcher | None = None) -> Check:
        """Look at every configuration before training: data, networks, gradients, learning rates; takes seconds.

        Args:
            memory: Bytes that lanes may use; 60 % of the machine's by default.
            progress: Told what is being done.

        Returns:
            What was found, worst first; `print(found.text())`.

        Raises:
            SpecError: The study asks for something impossible.
            DataError: The data cannot be used.
        """
        from lanework.api import check, rates
        from lanework.api.session import announce

        begun = time.perf_counter()
        spec, unknown = self.spec, frozenset[int]()
        if specs.may_have_auto(spec):
            arms = specs.expand(spec)
            auto = (arm.index for arm in arms if arm.config.train.learning_rate == rates.AUTO)
            spec, unknown = rates.stand_in(spec), frozenset(auto)
        return check.check(
            self._prepare(spec, memory=memory, known=None),
            tell=lambda text: announce(progress, text, begun=begun),
            unknown=unknown,
        )

    def run(
        self,
        folder: str | Path | None = None,
        *,
        memory: float | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: Watcher | None = None,
        snapshot_every_s: float = 15.0,
        check: bool | None = False,
        is_strict: bool = False,
        on_check: Callable[[Check], None] | None = None,
    ) -> Results:
        """Train the whole study and leave its folder complete.

        Args:
            folder: Where; `runs/<name>` by default.
            memory: Bytes that lanes may use; 60 % of the machine's by default.
            resume: Go on where an interrupted study stopped.
            overwrite: Delete what is in the folder first.
            progress: Called after each segment.
            snapshot_every_s: Seconds between snapshots to resume from; 0 saves one after each evaluation.
            check: Look at every configuration first (see `check`); what failed becomes a warning of the study. None: look beside
                the first training, at what costs next to nothing, and at the rest where the study is long.
            is_strict: Do not train where something failed; looks at everything.
            on_check: Called with what was found.

        Returns:
            The results.

        Raises:
            SpecError: The study asks for something impossible, or the check failed and is strict.
            DataError: The data cannot be used.
            StoreError: The folder holds another study, or a complete one.
        """
        begun = time.perf_counter()
        target = Path(folder) if folder else Path("runs") / self.spec.study
        try:
            known = _make_room(target, resume=resume, overwrite=overwrite)
            target.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(
                f"{target}: the results need a folder that can be written, making it failed ({problem}). Give another one with --out."
            ) from problem
        from lanework.api import training

        clock = {"import": time.perf_counter() - begun}
        mark = time.perf_counter()
        checked = None
        if (check or is_strict) and known is None:
            checked = self.check(memory=memory, progress=progress)
            if on_check is not None:
                on_check(checked)
            if is_strict:
                checked.insist()
            clock["check"] = time.perf_counter() - mark
            mark = time.perf_counter()
        spec, found = self._with_rates(target, known=known, memory=memory, progress=progress)
        if found and known is None:
            clock["search"] = time.perf_counter() - mark
            mark = time.perf_counter()
        prepared = self._prepare(spec, memory=memory, known=known)
        prepared = replace(prepared, asked=specs.content_hash(self.spec), rates=tuple(found))
        if checked is not None:
            warnings = (*prepared.warnings, *checked.warnings())
            prepared = replace(prepared, check=checked.record(), warnings=warnings)
        clock["prepare"] = time.perf_counter() - mark
        if known is not None:
            training.check_same(target, prepared)
            if known["complete"]:
                results = _completed(target, arrays=self._arrays, module=self._module)
                return self._tried(results, memory=memory, progress=progress)
        training.carry_out(
            prepared,
            folder=target,
            resume=known is not None,
            watcher=progress,
            clock=clock,
            begun=begun,
            snapshot_every_s=snapshot_every_s,
            is_checked=check is None and checked is None,
            on_check=on_check,
        )
        results = Results(target, arrays=self._arrays, module=self._module)
        return self._tried(results, memory=memory, progress=progress)

    def heal(
        self,
        folder: str | Path | None = None,
        *,
        top: int = 3,
        seeds: int = 5,
        memory: float | None = None,
        progress: Watcher | None = None,
    ) -> Healing:
        """Train the study, or go on with it, and try remedies on what is found sick; see `Results.heal`.

        Args:
            folder: Where; `runs/<name>` by default. A folder that holds this study is used as it is.
            top: Remedies to try for each cause.
            seeds: Seeds of each recipe.
            memory: Bytes that lanes may use; 60 % of the machine's by default.
            progress: Called after each segment.

        Raises:
            LaneworkError: As `run`.
        """
        target = Path(folder) if folder else Path("runs") / self.spec.study
        is_there = (target / "records.sqlite").exists()
        results = self.run(target, memory=memory, resume=is_there, progress=progress)
        return results.heal(top=top, seeds=seeds, memory=memory, progress=progress)

    def _tried(
        self, results: Results, *, memory: float | None, progress: Watcher | None
    ) -> Results:
        """The results, after the remedies were tried where the study asks for it."""
        if self.spec.remedies == "try":
            with Store(results.folder, create=False) as store:
                is_done = store.meta("remedies") is not None
            if not is_done:
                results.heal(memory=memory, progress=progress)
        return results

    def _with_rates(
        self,
        folder: Path,
        *,
        known: Mapping[str, Any] | None,
        memory: float | None,
        progress: Watcher | None,
    ) -> tuple[specs.StudySpec, list[dict[str, Any]]]:
        """The study with a number wherever it says `learning_rate: auto`, and how each was found."""
        if not specs.may_have_auto(self.spec):
            return self.spec, []
        from lanework.api import rates
        from lanework.cohort import devices

        if known is None:
            devices.prepare()
            return rates.resolve_auto(
                self.spec,
                arrays=self._arrays,
                module=self._module,
                memory_bytes=memory,
                tell=progress,
            )
        # What was found once stays, whatever this machine would find today.
        with Store(folder, create=False) as store:
            asked, found = store.meta("asked"), store.meta("rates")
        if asked != specs.content_hash(self.spec):
            return rates.stand_in(self.spec), []  # refused in a moment: it is another study
        if not found:
            return self.spec, []
        return specs.load_study(folder / "study.yaml"), list(found)

    def _prepare(
        self,
        spec: specs.StudySpec,
        *,
        memory: float | None,
        known: Mapping[str, Any] | None,
    ) -> Prepared:
        from lanework.api import preparing
        from lanework.cohort import devices

        devices.prepare()
        strategies = {bucket["key"]: bucket for bucket in (known or {}).get("buckets", [])}
        return preparing.prepare(
            spec,
            arrays=self._arrays,
            module=self._module,
            memory_bytes=memory,
            strategies=strategies,
        )


def _completed(folder: Path, *, arrays: Any, module: Any) -> Results:
    """The results of a study that has trained everything; one killed while it wrote its report gets it now."""
    results = Results(folder, arrays=arrays, module=module)
    if not (folder / "report.html").is_file():
        results.report()
    return results


def _look(data: specs.DataSpec) -> list[Problem]:
    from lanework.data import peek

    return peek(data)


def _take_data(data: Any) -> tuple[Any, Any]:
    """Objects from Python apart from what a study file could say."""
    if isinstance(data, str | Path):
        return None, {"source": str(data)}
    if isinstance(data, Mapping):
        source = data.get("source")
        if isinstance(source, str | Path):
            return None, {**data, "source": str(source)}
        return source, {**data, "source": FROM_PYTHON}
    return data, {"source": FROM_PYTHON}


def _take_model(model: Any) -> tuple[Any, Any]:
    if isinstance(model, str):
        return None, {"net": model}
    if isinstance(model, Mapping):
        net = model.get("net")
        return (
            (net, {**model, "net": FROM_PYTHON}) if isinstance(net, type) else (None, dict(model))
        )
    return model, {"net": FROM_PYTHON}


def _plain(value: Any) -> Any:
    """Tuples to lists and mappings to dicts, as a study file would have them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _make_room(folder: Path, *, resume: bool, overwrite: bool) -> Mapping[str, Any] | None:
    """Decide what to do with a folder that may hold something; the stored plan when resuming."""
    records = folder / "records.sqlite"
    if overwrite and records.exists():
        shutil.rmtree(folder)
    if not records.exists():
        if folder.exists() and any(folder.iterdir()) and not resume:
            raise StoreError(
                f"{folder}: a new study needs an empty folder, this one holds other files. Give another folder with --out."
            )
        return None
    with Store(folder, create=False) as store:
        is_complete = bool(store.meta("complete"))
        plan: Mapping[str, Any] | None = store.meta("plan")
    if not resume:
        state = "a complete study" if is_complete else "an interrupted study"
        raise StoreError(
            f"{folder}: a new study needs an empty folder, this one holds {state}. Continue it with --resume, replace it with "
            "--overwrite, or give another folder with --out."
        )
    if plan is None:  # killed before anything was planned: start afresh
        shutil.rmtree(folder)
        return None
    return {**plan, "complete": is_complete}


@dataclass(frozen=True)
class Plan:
    """What a study will do; print it."""

    prepared: Prepared

    def record(self) -> dict[str, Any]:
        """The plan as plain values (as stored with the study)."""
        from lanework.api import preparing

        return preparing.plan_record(self.prepared)

    def text(self) -> str:
        """The plan in words."""
        from lanework.api import planning

        return planning.text(self.prepared)

    def __str__(self) -> str:
        return self.text()


class Results:
    """What a study left behind, read from its folder."""

    def __init__(self, folder: str | Path, *, arrays: Any = None, module: Any = None) -> None:
        """Open a study's folder.

        Args:
            folder: The folder.
            arrays: The data, if it was given from Python.
            module: The network's class, if it was given from Python.

        Raises:
            StoreError: When there is no study in it.
        """
        self.folder = Path(folder)
        self._arrays, self._module = arrays, module
        with Store(self.folder, create=False):
            pass

    def best(self) -> Model:
        """The best model: the best run of the recipe that is best on average.

        Raises:
            StoreError: When no run of the study ended well.
        """
        from lanework import export

        if not (self.folder / "best").is_dir():
            raise StoreError(
                f"{self.folder}: a best model needs a run that ended well, there is none. See the report for what went wrong."
            )
        return export.read(self.folder / "best", module=self._module)

    def heal(
        self,
        *,
        top: int = 3,
        seeds: int = 5,
        folder: str | Path | None = None,
        memory: float | None = None,
        progress: Watcher | None = None,
    ) -> Healing:
        """Find out what is the matter with each recipe, and train the sick ones again beside their remedies.

        Every remedy has the seeds, rows and batches of the sick recipe. What it changed, with its interval, goes into the records,
        the report and `results.json`; the study with the best remedies in it is left in the folder as `healed.yaml`.

        Args:
            top: Remedies to try for each cause.
            seeds: Seeds of each recipe.
            folder: Where the remedies are trained; `remedies` inside of the study's folder by default.
            memory: Bytes that lanes may use; 60 % of the machine's by default.
            progress: Called after each segment.

        Returns:
            What was found and what helped; `print(found)`.

        Raises:
            StoreError: The study was not trained to its end, or its folder cannot be written.
        """
        from lanework.api import heal

        return heal.heal(
            self.folder,
            top=top,
            seeds=seeds,
            out=folder,
            arrays=self._arrays,
            module=self._module,
            memory=memory,
            progress=progress,
        )

    def frame(self) -> pd.DataFrame:
        """One row per run: arm, seed, fold (with cross-validation), factors, status, verdict, metrics."""
        import pandas as pd

        with Store(self.folder, create=False) as store:
            results = {row.run: row for row in store.results()}
            rows = []
            for run in store.runs():
                ended = results.get(run.run)
                row: dict[str, Any] = {
                    "run": run.run,
                    "arm": run.arm_name,
                    "seed": run.seed,
                    **({} if run.fold is None else {"fold": run.fold}),
                    **run.factors,
                }
                if ended is not None:
                    row |= {"status": ended.status, "verdict": ended.verdict, "steps": ended.steps}
                    row |= {"best_step": ended.best_step, "seconds": ended.seconds, **ended.metrics}
                rows.append(row)
        return pd.DataFrame(rows)

    def findings(self) -> pd.DataFrame:
        """What is the matter with which run, worst first in each: one row per finding, none for healthy runs.

        Columns: run, arm, seed, code, level, confidence, sentence, evidence (a mapping), step, layer, remedies (best first).
        """
        import pandas as pd

        with Store(self.folder, create=False) as store:
            runs = {run.run: run for run in store.runs()}
            rows = [
                {"run": row.run, "arm": runs[row.run].arm_name, "seed": runs[row.run].seed}
                | row._asdict()
                for row in store.findings()
            ]
        names = ("run", "arm", "seed", *FindingRow._fields[1:])
        return pd.DataFrame(rows, columns=list(names))

    def report(self) -> Path:
        """Write the report again from the records; gives its path."""
        from lanework import report

        return Path(report.write(self.folder))

    def summary(self) -> str:
        """The answer in a few lines."""
        from lanework import report

        return str(report.summary(self.folder))

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r})"


def run(
    path: str | Path,
    *,
    folder: str | Path | None = None,
    memory: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Watcher | None = None,
    snapshot_every_s: float = 15.0,
    check: bool | None = False,
    is_strict: bool = False,
    on_check: Callable[[Check], None] | None = None,
) -> Results:
    """Run a study file; see `Study.run` for the arguments, results and errors."""
    return Study.from_file(path).run(
        folder,
        memory=memory,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        snapshot_every_s=snapshot_every_s,
        check=check,
        is_strict=is_strict,
        on_check=on_check,
    )


def load(folder: str | Path) -> Results:
    """The results in a study's folder.

    Raises:
        StoreError: When there is no study in it.
    """
    return Results(folder)
