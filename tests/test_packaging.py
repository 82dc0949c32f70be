"""What an installation relies on: pins without addresses, one version, scripts that parse."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import Any

import lanework
from tests.helpers import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    assert len({_name(pin) for pin in pins}) == len(pins)


def test_everything_asked_for_is_pinned() -> None:
    pinned = {_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]}
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    assert {_name(one) for one in wanted} <= pinned


def test_peers_are_in_the_bench_extra_only() -> None:
    peers = {"torch", "keras", "lightning", "skorch"}
    extras = PROJECT["optional-dependencies"]
    assert {_name(one) for one in extras["bench"]} >= peers
    assert not peers & {_name(one) for one in [*PROJECT["dependencies"], *extras["dev"]]}


def test_there_is_one_version() -> None:
    assert lanework.__version__ == PROJECT["version"]


def test_the_script_of_ci_parses_and_demands_a_browser() -> None:
    script = ROOT / ".ci/run"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert "LANEWORK_REQUIRE_BROWSER=1" in text
    assert text.rstrip().endswith("make test")
