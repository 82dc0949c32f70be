"""Catalogue rows of second-order update rules, and of the learned one."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["CURVATURE", "LEARNED"]

_RATE = Hyper(
    "learning_rate",
    "float",
    1.0,
    "learning rate a, the factor of the step that the line search accepted",
    low=0.0,
    low_open=True,
    traced=True,
    log=True,
)
_SEARCH_STEPS = Hyper(
    "search_steps",
    "int",
    20,
    "trials of the line search, at most; each costs one value and one gradient",
    low=1,
    high=100,
)
_SEARCH_NOTE = (
    "t is a step with sufficient decrease (1e-4) and curvature (0.9), the weak Wolfe conditions. Where none is found the "
    "run stays where it is and forgets what it learnt. "
)

CURVATURE: tuple[Entry, ...] = (
    Entry(
        "optimizer",
        "newton",
        "Newton's method with the exact Hessian, damped and made to lead down; small networks only.",
        "x -= a t (|H| + c I)^-1 g; |H| has the absolute eigenvalues of H, t from backtracking",
        "Dauphin et al. 2014, https://arxiv.org/abs/1406.2572; damping: Levenberg 1944, Marquardt 1963",
        (
            _RATE,
            Hyper(
                "damping",
                "float",
                1e-4,
                "c, added to the curvatures; larger is nearer to gradient descent",
                low=0.0,
                traced=True,
                log=True,
            ),
            _SEARCH_STEPS,
        ),
        notes="A step costs one gradient per parameter and an eigendecomposition, which grows with the cube of their number.",
        facts={"batch": "all", "needs": "objective", "max_parameters": "5000"},
    ),
    Entry(
        "optimizer",
        "bfgs",
        "Builds the inverse Hessian from changes of the gradient; fast on smooth full-batch problems.",
        "x -= a t B g; B = (I - r s y') B (I - r y s') + r s s', r = 1 / s'y, s the step, y the change of g",
        "Broyden, Fletcher, Goldfarb and Shanno 1970; line search: Lewis and Overton 2013",
        (_RATE, _SEARCH_STEPS),
        notes=_SEARCH_NOTE + "Where s'y is not positive B stays.",
        facts={"batch": "all", "needs": "objective", "max_parameters": "10000"},
    ),
    Entry(
        "optimizer",
        "lbfgs",
        "BFGS from the last few pairs (s, y) only, without a matrix; for full batches.",
        "x -= a t B g; B as in bfgs, made of the last pairs, starting from (s'y / y'y) I",
        "Nocedal 1980; Liu and Nocedal 1989; line search: Lewis and Overton 2013",
        (
            _RATE,
            Hyper(
                "memory",
                "int",
                10,
                "pairs that are remembered, each of twice the size of x",
                low=1,
                high=1000,
            ),
            _SEARCH_STEPS,
        ),
        notes=_SEARCH_NOTE
        + "y compares gradients of one batch. Mini-batches, dropout and augmentation change the loss between steps, and a "
        "warning says so.",
        facts={"batch": "recommended", "needs": "objective"},
    ),
)
LEARNED: tuple[Entry, ...] = (
    Entry(
        "optimizer",
        "learned",
        "A small network, trained on many small tasks, turns each parameter's gradients into its step.",
        "x -= a (c0 u0 + c1 u1 + c2 u2 + c3 u3) exp(o); u0 is g and u1, u2, u3 its running means with memories 0.5, 0.9 and "
        "0.99 (bias-corrected), each over the root of the running mean of g^2 (0.99); the network chooses c and o for each "
        "parameter from the sizes and agreement of u, the size of x and of its layer, and k / (k + 10, 100, 1000) in step k",
        "Andrychowicz et al. 2016, https://arxiv.org/abs/1606.04474; Metz et al. 2022, https://arxiv.org/abs/2203.11860; "
        "weights: tools/meta_train.py, by Vicol et al. 2021, https://arxiv.org/abs/2112.13835",
        (
            Hyper(
                "learning_rate",
                "float",
                1.0,
                "learning rate a; 1 is the rule as it was trained",
                low=0.0,
                low_open=True,
                traced=True,
                log=True,
            ),
        ),
        notes="Trained on tasks of at most 1000 steps and 900 parameters. On four small classification tasks that it had not "
        "seen, its training loss at rate 1 was below that of Adam at the best of six rates in 10 of 12 comparisons, after 300, "
        "1000 and 3000 steps (tools/meta_train.py has the figures). After 1000 steps it had stalled on digits: 0.012, "
        "Adam 0.0003, and 0.00008 at its own rate 0.3. It knows nothing of the length of a run or of validation. Regression, large networks and more "
        "than 3000 steps were not measured. Its network costs 160 multiplications for each parameter and step, its memory "
        "four numbers for each parameter.",
    ),
)
