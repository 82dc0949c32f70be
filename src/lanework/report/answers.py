"""The first screen in words, the same on the page and in a terminal.

Which recipe won, by how much, is it more than seed noise, what went wrong where: one full
sentence for each. Imports `facts` and `units` only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lanework.report import units
from lanework.report.facts import MIN_TESTED_SEEDS, ArmFacts, Edge, Facts, LevelFacts, RunFacts
from lanework.report.health_facts import Found, badness
from lanework.stats import Place

STANDINGS: Final = {
    "best": ("best", "The best mean over the seeds."),
    "tied": (
        "cannot be told apart",
        "Its difference to the best is within seed noise, after correction for the comparisons.",
    ),
    "worse": ("told apart", "It differs from the best by more than seed noise explains."),
    "unsafe": (
        "less reliable",
        "More of its runs diverged than of the best recipe's; a diverged run counts as no "
        "better than guessing.",
    ),
    "untested": ("not tested", "Too few seeds for a statement about noise."),
    "failed": ("failed", "None of its runs has a result."),
}


@dataclass(frozen=True)
class Trouble:
    """One thing that went wrong or that needs a look.

    Attributes:
        kind: ``sick-fail``, ``sick-warn`` (what rules found), ``diverged``, ``healed``, ``chance``, ``failed``, ``incomplete``, ``edge``, ``seeds``, ``clipping`` or
            ``warning``.
        title: A few words with a count.
        text: Where, and what it means.
    """

    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What the study found, in sentences.

    Attributes:
        title: One short sentence.
        lead: Sentences that say how much and how sure.
        test: What the test part says of the best recipe; empty without a test result.
        troubles: What went wrong where, worst first; empty when nothing did.
    """

    title: str
    lead: tuple[str, ...]
    test: str
    troubles: tuple[Trouble, ...]


def answer(facts: Facts) -> Answer:
    """Words the findings of a study."""
    return Answer(_title(facts), tuple(_lead(facts)), _test(facts), tuple(_troubles(facts)))


def summary_lines(facts: Facts) -> tuple[str, ...]:
    """The findings as plain lines for a terminal: title, sentences, then the troubles."""
    found = answer(facts)
    others = [item for item in found.troubles if not item.kind.startswith("sick-")]
    troubles = (f"{item.title}: {item.text}" for item in others)
    test = [found.test] if found.test else []
    return (found.title, *found.lead, *test, *_sick_lines(facts), *troubles)


def _sick_lines(facts: Facts) -> list[str]:
    """How many runs are sick, and of what, in one line; none where nothing was found."""
    if not facts.sick:
        return []
    runs = len({row.run for row in facts.findings})
    causes: dict[str, tuple[str, int]] = {}
    for items in facts.sick.values():
        title, count = causes.get(items[0].row.code, (items[0].title, 0))
        causes[items[0].row.code] = title, count + items[0].num_runs
    told = [f"{title.lower()} ({units.counted(count, 'run')})" for title, count in causes.values()]
    more = f", and {len(told) - MAX_SICK} more" if len(told) > MAX_SICK else ""
    return [
        f"Sick: {runs} of {units.counted(len(facts.runs), 'run')}: {', '.join(told[:MAX_SICK])}{more}. "
        "lanework diagnose FOLDER says why, and what helps."
    ]


def recipe_text(level: LevelFacts) -> str:
    """A level with the learning rate of its best arm, for example ``adam at 0.00316``."""
    return level.label if level.rate is None else f"{level.label} at {units.scalar(level.rate)}"


def is_too_few(place: Place) -> bool:
    """Whether a tie is for want of seeds: fewer than three, or an uncorrected interval without zero."""
    if place.against_best is None or place.standing != "tied":
        return False
    difference = place.against_best.difference
    return difference.num_values < MIN_TESTED_SEEDS or not difference.low <= 0.0 <= difference.high


def standing_text(place: Place, *, noun: str = "seed") -> tuple[str, str]:
    """Where a recipe stands: a few words, and a sentence that explains them.

    Args:
        place: Where it stands.
        noun: What results are compared over, see `Facts.noun`.
    """
    label, meaning = STANDINGS[place.standing]
    if is_too_few(place) and place.against_best is not None:
        number = place.against_best.difference.num_values
        return label, f"With only {units.counted(number, noun)} this cannot be told."
    return label, meaning.replace("seed", noun)


