"""The learned update rule: a small network that turns features of each parameter's gradient into its step.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optax

from lanework.recipes.choices import Read

RULES: Mapping[str, Callable[[Read], optax.GradientTransformation]] = {}
