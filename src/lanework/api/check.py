"""The gate before training: every configuration of a study looked at in lanes, in seconds.

Owns what is looked at, in what order and at what price, and the result. What is measured of networks is in `check_networks` and
`check_rates`, what settings tell in `check_settings`, what follows from it in `check_items` and `lanework.health.judge`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeAlias

from lanework.api import check_data, check_items, check_networks, check_rates, check_settings
from lanework.api.check_networks import Group
from lanework.api.preparing import Laid, Prepared, identity, initialisers
from lanework.cohort import assemble, compiled, devices, plan
from lanework.errors import Problem, SpecError
from lanework.health.judge import LEVELS, Item
from lanework.report import check as check_page
from lanework.report import units

__all__ = ["BUDGET_SHARE", "ITEMS", "Check", "affordable", "affordable_parts", "check", "quick"]

Tell: TypeAlias = Callable[[str], None]

BUDGET_SHARE: Final = 0.1
"""Of a study's expected training time, what the dear items may take in the gate of `lanework run`: one study in ten that would have
been trained in vain pays for it."""
GROUP_SECONDS: Final = 3.0
"""About what compiling one program of a group takes the first time."""
MEMORY_SHARE: Final = 0.1
"""Of the memory that lanes may use, what the weights at the start may take on the host."""
ITEMS: Final = {
    "look": (
        *("initial_loss", "output_bias", "outputs", "symmetry", "batch_mixing", "modes"),
        "layer_variance",
    ),
    "stability": ("stability",),
    "trained": ("overfit", "inputs_matter"),
    "slopes": ("gradient", "regularisation"),
}
"""The parts of the gate that look at networks, the cheap one first, then the most telling, and the items that come of each."""


@dataclass(frozen=True)
class Check:
    """What the gate found.

    Attributes:
        study: Name of the study.
        items: Everything that was looked at, worst first.
        num_arms: Configurations.
        seconds: How long it took.
        left_out: Names of items that were not looked at, to save time.
    """

    study: str
    items: tuple[Item, ...]
    num_arms: int
    seconds: float
    left_out: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Item, ...]:
        """The items that failed."""
        return tuple(item for item in self.items if item.level == "fail")

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def warnings(self) -> tuple[str, ...]:
        """The items that failed as sentences, for the records of a study."""
        return tuple(_told(item) for item in self.failed)

    def insist(self) -> None:
        """Refuse a study of which something failed.

        Raises:
            SpecError: With every item that failed.
        """
        if self.failed:
            problems = [Problem("", _told(item)) for item in self.failed]
            raise SpecError(list(dict.fromkeys(problems)), where=f"{self.study} (check)")

    def record(self) -> dict[str, Any]:
        """Plain values, as stored with the study and printed by `--json`."""
        items = [asdict(item) for item in self.items]
        return {
            "study": self.study,
            "configurations": self.num_arms,
            "seconds": self.seconds,
            "left_out": list(self.left_out),
            "items": [{**item, "numbers": _plain(item["numbers"])} for item in items],
        }

    def text(self, *, passed: bool = True) -> str:
        """The items in words, worst first.

        Args:
            passed: Tell those too that are as they should be.
        """
        told = [asdict(item) for item in self.items if passed or item.level != "pass"]
        return "\n".join(check_page.lines(told))

    def summary(self) -> str:
        """How many items there are of each level, in one line."""
        counts = [sum(item.level == level for item in self.items) for level in LEVELS]
        text = (
            f"{self.study}, {units.counted(self.num_arms, 'configuration')}: {counts[2]} failed, "
            f"{units.counted(counts[1], 'warning')}, {counts[0]} passed ({self.seconds:.1f} s)."
        )
        if self.left_out:
            text += (
                f" Left out, to save time: {', '.join(self.left_out)}; lanework check looks at all."
            )
        return text


def _told(item: Item) -> str:
    arm = f" ({item.arm})" if item.arm else ""
    return f"Check of {item.name}{arm}: {item.sentence} {item.advice}".rstrip()


def _plain(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers as JSON has them: what is not finite as text."""
    return {name: v if math.isfinite(v) else str(v) for name, v in numbers.items()}


def check(
    prepared: Prepared, *, tell: Tell = lambda text: None, unknown: frozenset[int] = frozenset()
) -> Check:
    """Look at every configuration of a prepared study.

    Args:
        prepared: The study.
        tell: Told what is being done.
        unknown: Arms whose learning rate is still to be searched for; their rates are not probed.

    Returns:
        What was found.
    """
    begun = time.perf_counter()
    with ThreadPoolExecutor(max_workers=devices.available_cores()) as pool:
        built = [_programs(prepared, laid, pool) for laid in prepared.laid]
        return _looked(
            prepared, built, pool, parts=frozenset(ITEMS), tell=tell, unknown=unknown, begun=begun
        )


def quick(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    pool: Executor,
    *,
    parts: frozenset[str],
) -> Check:
    """The gate as `lanework run` has it: the cheap items, and of the dear ones those that the study can afford.

    Args:
        prepared: The study.
        built: Its programs, by position of the bucket; they may still be compiling.
        pool: Where they compile.
        parts: Which parts, see `affordable_parts`.

    Returns:
        What was found.
    """
    return _looked(prepared, built, pool, parts=parts, begun=time.perf_counter())