def p_text(p: float) -> str:
    """A p-value as it is usually printed."""
    return "p < 0.001" if p < 0.001 else f"p = {units.short(p, 2)}"


# ---- title and lead ------------------------------------------------------------------------


def _title(facts: Facts) -> str:
    if not facts.levels:
        return "Nothing was planned."
    best, others = facts.levels[0], facts.levels[1:]
    if best.place.standing == "failed":
        return _all_lost_title(facts)
    if best.place.interval.num_values == 0:
        return _unranked_title(facts)
    name = _subject(facts, best)
    if not others:
        mean = facts.metric.text(best.place.interval.mean)
        return f"The recipe reached {mean} {facts.metric.label}."
    if facts.num_open:
        return f"{name} leads so far; {units.counted(facts.num_open, 'run')} still to come."
    standings = {level.place.standing for level in others}
    tied = [level for level in others if level.place.standing == "tied"]
    if "untested" in standings:
        num_seeds = _num_seeds(best)
        on = f"one {facts.noun}" if num_seeds == 1 else units.counted(num_seeds, facts.noun)
        return f"{name} did best, on {on}."
    if not tied:
        return f"{name} won."
    if len(tied) == len(others) and len(tied) > 1:
        return f"{name} leads, but none of the {len(facts.levels)} can be told apart."
    if len(tied) > 3:
        return f"{name} leads; {len(tied)} others cannot be told apart from it."
    return f"{name} leads; {units.listed(t.label for t in tied)} cannot be told apart from it."


def _all_lost_title(facts: Facts) -> str:
    statuses = {run.status for run in facts.runs if run.is_bad}
    word = statuses.pop() if len(statuses) == 1 else "diverged or failed"
    if len(facts.runs) == 1:
        return f"The run {word}."
    if facts.num_open:
        return (
            f"No recipe has a result so far; {units.counted(facts.num_open, 'run')} still to come."
        )
    subject = "No recipe finished" if len(facts.arms) > 1 else "The recipe never finished"
    return f"{subject}: all {units.counted(len(facts.runs), 'run')} {word}."


def _unranked_title(facts: Facts) -> str:
    if not _ended(facts):
        return "No run has finished yet."
    part = facts.metric.label.partition(" ")[0] if facts.metric.part else facts.metric.label
    return f"There is no {part} value to rank by."


def _ended(facts: Facts) -> list[RunFacts]:
    """Runs that trained to an end."""
    return [run for run in facts.runs if run.verdict != "incomplete" and not run.is_bad]


def _subject(facts: Facts, level: LevelFacts) -> str:
    is_factor_word = any(level.label.startswith(f"{factor.label} ") for factor in facts.factors)
    return units.sentence(level.label).rstrip(".") if is_factor_word else level.label


def _num_seeds(level: LevelFacts) -> int:
    return level.place.interval.num_values


def _lead(facts: Facts) -> list[str]:
    if not facts.levels or facts.levels[0].place.standing == "failed":
        return []
    if facts.levels[0].place.interval.num_values == 0:
        return _unranked(facts)
    lead = [_reached(facts, facts.levels[0]), *_against_others(facts), *_on_folds(facts)]
    if len(facts.levels) > 1 and facts.row_factors:
        names = units.listed(factor.label for factor in facts.row_factors)
        lead.append(
            f"Recipes that differ in {names} were measured on different rows, so part of a "
            "difference between them may come from the rows."
        )
    return lead


def _on_folds(facts: Facts) -> list[str]:
    """How numbers over folds were made, as they are no independent repetitions."""
    if facts.folds is None:
        return []
    number, repeats = facts.folds
    again = f", dealt {repeats} times" if repeats > 1 else ""
    seeds = (
        f", means over {units.counted(len(facts.seeds), 'seed')} first"
        if len(facts.seeds) > 1
        else ""
    )
    return [
        f"Cross-validation with {number} folds{again}{seeds}: folds share most of their training rows, so intervals and "
        "tests over them are widened (corrected resampled t, Nadeau and Bengio 2003)."
    ]


def _unranked(facts: Facts) -> list[str]:
    num_ended = len(_ended(facts))
    if not num_ended:
        return []
    text = f"{units.counted(num_ended, 'run')} finished without a value of {facts.metric.label}"
    if facts.metric.part != "val":
        return [f"{text}."]
    return [f"{text}; it needs validation rows, which data.split.val sets aside."]


