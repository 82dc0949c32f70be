"""Catalogue rows of how closely runs are watched."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["WATCHES"]

WATCHES: tuple[Entry, ...] = (
    Entry(
        "watch",
        "default",
        "Norms, update ratios, means, spreads, dead and saturated units of every layer, some forty times a run.",
        "by layer: |g|, |w|, |dw| / |w| of the last step before an evaluation; moments of activations in the evaluation itself",
        "CS231n notes, Neural Networks Part 3; Schneider et al. 2021, Cockpit, https://arxiv.org/abs/2102.06604",
        notes="Costs a few per cent of the training time (docs/benchmarks.md). Watching changes no bit of training.",
    ),
    Entry(
        "watch",
        "off",
        "Layers are not watched: only losses and metrics are recorded, and fewer faults can be told apart.",
        "nothing is computed",
        "None",
    ),
    Entry(
        "watch",
        "deep",
        "The default, and signal-to-noise and agreement of gradients by layer and the sharpness: for a close look at a few runs.",
        "B |G|^2 / tr(S) with the gradient's mean G and covariance S; cosines between gradients; largest eigenvalue of the "
        "Hessian by Lanczos, all of the same training samples each time",
        "McCandlish et al. 2018, https://arxiv.org/abs/1812.06162 (noise scale); Cohen et al. 2021, "
        "https://arxiv.org/abs/2103.00065 (sharpness); Lanczos 1950",
        (
            Hyper(
                "every", "int", 1,
                "evaluations from one deep record to the next; the last one is always made",
                low=1.0,
            ),
        ),
        notes="A record costs some dozens of gradients of 64 samples, so with short evaluation intervals more than the training itself: raise "
        "`every`.",
    ),
)  # fmt: skip