def affordable_parts(prepared: Prepared) -> frozenset[str]:
    """The parts that take little of a study's expected time and memory."""
    seconds = [plan.expected_seconds(laid.estimate, laid.bucket.key)[0] for laid in prepared.laid]
    most = max(laid.estimate.lane_bytes * laid.strategy.width for laid in prepared.laid)
    if most > MEMORY_SHARE * prepared.memory_bytes:
        return frozenset()
    return affordable(sum(seconds), num_groups=check_networks.num_groups(prepared))


def affordable(expected_s: float, *, num_groups: int) -> frozenset[str]:
    """The parts (`ITEMS`) that fit into `BUDGET_SHARE` of a study, in order; the look always does.

    Args:
        expected_s: Its expected training time, seconds.
        num_groups: How many different networks it has.

    Example:
        >>> sorted(affordable(10.0, num_groups=1)), sorted(affordable(60.0, num_groups=1))
        (['look'], ['look', 'stability'])
        >>> sorted(affordable(180.0, num_groups=1))
        ['look', 'slopes', 'stability', 'trained']
    """
    prices = {
        "look": 0.0,
        "stability": check_rates.PROBE_SECONDS,
        "trained": check_networks.TRAINING_SECONDS + GROUP_SECONDS * num_groups,
        "slopes": 2 * GROUP_SECONDS * num_groups,
    }
    left, chosen = BUDGET_SHARE * expected_s, set()
    for part in ITEMS:
        if prices[part] <= left:
            left -= prices[part]
            chosen.add(part)
    return frozenset(chosen)


def _looked(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    pool: Executor,
    *,
    parts: frozenset[str],
    tell: Tell = lambda text: None,
    unknown: frozenset[int] = frozenset(),
    begun: float,
) -> Check:
    tell("checking the data")
    looked = [pool.submit(check_data.items, dataset) for dataset in prepared.datasets]
    settings = pool.submit(check_settings.items, prepared)
    tell("checking the networks")
    groups = check_networks.groups(prepared, built) if "look" in parts else []
    waiting = [_submitted(prepared, group, pool, parts=parts) for group in groups]
    items: list[Item] = []
    if "stability" in parts:
        tell("probing learning rates")
        items += check_rates.probed(prepared, built, unknown, _starting_losses(groups, waiting))
    tell("checking gradients and short trainings")
    for group, futures in zip(groups, waiting, strict=True):
        told = {name: future.result() for name, future in futures.items()}
        items += check_items.judged(
            prepared,
            group,
            check_items.Told(told["look"], told.get("trained"), told.get("slopes")),
        )
    by_data = [
        item
        for place, future in enumerate(looked)
        for item in _by_data(prepared, place, future.result())
    ]
    # Within a level: what is wrong with settings and data first, since it brings the rest about.
    items = [*settings.result(), *by_data, *items]
    items.sort(key=lambda item: -LEVELS.index(item.level))
    left_out = tuple(name for part, names in ITEMS.items() if part not in parts for name in names)
    return Check(
        prepared.spec.study,
        tuple(items),
        len(prepared.arms),
        time.perf_counter() - begun,
        left_out,
    )


def _by_data(prepared: Prepared, place: int, found: Sequence[Item]) -> list[Item]:
    """Items of a data set, with the configurations that use it."""
    arms = [
        arm.index for arm in prepared.arms if check_networks.data_of(prepared, arm.index) == place
    ]
    own = check_items.label(prepared.arms, arms)
    return [replace(item, arm=own) for item in found]


def _submitted(
    prepared: Prepared, group: Group, pool: Executor, *, parts: frozenset[str]
) -> dict[str, Future[Any]]:
    """The programs of a group, started: the look, and where they are asked for the short trainings and the gradient check."""
    found = {"look": pool.submit(check_networks.look, group)}
    if "trained" in parts:
        found["trained"] = pool.submit(check_networks.train, group, found["look"])
    if "slopes" in parts:
        found["slopes"] = pool.submit(check_networks.slopes, prepared, group)
    return found


def _starting_losses(
    groups: Sequence[Group], waiting: Sequence[Mapping[str, Future[Any]]]
) -> dict[int, float]:
    """Loss of each arm before its first step: a small batch alone would not tell."""
    found: dict[int, float] = {}
    for group, futures in zip(groups, waiting, strict=True):
        losses = futures["look"].result()["loss"]
        for lane, subject in enumerate(group.subjects):
            found |= dict.fromkeys(subject.arms, float(losses[lane]))
    return found


def _programs(prepared: Prepared, laid: Laid, pool: ThreadPoolExecutor) -> compiled.Programs:
    """The study's own programs of a bucket, for training and starting only; what is compiled here is not compiled again."""
    bucket, dataset = laid.bucket, prepared.datasets[laid.bucket.data]
    inits = initialisers(prepared, bucket)
    programs = compiled.Programs(
        *laid.functions,
        strategy=laid.strategy,
        shapes=bucket.shapes,
        data=compiled.place(
            assemble.parts(dataset),
            num_devices=laid.strategy.num_devices,
            is_streamed=bucket.shapes.buffer_rows > 0,
            folds=[assemble.parts(one) for one in prepared.folds.get(bucket.data, ())],
        ),
        pool=pool,
        inits=inits,
        score_parts=(),
        identity=identity(prepared, bucket),
    )
    programs.prepare(init_kinds=range(len(inits)))
    return programs
