"""Numbers as people read them: sensible digits, units, thin spaces, times and sizes.

Imports the standard library only; knows nothing of studies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

THIN: Final = "\u202f"  # narrow no-break space: between thousands, and between number and unit
MINUS: Final = "\u2212"
MISSING: Final = "\u2013"

_ACRONYMS: Final = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R\u00b2",
    "auc": "AUC",
    "cpu": "CPU",
    "gpu": "GPU",
    "tpu": "TPU",
    "l1": "L1",
    "l2": "L2",
    "jax": "JAX",
    "b1": "\u03b2\u2081",
    "b2": "\u03b2\u2082",
}


def fixed(value: float | None, decimals: int, *, is_signed: bool = False) -> str:
    """Writes a number with a fixed number of decimals and a true minus sign.

    Args:
        value: Any number; None, NaN and the infinities have words of their own.
        decimals: Digits after the point.
        is_signed: Also write the plus sign.

    Example:
        >>> fixed(12345.678, 1), fixed(-0.5, 2, is_signed=True)
        ('12\u202f345.7', '−0.50')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "\u221e" if value > 0 else MINUS + "\u221e"
    text = f"{abs(value):,.{decimals}f}".replace(",", THIN)
    is_zero = not any(digit in text for digit in "123456789")
    sign = MINUS if value < 0 and not is_zero else "+" if is_signed and not is_zero else ""
    return sign + text


def short(value: float, digits: int = 3) -> str:
    """Writes a number with that many significant digits, tiny and huge ones as powers of ten.

    Example:
        >>> short(0.00316), short(3.1623e-06), short(254837.0), short(1.25e9)
        ('0.00316', '3.16e−6', '255\u202f000', '1.25e9')
    """
    if math.isnan(value) or math.isinf(value) or value == 0:
        return fixed(value, 0)
    if 1e4 <= abs(value) < 1e7:
        return fixed(round(value, digits - 1 - math.floor(math.log10(abs(value)))), 0)
    if 1e-4 <= abs(value) < 1e4:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{abs(value):.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    return (MINUS if value < 0 else "") + text


def scalar(value: Any) -> str:
    """Writes the value of a factor: numbers short, yes and no, everything else as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return short(value)
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "\u2009\u00d7\u2009".join(scalar(item) for item in value) or "none"
    return str(value)


def count(value: int) -> str:
    """Writes a whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", THIN)


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """Writes a number with its noun.

    Example:
        >>> counted(1, "run"), counted(3, "run"), counted(2, "class", "classes")
        ('1 run', '3 runs', '2 classes')
    """
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def seconds(value: float | None) -> str:
    """Writes a time: milliseconds to hours, two units at most.

    Example:
        >>> seconds(0.0042), seconds(2.31), seconds(75), seconds(3780)
        ('4.2\u202fms', '2.3\u202fs', '1\u202fmin 15\u202fs', '1\u202fh 3\u202fmin')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 0.9995:
        number = value * 1000
        return f"{fixed(number, 1 if number < 10 else 0)}{THIN}ms"
    if value < 59.95:
        return f"{fixed(value, 1)}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min" + (f" {rest}{THIN}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h" + (f" {minutes}{THIN}min" if minutes else "")


def num_bytes(value: float) -> str:
    """Writes a size of memory in powers of 1024.

    Example:
        >>> num_bytes(512), num_bytes(21e6), num_bytes(8.3e9)
        ('512\u202fB', '20\u202fMiB', '7.7\u202fGiB')
    """
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{fixed(size, 0 if unit == 'B' or abs(size) >= 10 else 1)}{THIN}{unit}"


def metric_prefix(value: float) -> str:
    """Writes a large number with k, M, G or T, three significant digits."""
    size, prefix = float(value), ""
    for larger in ("k", "M", "G", "T"):
        if abs(size) < 1000:
            break
        size, prefix = size / 1000, larger
    return f"{short(size)}{THIN}{prefix}"


def axis_labels(ticks: Sequence[float]) -> list[str]:
    """Writes evenly spaced numbers short, with one prefix for all of them.

    Example:
        >>> axis_labels([45000.0, 50000.0]), axis_labels([0.5, 0.75])
        (['45\u202fk', '50\u202fk'], ['0.5', '0.75'])
    """
    largest = max((abs(tick) for tick in ticks), default=0.0)
    if not 10_000 <= largest < 1e15:
        return [short(tick, 4) for tick in ticks]
    power = min(4, math.floor(math.log10(largest)) // 3)
    return [f"{short(tick / 1000**power, 6)}{THIN}{'kMGT'[power - 1]}" for tick in ticks]


def by_name(name: str, value: Any) -> str:
    """Writes a value with the unit that its name carries (``_s``, ``_bytes``, ``_per_s``)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return scalar(value)
    if name.endswith("_per_s"):
        unit = name.removesuffix("_per_s").rsplit("_", 1)[-1]
        space = " " if unit == "samples" else ""
        return f"{metric_prefix(value)}{space}{unit}/s"
    if name.endswith(("_s", "seconds")):
        return seconds(value)
    if name.endswith("_bytes"):
        return num_bytes(value)
    return scalar(value)


def words(name: str) -> str:
    """Turns a key of the records into words, without the unit at its end.

    Example:
        >>> words("memory_limit_bytes"), words("val_rmse"), words("train_s")
        ('memory limit', 'val RMSE', 'train')
    """
    for suffix in ("_per_s", "_bytes", "_s", "_seconds"):
        if name.endswith(suffix) and name != suffix:
            name = name.removesuffix(suffix)
            break
    return " ".join(_ACRONYMS.get(part, part) for part in name.replace(".", "_").split("_") if part)


def listed(items: Iterable[str], *, last: str = "and") -> str:
    """Joins words as in a sentence.

    Example:
        >>> listed(["adam"]), listed(["adam", "lion"]), listed(["a", "b", "c"])
        ('adam', 'adam and lion', 'a, b and c')
    """
    every = list(items)
    if len(every) < 2:
        return "".join(every)
    return f"{', '.join(every[:-1])} {last} {every[-1]}"


def sentence(text: str) -> str:
    """Raises the first letter, unless the first word has capitals of its own; adds the stop."""
    text = text.strip()
    if not text:
        return text
    first = text.split(" ", 1)[0]
    raised = text if any(letter.isupper() for letter in first) else text[0].upper() + text[1:]
    return raised if raised[-1] in ".!?" else raised + "."
