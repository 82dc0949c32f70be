"""The tables of the benchmark: what is measured, against whom, and which bars it must clear.

Only data; imports the standard library. The bars are those of the issue that asked for them.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Peer:
    """One way to do the same work without Lanework.

    Attributes:
        script: File under `peers/`.
        label: Name on the page.
        needs: Packages that must be importable.
        threads: PyTorch threads; None leaves the default.
        cache: Environment variable of its compilation cache, when it has one on disk; measured
            with a filled cache (`warm`) and, as `NAME_cold`, with an empty one.
        is_cold: Whether that cache is emptied before each repetition.
        is_side_by_side: It trains all runs at once, so it always gets all of them.
    """

    script: str
    label: str
    needs: tuple[str, ...]
    threads: int | None = None
    cache: str | None = None
    is_cold: bool = False
    is_side_by_side: bool = False


TORCH = ("torch",)
INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
PEERS: dict[str, Peer] = {
    "torch_loader": Peer("torch_loader", "PyTorch + DataLoader", TORCH),
    "torch_loader_1": Peer("torch_loader", "PyTorch + DataLoader, 1 thread", TORCH, threads=1),
    "torch_index": Peer("torch_index", "PyTorch index loop", TORCH),
    "torch_index_1": Peer("torch_index", "PyTorch index loop, 1 thread", TORCH, threads=1),
    "torch_compile": Peer("torch_compile", "torch.compile", TORCH, cache=INDUCTOR),
    "torch_compile_1": Peer(
        "torch_compile", "torch.compile, 1 thread", TORCH, threads=1, cache=INDUCTOR
    ),
    "torch_compile_cold": Peer(
        "torch_compile", "torch.compile, empty cache", TORCH, cache=INDUCTOR, is_cold=True
    ),
    "torch_vmap": Peer("torch_vmap", "torch.func.vmap by hand", TORCH, is_side_by_side=True),
    "sklearn_mlp": Peer("sklearn_mlp", "scikit-learn MLPClassifier", ("sklearn",)),
    "keras_jax": Peer("keras_jax", "Keras 3 on JAX", ("keras", "jax")),
    "keras_jax_cached": Peer(
        "keras_jax",
        "Keras 3 on JAX, compilation cache on",
        ("keras", "jax"),
        cache="JAX_COMPILATION_CACHE_DIR",
    ),
    "lightning_trainer": Peer("lightning_trainer", "Lightning", ("torch", "lightning")),
    "skorch_net": Peer("skorch_net", "skorch", ("torch", "skorch")),
}
# The same peer with other settings: "the best of 1 and 2 threads" looks at all of a row.
VARIANTS = {
    "torch_loader": ("torch_loader", "torch_loader_1"),
    "torch_index": ("torch_index", "torch_index_1"),
    "torch_compile": ("torch_compile", "torch_compile_1"),
    "keras_jax": ("keras_jax", "keras_jax_cached"),
}

LANEWORK = {
    "lanework_warm": "Lanework, warm compilation cache",
    "lanework_cold": "Lanework, empty compilation cache",
    "lanework_watched": "Lanework from Python, segments timed",
}


@dataclass(frozen=True)
class Case:
    """One piece of work that everybody does.

    Attributes:
        title: What it is, for the page.
        study: File under `studies/`.
        lanework: Which forms of Lanework take part.
        peers: Which peers take part by default.
        peer_runs: Peers train only that many of the runs (evenly chosen). They work through runs
            one after the other, so their rate per sample does not depend on how many; None: all.
    """

    title: str
    study: str
    lanework: tuple[str, ...]
    peers: tuple[str, ...] = ()
    peer_runs: int | None = None


BOTH = ("lanework_warm", "lanework_cold")
SEGMENTS = ("lanework_watched",)
EAGER = ("torch_index", "torch_index_1")
COMPILED = ("torch_compile", "torch_compile_1")
CASES: dict[str, Case] = {
    "r1": Case(
        "25 runs on digits: MLP 64-64-64-10, batch 64, 30 epochs, Adam, 5 rates x 5 seeds",
        "r1.yaml",
        (*BOTH, *SEGMENTS),
        tuple(PEERS),
    ),
    "r2": Case(
        "240 runs on digits: the same net, 8 optimizers x 5 rates x 6 seeds",
        "r2.yaml",
        BOTH,
        ("torch_loader", "torch_loader_1", "torch_index_1"),
    ),
    "r3": Case(
        "MLP 784-256-128-10 on Fashion-MNIST, batch 128, 16 lanes",
        "r3.yaml",
        SEGMENTS,
        (*EAGER, *COMPILED, "torch_vmap"),
        peer_runs=2,
    ),
    "r4": Case(
        "CNN 32-64-128 on Fashion-MNIST, batch 64, 4 lanes",
        "r4.yaml",
        SEGMENTS,
        (*EAGER, *COMPILED),
        peer_runs=1,
    ),
    "r5": Case(
        "ResNet-20 on 32x32x3 images (CIFAR-10 subset), batch 64, 4 lanes",
        "r5.yaml",
        SEGMENTS,
        EAGER,
        peer_runs=1,
    ),
    "r6": Case(
        "Character GRU of 256 units on tinyshakespeare, windows of 64, batch 32, 8 lanes",
        "r6.yaml",
        SEGMENTS,
        EAGER,
        peer_runs=1,
    ),
    "memory": Case("2 000 runs of R1's net at once", "memory.yaml", ("lanework_warm",)),
}
# Runs of each study whose turns are compared (see watching.py).
WATCHED = {"r1": 16, "r3": 3, "r4": 2}
# Those with code of their own.
EXTRA_CASES = {
    "peak": "float32 matrix peak of this machine",
    "start": "Start of the command line and import",
    "rules": "Price of a step under each update rule, relative to plain gradient descent",
    "watching": "What watching costs: off, default and deep in R1, R3 and R4, in turns within one process",
    "r7": "Streaming from disk: rows of 4 kB, MLP 1024-256-128-10, 4 lanes; and a file of 6 GiB",
}


@dataclass(frozen=True)
class Cockpit:
    """Step time with Cockpit's tracking on over the step time without, at every step and at every 16th.

    Attributes:
        problem: Network, data and device.
        economy: Its cheapest configuration.
        business: The next.
        full: All instruments, the Hessian's largest eigenvalue among them.
    """

    problem: str
    economy: tuple[float, float]
    business: tuple[float, float]
    full: tuple[float, float]


# Schneider et al. 2021, https://arxiv.org/abs/2102.06604; computed from the raw results in
# fsschneider/cockpit-experiments, 01_benchmark/results_*.zip (GPU: RTX 2080 Ti, CPU: i7-8700K).
COCKPIT = (
    Cockpit("CNN 3c3d, CIFAR-10, GPU", (1.52, 1.05), (2.03, 1.09), (21.2, 2.2)),
    Cockpit("MLP, MNIST, GPU", (4.21, 1.27), (4.91, 1.32), (139, 9.6)),
)


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        id: Short name.
        case: Case it is measured in.
        text: What is compared, for the page.
        measure: `wall` or `training` (ours against theirs), `rate` (per lane-sample), or the name
            of a single figure of the case.
        ours: Lanework's contender.
        theirs: The peer; empty for a single figure. For `watching_fraction` the form of watching beside which `default` is put.
        bar: What must be reached; None when only an aim was set.
        aim: What is hoped for.
        is_ceiling: The figure must stay below the bar instead of above.
        unit: `x`, `s`, `bytes` or `fraction`.
    """

    id: str
    case: str
    text: str
    measure: str
    ours: str = "lanework_warm"
    theirs: str = ""
    bar: float | None = None
    aim: float | None = None
    is_ceiling: bool = False
    unit: str = "x"


