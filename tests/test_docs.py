"""The documentation: links lead somewhere, studies parse, the tutorial runs, the reference is current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from lanework.spec import StudySpec, expand, load_study
from tests.helpers import ROOT, lanework

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*pair) for pair in found]


def parsed(text: str, folder: Path) -> StudySpec:
    (folder / "study.yaml").write_text(text)
    return load_study(folder / "study.yaml")


def anchors(page: Path) -> set[str]:
    """Heading anchors as the usual hosts make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    without_code = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


STUDIES = [
    pytest.param(block.text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if block.language == "yaml"
]


@pytest.mark.parametrize("text", STUDIES)
def test_studies_in_the_pages_are_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("")
    spec = parsed(text, tmp_path)
    assert expand(spec)


def test_the_study_in_the_readme_makes_what_it_says(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.language == "yaml"]
    spec = parsed(block.text, tmp_path)
    assert len(expand(spec)) == 27
    assert len(expand(spec)) * len(spec.seeds) == 135


def test_the_study_in_the_readme_is_the_same_in_python(tmp_path: Path) -> None:
    from lanework.spec import content_hash

    readme = blocks(ROOT / "README.md")
    (from_file,) = [block.text for block in readme if block.language == "yaml"]
    (code,) = [block.text for block in readme if block.language == "python"]
    names: dict[str, object] = {}
    exec(code.partition("results = ")[0], names)
    made = names["study"].spec  # type: ignore[attr-defined]
    assert content_hash(made) == content_hash(parsed(from_file, tmp_path))


def test_the_messages_in_the_readme_are_real() -> None:
    shown = [b.text for b in blocks(ROOT / "README.md") if b.text.startswith("wrong.yaml")]
    real = (ROOT / "tests/golden/wrong.txt").read_text().splitlines()
    assert len(shown) == 1
    for line in shown[0].splitlines():
        assert line in real or line.strip() == "..."


def test_the_reference_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "tools/make_reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}Run: make docs"


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    code = []
    for block in blocks(ROOT / "docs/tutorial/first-study.md"):
        if block.language == "yaml":
            name = re.match(r"# file: (\S+)\n", block.text)
            assert name is not None
            (tmp_path / name.group(1)).write_text(block.text)
        elif block.language == "console":
            _run_commands(block.text, tmp_path)
        elif block.language == "python":
            code.append(block.text)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shares = [float(line) for line in done.stdout.splitlines() if re.fullmatch(r"[01]\.\d+", line)]
    assert len(shares) == 1
    assert shares[0] > 0.9


def _run_commands(text: str, folder: Path) -> None:
    for line in text.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert program == "lanework"
        done = lanework(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
        if arguments == ["plan", "rates.yaml"]:
            page = ROOT / "docs/tutorial/first-study.md"
            assert done.stdout.splitlines()[0] in page.read_text()


def test_the_page_on_own_loops_finds_the_fault_that_it_plants() -> None:
    page = ROOT / "docs/howto/watch-your-own-loop.md"
    (block,) = [b for b in blocks(page) if b.language == "python"]
    (shown,) = [b for b in blocks(page) if b.language == "text"]
    done = subprocess.run(
        [sys.executable, "-c", block.text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert any(line.startswith(shown.text.strip()) for line in done.stdout.splitlines()), (
        done.stdout
    )


def test_the_engine_page_runs() -> None:
    (block,) = [b for b in blocks(ROOT / "docs/howto/engine-alone.md") if b.language == "python"]
    done = subprocess.run(
        [sys.executable, "-c", block.text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "(8, 2)"