def _test(facts: Facts) -> str:
    test = facts.arm(facts.levels[0].best).test if facts.levels else None
    if test is None or not test.num_values:
        return ""
    quantity = facts.metric.label.split(" ", 1)[-1]
    value = f"{facts.metric.text(test.mean)} {quantity}"
    if facts.folds is None:
        return f"On the test part, which was used once, it has {value}."
    number = units.counted(len(facts.arm(facts.levels[0].best).runs), "model")
    return f"On the test part, which no fold trained on, its {number} have {value} on average."


def _reached(facts: Facts, best: LevelFacts) -> str:
    metric, interval = facts.metric, best.place.interval
    low, high = metric.text(interval.low, has_unit=False), metric.text(interval.high)
    if len(facts.levels) == 1:
        if interval.num_values == 1:
            return f"That is one {facts.noun}, which says nothing about noise."
        bounds = f"95{units.THIN}% interval {low} to {high}"
        return f"That is the mean of {interval.num_values} {facts.noun}s ({bounds})."
    start = "It" if best.rate is None else f"At a learning rate of {units.scalar(best.rate)} it"
    text = f"{start} reached {metric.text(interval.mean)} {metric.label}"
    if interval.num_values == 1:
        return f"{text} on one {facts.noun}, which says nothing about noise."
    bounds = f"95{units.THIN}% interval {low} to {high}"
    return f"{text}, the mean of {interval.num_values} {facts.noun}s ({bounds})."


def _against_others(facts: Facts) -> list[str]:
    others = facts.levels[1:]
    tied = [level for level in others if level.place.standing == "tied"]
    apart = [level for level in others if level.place.standing == "worse"]
    sentences = []
    few = [level for level in tied if is_too_few(level.place)]
    noisy = [level for level in tied if not is_too_few(level.place)]
    if noisy:
        sentences.append(_tied_text(facts, noisy, f"which is within {facts.noun} noise"))
    if few:
        sentences.append(_tied_text(facts, few, _too_few_text(few, facts.noun)))
    if apart and apart[0].place.against_best is not None:
        nearest = apart[0]
        gap = abs(apart[0].place.against_best.difference.mean)
        word = "more" if facts.metric.direction == "max" else "less"
        lead = "The best is" if tied else "That is"
        sentences.append(
            f"{lead} {facts.metric.difference_text(gap)} {word} than {recipe_text(nearest)}, "
            f"{_noise_text(nearest.place, len(others), facts.noun)}."
        )
    return sentences


def _noise_text(place: Place, num_comparisons: int, noun: str) -> str:
    num_pairs = place.against_best.difference.num_values if place.against_best else 0
    corrected = "" if num_comparisons == 1 else f", corrected for {num_comparisons} comparisons"
    return (
        f"which is more than {noun} noise explains (paired over {num_pairs} {noun}s{corrected}: "
        f"{p_text(place.p_adjusted)})"
    )


def _too_few_text(few: Sequence[LevelFacts], noun: str) -> str:
    nums = {one.place.against_best.difference.num_values for one in few if one.place.against_best}
    low, high = min(nums), max(nums)
    number = units.counted(high, noun) if low == high else f"{low} to {high} {noun}s"
    return f"but with only {number} this cannot be told"


def _tied_text(facts: Facts, tied: Sequence[LevelFacts], meaning: str) -> str:
    needed = [level.place.more_seeds for level in tied if level.place.more_seeds is not None]
    gaps = [
        abs(level.place.against_best.difference.mean) for level in tied if level.place.against_best
    ]
    names = units.listed(recipe_text(level) for level in tied[:4])
    if len(tied) > 4:
        names = f"{units.count(len(tied))} recipes"
    size = facts.metric.difference_range_text(min(gaps), max(gaps))
    text = f"{names} {'is' if len(tied) == 1 else 'are'} behind by {size}, {meaning}"
    if facts.folds is not None:
        return f"{text}."
    return f"{text}; {_seeds_text(needed, len(tied))}."


def _seeds_text(needed: Sequence[int], num_tied: int) -> str:
    if not needed:
        return "no reasonable number of further seeds would tell them apart"
    if num_tied == 1:
        return f"about {units.counted(needed[0], 'more seed')} would tell them apart"
    low = min(needed)
    if len(needed) == num_tied and max(needed) > low:
        return f"about {low} to {units.counted(max(needed), 'more seed')} would tell them apart"
    return f"about {units.counted(low, 'more seed')} would tell the first of them apart"


# ---- troubles ------------------------------------------------------------------------------


