"""Catalogue rows of schedules, and what a run must have for a schedule to act as named.

Imports nothing heavy: a study is refused before JAX is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lanework.catalog.types import Entry, Hyper
from lanework.errors import Problem

__all__ = ["SCHEDULES", "problems"]

_MOST = 1_000_000  # epochs or evaluations: more is a slip of the pen


def _warmup(default: float = 0.0, *, low_open: bool = False) -> Hyper:
    return Hyper(
        "warmup_epochs",
        "float",
        default,
        "epochs (may be a fraction) over which the rate first rises linearly from 0",
        low=0.0,
        low_open=low_open,
        traced=True,
    )


def _decay_rate(default: float) -> Hyper:
    summary = "k, decay per epoch"
    return Hyper("rate", "float", default, summary, low=0.0, low_open=True, traced=True, log=True)


def _positive(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, low_open=True, traced=True)


def _share(name: str, default: float, summary: str, *, log: bool = False) -> Hyper:
    """A share in [0, 1], or in (0, 1] where it is searched on a log scale."""
    return Hyper(
        name, "float", default, summary, low=0.0, high=1.0, low_open=log, traced=True, log=log
    )


def _inside(name: str, default: float, summary: str) -> Hyper:
    """A share in (0, 1)."""
    return Hyper(
        name,
        "float",
        default,
        summary,
        low=0.0,
        high=1.0,
        low_open=True,
        high_open=True,
        traced=True,
    )


def _form(first: str, *others: str, summary: str) -> Hyper:
    return Hyper("form", "choice", first, summary, choices=(first, *others))


def _count(name: str, default: int, summary: str, *, low: int) -> Hyper:
    return Hyper(name, "int", default, summary, low=low, high=_MOST, traced=True)


_FINAL = _share("final", 0.0, "f, the share of the rate that is left at the end")
_DROP = "the rate is multiplied by this at each drop"
_CS231N = "CS231n notes, Neural networks part 3, annealing the learning rate"

SCHEDULES = (
    Entry(
        "schedule",
        "constant",
        "The same rate throughout.",
        "a(t) = a0",
        "the baseline",
        (_warmup(),),
    ),
    Entry(
        "schedule",
        "step",
        "Multiplies the rate by a factor every few epochs.",
        "a(t) = a0 factor^floor(t / every)",
        "He et al. 2015, https://arxiv.org/abs/1512.03385 (section 3.4)",
        (
            _positive("every", 10.0, "epochs between drops"),
            _inside("factor", 0.5, _DROP),
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "multi_step",
        "Multiplies the rate by a factor at chosen epochs, or at two shares of the run.",
        "a(t) = a0 factor^(number of milestones that t has reached)",
        "He et al. 2015, https://arxiv.org/abs/1512.03385 (section 4.2: at 1/2 and 3/4 of the run)",
        (
            Hyper(
                "milestones",
                "ints",
                (),
                "epochs before which the rate drops; empty: at the shares first and second of the run",
                low=1,
                high=_MOST,
            ),
            _inside("factor", 0.1, _DROP),
            _inside("first", 0.5, "share of the run before the first drop, without milestones"),
            _inside("second", 0.75, "share of the run before the second drop, without milestones"),
            _warmup(),
        ),
        notes="Shares drop at the same place however long the run is; milestones do not.",
    ),
    Entry(
        "schedule",
        "exponential",
        "Falls by the same share each epoch, smoothly.",
        "a(t) = a0 e^(-k t)",
        _CS231N,
        (_decay_rate(0.1), _warmup()),
    ),
    Entry(
        "schedule",
        "inverse",
        "Falls like one over time.",
        "a(t) = a0 / (1 + k t)",
        _CS231N,
        (_decay_rate(0.1), _warmup()),
    ),
    Entry(
        "schedule",
        "inverse_sqrt",
        "Falls like one over the root of time, after a flat start.",
        "a(t) = a0 / sqrt(max(1, t / flat))",
        "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762 (section 5.3)",
        (_positive("flat", 1.0, "epochs at the full rate before the fall"), _warmup()),
        notes="The flat start takes the place of a0 / sqrt(0). With warmup_epochs equal to flat it is the "
        "schedule of the source.",
    ),
    Entry(
        "schedule",
        "polynomial",
        "A power of the time that is left, down to a final share at the end of training.",
        "a(t) = a0 (f + (1-f) (1 - t/T)^power)",
        "Chen et al. 2016, https://arxiv.org/abs/1606.00915 (section 4.1: power 0.9)",
        (
            _positive("power", 0.9, "1 is linear; above, it falls early; below, late"),
            _FINAL,
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "linear",
        "A straight line from the full rate to a final share at the end of training.",
        "a(t) = a0 (f + (1-f) (1 - t/T))",
        "Devlin et al. 2018, https://arxiv.org/abs/1810.04805 (appendix A.2)",
        (_FINAL, _warmup()),
    ),
    Entry(
        "schedule",
        "cosine",
        "Half a cosine from the full rate to a final share of it at the end of training.",
        "a(t) = a0 (f + (1-f) (1 + cos(pi t / T)) / 2)",
        "Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983",
        (_FINAL, _warmup()),
    ),
    Entry(
        "schedule",
        "cosine_restarts",
        "Half cosines one after the other: the full rate comes back at each restart.",
        "a(t) = a0 (f + (1-f) (1 + cos(pi s / p_i)) / 2), s the time since restart i, p_i = period multiplier^i",
        "Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983",
        (
            _positive("period", 10.0, "epochs before the first restart"),
            Hyper(
                "multiplier",
                "float",
                1.0,
                "each period is this many times as long as the one before",
                low=1.0,
                traced=True,
            ),
            _share("final", 0.0, "f, the share of the rate that is left before each restart"),
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "one_cycle",
        "One rise to the full rate and one fall far below the start; allows large rates.",
        "a(k) = a0 times: start to 1 until step peak n - 1, then 1 to final at the last step n - 1",
        "Smith and Topin 2017, https://arxiv.org/abs/1708.07120; Smith 2018, https://arxiv.org/abs/1803.09820",
        (
            _inside("peak", 0.3, "share of the run at which the full rate is reached"),
            _share("start", 0.04, "share of the rate at the first step", log=True),
            _share("final", 4e-6, "share of the rate at the last step", log=True),
            _form("cosine", "linear", summary="the curve of the rise and of the fall"),
            Hyper(
                "three_phase",
                "bool",
                False,
                "fall as fast as it rose, back to start, and from there to final (as in the sources)",
            ),
            _warmup(),
        ),
        notes="Has a warm-up of its own: the rise. The learning rate given is the peak.",
    ),
    Entry(
        "schedule",
        "cyclic",
        "Rises and falls in a straight line, again and again.",
        "a(t) = a0 (low + (1-low) h_i (1 - |2 s / period - 1|)), s the time in cycle i; "
        "h_i = 1 (triangular), 2^-i (triangular2) or decay^t (exp_range)",
        "Smith 2015, https://arxiv.org/abs/1506.01186",
        (
            _positive("period", 10.0, "epochs of a whole cycle, up and down"),
            _share("low", 0.25, "share of the rate between cycles"),
            _form(
                "triangular",
                "triangular2",
                "exp_range",
                summary="height of the cycles: the same, halved each time, or shrinking by decay",
            ),
            _share("decay", 0.9, "factor on the height per epoch, for exp_range", log=True),
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "wsd",
        "Warm-up, a stable stretch, and a fall over the last share of the run.",
        "a(t) = a0 until (1 - decay) T; then a0 (f + (1-f) (1 - s)) (linear) or a0 (f + (1-f) (1 - sqrt(s))) "
        "(root), s the share of the fall that is over",
        "Hu et al. 2024, https://arxiv.org/abs/2404.06395; Haegele et al. 2024, https://arxiv.org/abs/2405.18392",
        (
            Hyper(
                "decay",
                "float",
                0.2,
                "share of the run over which the rate falls",
                low=0.0,
                high=1.0,
                low_open=True,
                traced=True,
            ),
            _FINAL,
            _form("linear", "root", summary="the curve of the fall"),
            _warmup(1.0),
        ),
    ),
    Entry(
        "schedule",
        "ramp",
        "A straight line from a given value to the base value, then constant.",
        "v(t) = from_value + (v0 - from_value) min(1, t / epochs)",
        "Sutskever et al. 2013, On the importance of initialization and momentum (momentum that grows)",
        (
            Hyper(
                "from_value",
                "float",
                0.0,
                "value at the first step, in the unit of what is scheduled",
                low=0.0,
                traced=True,
            ),
            _positive("epochs", 5.0, "epochs until the base value is reached"),
        ),
        notes="For momentum annealed from 0.5 to 0.9, or a warm-up that begins at a given rate. A base value "
        "of 0 stays 0.",
    ),
    Entry(
        "schedule",
        "geometric_ramp",
        "Rises exponentially over the whole run, from a share to the full rate: the range test.",
        "a(k) = a0 start^(1 - k / (n - 1)), k of n steps",
        "Smith 2015, https://arxiv.org/abs/1506.01186 (section 3.3: the range test, there linear)",
        (
            Hyper(
                "start",
                "float",
                1e-6,
                "share of the rate at the first step",
                low=0.0,
                high=1.0,
                low_open=True,
                high_open=True,
                traced=True,
                log=True,
            ),
        ),
        notes="To find a rate, not to train with one.",
    ),
    Entry(
        "schedule",
        "plateau",
        "Lowers the rate when the validation metric has not got better for a while, each run by its own.",
        "a = max(min_factor a0, factor a) after patience evaluations without an improvement above min_delta",
        "Bengio 2012, https://arxiv.org/abs/1206.5533 (section 3.1.1); as ReduceLROnPlateau in PyTorch and Keras",
        (
            _inside("factor", 0.5, _DROP),
            _count("patience", 5, "evaluations without improvement before a drop", low=1),
            Hyper(
                "min_delta",
                "float",
                1e-4,
                "what counts as better: more than this, in the unit of the metric",
                low=0.0,
                traced=True,
            ),
            _count("cooldown", 0, "evaluations after a drop that are not counted", low=0),
            _share("min_factor", 0.0, "share of the rate below which it is not lowered"),
            _warmup(),
        ),
        notes="Needs a validation part.",
        facts={"host": "plateau"},
    ),
    Entry(
        "schedule",
        "linear_warmup",
        "Rises linearly to the full rate, then stays there.",
        "a(t) = a0 min(1, t / warmup_epochs)",
        "Goyal et al. 2017, https://arxiv.org/abs/1706.02677",
        (_warmup(1.0, low_open=True),),
        notes="To join a warm-up to another schedule, give that one warmup_epochs.",
    ),
)


# --- what a run must have ------------------------------------------------------------------------


class _Choice(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


_Finding = tuple[str, str]  # the option and what is wrong with it
_Check = Callable[[Mapping[str, Any], float], list[_Finding]]


def problems(
    choice: _Choice, *, total_steps: int, steps_per_epoch: int, path: str
) -> list[Problem]:
    """What keeps a schedule from acting as named in a run of that length.

    Only the length of the run in epochs matters, `total_steps / steps_per_epoch`; before the data is known, epochs and 1
    do as well. Each option alone has passed its range already.

    Args:
        choice: Name and options of the schedule.
        total_steps: Steps of the whole run, at least 1.
        steps_per_epoch: Steps of an epoch, at least 1.
        path: Where the schedule stands, for example `train.schedule`.

    Returns:
        One problem for each option that does not fit, with what must hold, what was given and what to do; empty when all
        is well.

    Example:
        >>> from types import SimpleNamespace
        >>> late = SimpleNamespace(name="multi_step", options={"milestones": (30, 60)})
        >>> for problem in problems(
        ...     late, total_steps=400, steps_per_epoch=10, path="train.schedule"
        ... ):
        ...     print(problem)
        train.schedule.milestones: must be below epochs (40), got 60: the rate would not drop there. Use for example [20, 30].
    """
    total = total_steps / steps_per_epoch
    found = _check_warmup(choice.options, total)
    if choice.name in _CHECKS:
        found += _CHECKS[choice.name](choice.options, total)
    return [Problem(f"{path}.{option}", message) for option, message in found]


def _check_warmup(options: Mapping[str, Any], total: float) -> list[_Finding]:
    warmup = options.get("warmup_epochs", 0.0)
    if warmup < total or warmup == 0:
        return []
    text = f"must be below epochs ({total:g}), got {warmup:g}: the warm-up would never end. "
    return [("warmup_epochs", text + f"Use for example {total / 10:g}, a tenth of training.")]


def _never(option: str, what: str, remedy: str, *, share: float = 0.25) -> _Check:
    """The option, in epochs, must lie before the end of training."""

    def check(options: Mapping[str, Any], total: float) -> list[_Finding]:
        if options[option] < total:
            return []
        text = f"must be below epochs ({total:g}), got {options[option]:g}: {what}. "
        return [(option, text + f"Use for example {total * share:g}, or {remedy}.")]

    return check


def _longer(option: str, what: str, remedy: str) -> _Check:
    """The option, in epochs, must not be longer than training."""

    def check(options: Mapping[str, Any], total: float) -> list[_Finding]:
        if options[option] <= total:
            return []
        text = f"must be <= epochs ({total:g}), got {options[option]:g}: {what}. "
        return [(option, text + f"Use for example {remedy.format(half=f'{total / 2:g}')}.")]

    return check


def _check_milestones(options: Mapping[str, Any], total: float) -> list[_Finding]:
    given = list(options["milestones"])
    found = []
    if given != sorted(set(given)):
        text = f"must ascend, got {given}: each milestone comes once and in order. "
        found.append(("milestones", text + f"Use {sorted(set(given))}."))
    beyond = [epoch for epoch in given if epoch >= total]
    if beyond:
        late = ", ".join(map(str, beyond))
        text = f"must be below epochs ({total:g}), got {late}: the rate would not drop there. "
        halves = sorted({int(total / 2), int(total * 3 / 4)} - {0})
        remedy = f"Use for example {halves}." if halves else "Use schedule: constant."
        found.append(("milestones", text + remedy))
    return found


def _check_one_cycle(options: Mapping[str, Any], total: float) -> list[_Finding]:
    found = []
    rise, warmup = options["peak"] * total, options["warmup_epochs"]
    if rise < warmup < total:
        text = f"must be <= the rise of the cycle ({rise:g} epochs), got {warmup:g}: the peak would be passed before "
        text += "the warm-up is over. Use warmup_epochs: 0; the rise is a warm-up."
        found.append(("warmup_epochs", text))
    if options["three_phase"] and options["peak"] >= 0.5:
        text = f"must be below 0.5 with three_phase, got {options['peak']:g}: the fall is as long as the rise. "
        found.append(("peak", text + "Use for example 0.45, or three_phase: false."))
    return found


def _check_wsd(options: Mapping[str, Any], total: float) -> list[_Finding]:
    stable, warmup = (1 - options["decay"]) * total, options["warmup_epochs"]
    if warmup <= stable * (1 + 1e-9) or warmup >= total:  # from the end on it is said already
        return []
    text = f"must be <= the epochs before the fall ({stable:g}), got {warmup:g}: the full rate would never be "
    text += f"reached. Use for example {stable / 4:g}, or a smaller decay."
    return [("warmup_epochs", text)]


_CHECKS: Mapping[str, _Check] = {
    "step": _never("every", "the rate would never drop", "schedule: constant"),
    "multi_step": _check_milestones,
    "inverse_sqrt": _never("flat", "the rate would never fall", "schedule: constant", share=0.1),
    "cosine_restarts": _never("period", "there would be no restart", "schedule: cosine"),
    "one_cycle": _check_one_cycle,
    "cyclic": _longer("period", "not one cycle would be whole", "{half}, two cycles"),
    "ramp": _longer("epochs", "the base value would never be reached", "{half}, half of training"),
    "wsd": _check_wsd,
}
