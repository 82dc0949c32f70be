"""Second-order update rules: Newton, BFGS, L-BFGS, with line searches that run in lanes.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optax

from lanework.recipes.choices import Read

RULES: Mapping[str, Callable[[Read], optax.GradientTransformation]] = {}