def _ratio(id: str, measure: str, ours: str, theirs: str, bar: float, aim: float | None) -> Bar:
    case = id.split(".")[0]
    kind = {"wall": "whole process", "training": "training alone", "rate": "rate per lane-sample"}
    state = {"lanework_warm": ", warm", "lanework_cold": ", cold"}.get(ours, "")
    text = f"{case.upper()} {kind[measure]}{state}, against {PEERS[theirs].label}"
    return Bar(id, case, text, measure, ours, theirs, bar, aim)


BARS: tuple[Bar, ...] = (
    _ratio("r1.warm.loader", "wall", "lanework_warm", "torch_loader", 4, 6),
    _ratio("r1.warm.lightning", "wall", "lanework_warm", "lightning_trainer", 10, None),
    _ratio("r1.warm.keras", "wall", "lanework_warm", "keras_jax", 10, None),
    _ratio("r1.cold.loader", "wall", "lanework_cold", "torch_loader", 2.5, None),
    _ratio("r1.cold.lightning", "wall", "lanework_cold", "lightning_trainer", 6, None),
    _ratio("r1.cold.keras", "wall", "lanework_cold", "keras_jax", 6, None),
    _ratio("r1.training", "training", "lanework_watched", "torch_loader", 25, None),
    Bar(
        "r1.peak", "r1", "R1 training as a fraction of the matrix peak", "peak_fraction",
        "lanework_watched", aim=0.5, unit="fraction",
    ),
    _ratio("r2.warm.loader", "wall", "lanework_warm", "torch_loader", 10, None),
    _ratio("r2.cold.loader", "wall", "lanework_cold", "torch_loader", 6, None),
    _ratio("r3.eager", "rate", "lanework_watched", "torch_index", 2.2, None),
    _ratio("r3.compile", "rate", "lanework_watched", "torch_compile", 1.4, None),
    Bar(
        "r3.peak", "r3", "R3 training as a fraction of the matrix peak", "peak_fraction",
        "lanework_watched", aim=0.8, unit="fraction",
    ),
    _ratio("r4.eager", "rate", "lanework_watched", "torch_index", 1.2, None),
    _ratio("r5.eager", "rate", "lanework_watched", "torch_index", 0.75, 1),
    _ratio("r6.eager", "rate", "lanework_watched", "torch_index", 2.0, None),
    Bar(
        "memory", "memory", "Peak resident memory of 2 000 runs", "peak_rss_bytes",
        bar=2.5 * GIB, is_ceiling=True, unit="bytes",
    ),
    Bar(
        "start.help", "start", "`lanework --help`, whole process", "help_s",
        bar=0.3, is_ceiling=True, unit="s",
    ),
    Bar(
        "start.import", "start", "`import lanework`, inside the process", "import_s",
        bar=0.2, is_ceiling=True, unit="s",
    ),
    Bar(
        "r1.watching", "watching", "Default watching in R1, share of training time without it",
        "watching_fraction", theirs="off", bar=0.05, is_ceiling=True, unit="fraction",
    ),
    Bar(
        "r1.records", "watching", "Records and default watching in R1, share of training time with nothing kept",
        "watching_fraction", theirs="bare", bar=0.05, is_ceiling=True, unit="fraction",
    ),
    Bar(
        "r7.rate", "r7", "R7 streamed from disk, as a share of the rate in memory", "streamed_fraction",
        bar=0.9, unit="fraction",
    ),
    Bar(
        "r7.memory", "r7", "R7 peak resident memory on a file of 6 GiB", "peak_rss_bytes",
        bar=2 * GIB, is_ceiling=True, unit="bytes",
    ),
    Bar(
        "r3.watching", "watching", "Default watching in R3, share of training time without it",
        "watching_fraction", theirs="off", bar=0.05, is_ceiling=True, unit="fraction",
    ),
    Bar(
        "r4.watching", "watching", "Default watching in R4, share of training time without it",
        "watching_fraction", theirs="off", bar=0.05, is_ceiling=True, unit="fraction",
    ),
)  # fmt: skip
