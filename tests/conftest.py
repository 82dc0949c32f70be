"""Settings of the whole suite: strict JAX, two host devices, a shared compilation cache, loud skips in CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Before anybody imports JAX, and inherited by the commands that tests start.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "1")
os.environ.setdefault("LANEWORK_CACHE", str(ROOT / ".cache" / "tests"))
os.environ.setdefault("NO_COLOR", "1")


# Tests of what functions compute, one small compilation after the other; laws of whole trainings are elsewhere.
FUNCTIONS = (
    *("tests/contracts/", "tests/test_models_", "tests/test_recipes_", "tests/oracles/"),
    "tests/test_faults",  # as `python -m studies.faults` compiles
)


@pytest.fixture(autouse=True)
def quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile without most optimisations where only values count: that halves the time of such tests.

    The slow tests are compiled as users compile, so `make test-all` sees both.
    """
    place = request.path.relative_to(ROOT).as_posix()
    if not place.startswith(FUNCTIONS) or request.node.get_closest_marker("slow") is not None:
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Turn a skipped browser test into a failure where LANEWORK_REQUIRE_BROWSER is set."""
    report = yield
    is_required = os.environ.get("LANEWORK_REQUIRE_BROWSER") == "1"
    if report.skipped and is_required and item.get_closest_marker("browser") is not None:
        report.outcome = "failed"
        report.longrepr = f"a browser test was skipped where a browser is required: {call.excinfo}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="write golden files anew; review the diff"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/NAME, or write that file where --regenerate is given."""

    def compare(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--regenerate"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path.name}: see pytest --regenerate"

    return compare
