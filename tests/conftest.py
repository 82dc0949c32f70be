"""Settings of the whole suite: strict JAX, two host devices, a shared compilation cache, loud skips in CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Before anybody imports JAX, and inherited by the commands that tests start.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "1")
os.environ.setdefault("LANEWORK_CACHE", str(ROOT / ".cache" / "tests"))
os.environ.setdefault("NO_COLOR", "1")
# Tests train for tenths of a second and compile for seconds. `make test-all` compiles as users do; the default tests spare
# XLA's optimisations and its newer code for fused loops, which halves their time.
COMPILES_AS_USERS = os.environ.get("LANEWORK_TESTS_OPTIMISED") == "1"
if not COMPILES_AS_USERS:
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

LAWS = "tests/test_cohort_laws"  # equal to the bit, also of programs as users compile them


@contextmanager
def optimising(is_on: bool) -> Iterator[None]:
    """Compile with all optimisations meanwhile."""
    if COMPILES_AS_USERS or not is_on:
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", autouse=True)
def laws_compile_as_users(request: pytest.FixtureRequest) -> Iterator[None]:
    """For the whole module, since its tests compare with trainings that they share."""
    with optimising(request.path.relative_to(ROOT).as_posix().startswith(LAWS)):
        yield


@pytest.fixture(autouse=True)
def slow_tests_compile_as_users(request: pytest.FixtureRequest) -> Iterator[None]:
    """Also where they are run by hand."""
    with optimising(request.node.get_closest_marker("slow") is not None):
        yield


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