def _troubles(facts: Facts) -> list[Trouble]:
    total = len(facts.runs)
    kinds: tuple[tuple[str, str, Callable[[RunFacts], bool], str], ...] = (
        ("diverged", "diverged", lambda run: run.status == "diverged", ""),
        ("failed", "failed", lambda run: run.status == "failed", ""),
        ("chance", *_chance_words(facts)),
        (
            "healed",
            "healed",
            lambda run: run.num_healed > 0 and not run.is_bad,
            "went back to a snapshot with a lower rate and finished",
        ),
    )
    found = []
    for kind, words, is_hit, meaning in kinds:
        hit = [run for run in facts.runs if is_hit(run)]
        if hit:
            title = f"{len(hit)} of {units.counted(total, 'run')} {words}"
            title = units.sentence(f"the run {words}").rstrip(".") if total == 1 else title
            found.append(Trouble(kind, title, _trouble_text(facts, hit, meaning)))
    if facts.num_open:
        found.append(
            Trouble(
                "incomplete",
                f"{facts.num_open} of {units.counted(total, 'run')} not finished",
                "The numbers will still change. Continue with lanework run STUDY --resume.",
            )
        )
    if len(facts.seeds) == 1 and total > 1 and facts.folds is None:
        found.append(
            Trouble(
                "seeds",
                "One seed only",
                "Differences between recipes may be luck. With seeds: 5 the report can tell.",
            )
        )
    return [*_sick(facts), *found, *_warnings(facts), *_clipping(facts), *_edge_troubles(facts)]


MAX_SICK = 4


def _sick(facts: Facts) -> list[Trouble]:
    """What is the matter with which recipes: one line for each cause, worst first."""
    by_cause: dict[str, list[Found]] = defaultdict(list)
    names: dict[str, list[str]] = defaultdict(list)
    for arm, items in facts.sick.items():
        # The first is the root; what stands beside it is told in the section of health.
        by_cause[items[0].row.code].append(items[0])
        names[items[0].row.code].append(facts.arm(arm).label)
    found = []
    for code, same in list(by_cause.items())[:MAX_SICK]:
        worst = min(same, key=lambda item: badness(item.row))
        runs = sum(item.num_runs for item in same)
        where = units.listed([*names[code][:3], *(["others"] if len(names[code]) > 3 else [])])
        helps = f" What helps first: {worst.remedies[0]}." if worst.remedies else ""
        whose = "" if len(facts.arms) == 1 else f"{where}: "
        title = f"{worst.title} ({units.counted(runs, 'run')})"
        found.append(
            Trouble(f"sick-{worst.row.level}", title, f"{whose}{worst.row.sentence}{helps}")
        )
    left = len(by_cause) - len(found)
    if left > 0:
        text = "The section on health tells all of them, and so does lanework diagnose."
        found.append(Trouble("sick-warn", f"{units.counted(left, 'more cause')} of trouble", text))
    return found


def _warnings(facts: Facts) -> list[Trouble]:
    """What was said of the study before it trained."""
    texts = dict.fromkeys(event.text for event in facts.events if event.kind == "warning")
    return [Trouble("warning", "Said before training", text) for text in texts]


# More than every second step clipped: then the threshold, and not the gradient, sets the length of a step.
MOSTLY = 0.5


def _clipping(facts: Facts) -> list[Trouble]:
    """Recipes whose clipping is at work most of the time, with the threshold that would cut one step in ten."""
    names = {arm.arm: arm.label for arm in facts.arms}
    found = []
    for (arm, name), curve in facts.curves.items():
        if name != "clipped_share" or not float(np.nanmean(curve.values)) > MOSTLY:
            continue
        share = units.fixed(100 * float(np.nanmean(curve.values)), 0)
        norms = facts.curves.get((arm, "grad_norm_p90"))
        advice = ""
        if norms is not None and np.isfinite(norms.values).any():
            level = units.short(float(np.nanmedian(norms.values)))
            advice = f" The 90th percentile of its gradient norms is {level}; a threshold there would cut one step in ten."
        found.append(f"{names.get(arm, arm)}: {share} % of the steps were clipped.{advice}")
    if not found:
        return []
    more = f" So it is in {len(found) - 3} more recipes." if len(found) > 3 else ""
    text = " ".join(found[:3]) + more + " Clipping that often sets the length of most steps."
    return [Trouble("clipping", "Clipping most of the time", text)]


