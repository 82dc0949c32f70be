"""Wording shared by the data modules: four-part errors, counts, short lists. Imports the catalogue and errors only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lanework.catalog import nearest
from lanework.errors import DataError

__all__ = ["bad", "count", "listed", "no_column", "share"]


def bad(where: str, must: str, *, got: str, do: str) -> DataError:
    """An error in the house's four parts, ready to raise.

    Args:
        where: The file, column or key that is meant.
        must: What must hold ("must ...").
        got: What was found instead.
        do: What to do about it, as a sentence.

    Returns:
        The error.
    """
    return DataError(f"{where}: {must}, got {got}. {do}")


def no_column(
    where: str, name: str, names: Sequence[str], *, source: str, besides: str = ""
) -> DataError:
    """An error about a column that is not there, with the columns that are.

    Args:
        where: The key that names it.
        name: What was given.
        names: The columns.
        source: What they are columns of.
        besides: Which columns are not listed (" besides ...").

    Returns:
        The error.

    Example:
        >>> print(no_column("data.order", "tme", ("time", "x"), source="a.csv"))
        data.order: must be a column of a.csv, got 'tme'. Did you mean 'time'? Its columns are 'time', 'x'.
        >>> print(
        ...     no_column("data.target", "y", (), source="a.parquet", besides=" besides the images")
        ... )
        data.target: must be a column of a.parquet, got 'y'. It has no named columns besides the images.
    """
    close = nearest(name, names)
    hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    shown = f"Its columns{besides} are {listed(names, limit=12)}."
    if not names:
        shown = f"It has no named columns{besides}."
    return bad(where, f"must be a column of {source}", got=repr(name), do=f"{hint}{shown}")


def count(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> count(1, "row"), count(12345, "row"), count(2, "class")
        ('1 row', '12 345 rows', '2 classes')
    """
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {plural}".replace(",", " ")


def listed(names: Iterable[object], *, limit: int = 5) -> str:
    """Names in quotes, the first few, with the number of the others.

    Example:
        >>> listed(["a", "b", "c"], limit=2)
        "'a', 'b' and 1 more"
    """
    shown = [f"'{name}'" for name in names]
    if len(shown) <= limit:
        return ", ".join(shown)
    return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"


def share(part: int, whole: int) -> str:
    """A share as a reader wants it: few digits, never 0 % for something that exists.

    Example:
        >>> share(1, 3), share(1, 10**6)
        ('33 %', 'below 0.1 %')
    """
    percent = 100.0 * part / max(whole, 1)
    if part and percent < 0.1:
        return "below 0.1 %"
    if part != whole and percent > 99.9:
        return "above 99.9 %"
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
