"""How the cells of a text column write numbers and dates: separators, signs, units, order.

Owns the guess and the reading of one cell by it. Standard library only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = [
    "date_order",
    "guess_writing",
    "is_number_writing",
    "iso_date",
    "number_text",
    "told_writing",
]

_UNIT_WORDS = (
    "kg mg g t km cm mm m m² m2 km² l ml kW kWh W V A Hz kHz MHz GHz GB MB KB °C °F ° K s ms h min "
    "hp PS km/h mph lb lbs ft in sqft EUR USD GBP CHF"
)
_UNITS = tuple(_UNIT_WORDS.split())
_MONEY = "[$€£¥₹]|USD|EUR|GBP|CHF"
_BLANKS = "' \u2019\u00a0\u202f"
_CELL = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<front>{_MONEY})?\s*"
    rf"(?P<body>[+-]?[\d.,{_BLANKS}]*\d)\s*"
    rf"(?P<back>[%‰$€£¥₹]|{'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))}"
    r"|(?<=\s)[^\W\d_]{1,8})?"
)
_STYLES = {
    "point": re.compile(rf"[+-]?([1-9]\d{{0,2}}([,{_BLANKS}]\d{{3}})+|\d*)(\.\d+)?"),
    "comma": re.compile(rf"[+-]?([1-9]\d{{0,2}}([.{_BLANKS}]\d{{3}})+|\d*)(,\d+)?"),
}
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_DATE = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})(?:[ T]\d{1,2}:\d{2}(?::\d{2})?)?")
_YEAR_FIRST = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2})?)?")
_FEW = 20


def guess_writing(words: Sequence[str], *, hint: str = "") -> str:
    """How the numbers of a column are written.

    Args:
        words: The different cells, without those that mean missing.
        hint: ``comma`` when other columns of the table have a decimal comma; decides between
            readings that fit equally well.

    Returns:
        ``style|mark``: style ``plain``, ``point`` (1,234.5) or ``comma`` (1.234,5); the mark is a
        sign or unit such as ``€``, ``%`` or ``kg``, or nothing. An empty string for text and for
        numbers as Python writes them.

    Example:
        >>> guess_writing(["5.599,35", "12"]), guess_writing(["12%", "7%"]), guess_writing(["1.5"])
        ('comma|', 'plain|%', '')
    """
    head = words[:50]
    if sum(_CELL.fullmatch(word) is not None for word in head) <= 0.5 * len(head):
        return ""
    mark = _common_mark(words)
    bodies = [_body(word, mark) for word in words]
    fits = {"plain": sum(_PLAIN.fullmatch(body) is not None for body in bodies)}
    for style, pattern in _STYLES.items():
        fits[style] = sum(bool(body) and pattern.fullmatch(body) is not None for body in bodies)
    order = ["plain", "point", "comma"]
    has_separator = any("." in body or "," in body for body in bodies)
    if hint == "comma" and has_separator:
        order = ["comma", "plain", "point"]
    style = max(order, key=lambda style: fits[style])
    return "" if style == "plain" and not mark else f"{style}|{mark}"


def is_number_writing(words: Sequence[str], writing: str) -> bool:
    """Whether all cells fit a writing that leaves no doubt about the decimal sign.

    Example:
        >>> is_number_writing(["1,5"], "comma|"), is_number_writing(["1,234"], "comma|")
        (True, False)
    """
    style, _, mark = writing.partition("|")
    if style != "comma" or not words:
        return False
    bodies = [_body(word, mark) for word in words]
    return all(_STYLES["comma"].fullmatch(body) for body in bodies) and any(
        not _STYLES["point"].fullmatch(body) and "," in body for body in bodies
    )


def number_text(word: str, writing: str) -> str:
    """The cell as Python would write the number; other text stays what ``float`` refuses.

    Example:
        >>> number_text("-1.234,5 €", "comma|€"), number_text("7 kg", "plain|g")
        ('-1234.5', '7 kg')
    """
    if not writing:
        return word
    style, _, mark = writing.partition("|")
    body = _body(word, mark)
    if style == "plain":
        return body
    if not body or not _STYLES[style].fullmatch(body):
        return word if _STYLES["point"].fullmatch(word) is None else "?"
    thousands, decimal = (",", ".") if style == "point" else (".", ",")
    return re.sub(f"[{thousands}{_BLANKS}]", "", body).replace(decimal, ".")


def told_writing(writing: str) -> tuple[str, str]:
    """Kind of the sentence about separators, and about the sign or unit (empty: nothing to say)."""
    style, _, mark = writing.partition("|")
    return {"point": "thousands", "comma": "decimal_comma"}.get(style, ""), mark


def date_order(words: Sequence[str]) -> str:
    """Which part of dates such as 01.02.2022 or 3/4/2023 is the day.

    Returns:
        ``day``, ``month`` or ``year`` (the part that comes first), ``unclear`` when day and month
        could both come first, or an empty string when the cells are no such dates.

    Example:
        >>> date_order(["31.01.2022", "01.02.2022"]), date_order(["3/4/2023"])
        ('day', 'unclear')
    """
    if not words:
        return ""
    if all(_YEAR_FIRST.fullmatch(word) for word in words):
        return "year"
    found = [_DATE.fullmatch(word) for word in words]
    parts = [(int(match[1]), int(match[2])) for match in found if match]
    if len(parts) < len(words):
        return ""
    first, second = (max(part) for part in zip(*parts, strict=True))
    if min(first, second) > 12 or max(first, second) > 31:
        return ""
    return "day" if first > 12 else "month" if second > 12 else "unclear"


def iso_date(word: str, order: str) -> str:
    """A date with its parts in ISO's order; other writings stay as they are.

    Example:
        >>> iso_date("3.2.2022", "day"), iso_date("3/2/22 10:00", "month")
        ('2022-02-03', '2022-03-02 10:00')
    """
    match = _DATE.fullmatch(word)
    if match is None:
        return word
    day, month = (match[1], match[2]) if order == "day" else (match[2], match[1])
    year = int(match[3])
    if len(match[3]) == 2:
        year += 2000 if year < 69 else 1900
    return f"{year}-{int(month):02d}-{int(day):02d}{word[match.end(3) :]}"


def _common_mark(words: Sequence[str]) -> str:
    """The one sign or unit that (nearly) all cells have, or nothing."""
    marks: Counter[str] = Counter()
    for word in words:
        match = _CELL.fullmatch(word)
        marks[(match["front"] or match["back"] or "") if match else ""] += 1
    named = [mark for mark in marks if mark]
    if len(named) != 1 or marks[named[0]] < 0.9 * len(words):
        return ""
    is_known = named[0] in _UNITS or not named[0].isalpha()
    return named[0] if is_known or len(words) > _FEW else ""


def _body(word: str, mark: str) -> str:
    """The cell without its sign or unit; the cell itself when it has another one."""
    match = _CELL.fullmatch(word) if mark else None
    if match is None or (match["front"] or match["back"] or mark) != mark:
        return word
    return match["sign"] + match["body"]