def _chance_words(facts: Facts) -> tuple[str, Callable[[RunFacts], bool], str]:
    """Title, test and meaning of runs that do as well as an answer that ignores its inputs."""

    def is_hit(run: RunFacts) -> bool:
        return run.verdict == "chance"

    if facts.task == "regression":
        return "no better than the mean", is_hit, "did no better than predicting the mean"
    return "stuck at chance", is_hit, "did no better than guessing"


def _trouble_text(facts: Facts, hit: Sequence[RunFacts], meaning: str) -> str:
    who = "It" if len(hit) == 1 else "They"
    if len(facts.runs) == 1:
        return f"{who} {meaning}." if meaning else "It has no result."
    where = _where(facts, hit)
    if meaning:
        return f"{who} {meaning}: {where}."
    is_place = where.startswith(("every ", "in ", "at "))
    return f"{where[0].upper()}{where[1:]}." if is_place else f"{where}."


def _edge_troubles(facts: Facts) -> list[Trouble]:
    grouped: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in facts.edges:
        grouped[edge.factor, edge.side].append(edge)
    return [_edge_text(facts, edges) for edges in grouped.values()]


def _edge_text(facts: Facts, edges: Sequence[Edge]) -> Trouble:
    edge = edges[0]
    word = next(factor.label for factor in facts.factors if factor.key == edge.factor)
    labels = {level.level: level.label for level in facts.levels}
    is_own = len(facts.levels) == len(facts.arms) or len(facts.levels) == 1
    names = [labels[one.level] for one in edges]
    whose = (
        ""
        if is_own
        else f" of {units.listed(names)}"
        if len(names) < 5
        else f" of {len(names)} recipes"
    )
    other = "larger" if edge.side == "largest" else "smaller"
    return Trouble(
        "edge",
        f"Best {word} at the edge",
        f"The best {word}{whose}, {units.scalar(edge.value)}, is the {edge.side} that was tried; "
        f"a {other} one may do better still. Widen the range.",
    )


def _where(facts: Facts, hit: Sequence[RunFacts]) -> str:
    """Names the recipes of some runs: whole levels, or levels with their learning rates."""
    if len(hit) == len(facts.runs):
        return "every recipe, with every seed" if len(facts.arms) > 1 else "every seed"
    arms = {arm.arm: arm for arm in facts.arms}
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for run in hit:
        counts[arms[run.arm].level][run.arm] += 1
    parts = []
    for level in facts.levels:
        if level.level in counts:
            own = [arms[arm] for arm in level.arms]
            parts.append(_where_in_level(facts, level, own, counts[level.level]))
    if len(parts) > 4:
        return _where_at_large(facts, hit, len(parts))
    return "; ".join(parts)


def _where_at_large(facts: Facts, hit: Sequence[RunFacts], num_levels: int) -> str:
    rate = facts.factor("rate")
    arms = {arm.arm: arm.factors for arm in facts.arms}
    touched = [arms[run.arm].get(rate.key) for run in hit] if rate else []
    known = sorted(value for value in touched if value is not None)
    place = f"in {num_levels} of {len(facts.levels)} recipes"
    if known and known[0] != known[-1]:
        place += f", at learning rates from {units.scalar(known[0])} to {units.scalar(known[-1])}"
    elif known:
        place += f", at learning rate {units.scalar(known[0])}"
    return place


def _where_in_level(
    facts: Facts, level: LevelFacts, own: Sequence[ArmFacts], counts: dict[int, int]
) -> str:
    rate = facts.factor("rate")
    name = level.label if len(facts.levels) > 1 else ""
    is_grouped = len(facts.levels) < len(facts.arms)
    if rate is None or not is_grouped or any(rate.key not in arm.factors for arm in own):
        return f"{name or 'the recipe'} ({sum(counts.values())})"
    ordered = sorted({arm.factors[rate.key] for arm in own})
    touched = sorted({arm.factors[rate.key] for arm in own if arm.arm in counts})
    if len(touched) == len(ordered):
        where = "at every learning rate"
    elif len(touched) > 1 and touched == ordered[-len(touched) :]:
        where = f"from learning rate {units.scalar(touched[0])} up"
    elif len(touched) > 1 and touched == ordered[: len(touched)]:
        where = f"up to learning rate {units.scalar(touched[-1])}"
    else:
        shown = [units.scalar(value) for value in touched]
        shown = [*shown[:3], "others"] if len(shown) > 4 else shown
        where = f"at learning rate {units.listed(shown)}"
    return f"{name} {where} ({sum(counts.values())})".strip()
