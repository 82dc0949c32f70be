"""The gate before training: each item fails on a planted fault and passes on the healthy twin."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lanework
from lanework import models, recipes
from lanework.api.check import affordable
from lanework.api.check_items import label
from lanework.cohort import gating
from lanework.errors import SpecError
from lanework.health import gate, gradients, judge, judge_data, judge_training
from lanework.models.base import Taps
from lanework.store import Store
from tests.helpers import lanework as command

WIDTH, CLASSES, ROWS = 6, 3, 64
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(ROWS, WIDTH)).astype(np.float32)
LABELS = np.argmax(X[:, :CLASSES], axis=1).astype(np.int32)


# ---- planted faults --------------------------------------------------------------------------


@jax.custom_vjp
def wrong_square(x: jax.Array) -> jax.Array:
    return x * x


wrong_square.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))  # forgets the 2


class Net(nnx.Module):
    """Two dense layers; `fault` names what is wrong with it."""

    def __init__(
        self, in_features: int, num_outputs: int, rngs: nnx.Rngs, fault: str = "none"
    ) -> None:
        init = nnx.initializers.zeros if fault == "zeros" else nnx.initializers.he_normal()
        self.first = nnx.Linear(in_features, 16, kernel_init=init, rngs=rngs)
        self.last = nnx.Linear(16, num_outputs, kernel_init=init, rngs=rngs)
        deterministic = False if fault == "dropout" else None
        self.drop = nnx.Dropout(0.5, rngs=rngs, deterministic=deterministic)
        self.fault = fault

    def eval(self, **attributes: Any) -> Any:
        return self if self.fault == "dropout" else super().eval(**attributes)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.fault == "mixing":
            x = x - jnp.mean(x, axis=0, keepdims=True)
        if self.fault == "blind":
            x = jnp.zeros_like(x)
        x = self.first(x)
        if self.fault == "single":
            x = x.astype(jnp.float32)
        x = wrong_square(x) if self.fault == "gradient" else jax.nn.relu(x)
        if self.fault in ("dropout", "dropout_right"):
            x = self.drop(x)
        x = self.last(x)
        return {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}.get(
            self.fault, lambda x: x
        )(x)


class Normed(Net):
    """With batch statistics."""

    def __init__(self, in_features: int, num_outputs: int, rngs: nnx.Rngs) -> None:
        super().__init__(in_features, num_outputs, rngs)
        self.norm = nnx.BatchNorm(in_features, momentum=0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(self.norm(x))


INPUT = SimpleNamespace(
    shape=(WIDTH,),
    num_numeric=WIDTH,
    cardinalities=(),
    grid=(),
    kind="table",
    vocabulary=0,
    is_stepwise=False,
)


@dataclass(frozen=True)
class Case:
    """A network with its loss, before training."""

    model: gate.Model
    start: gating.Start
    samples: gate.Samples


@cache
def case(
    fault: str = "none", *, module: Any = Net, loss: str = "cross_entropy", scale: float = 1.0
) -> Case:
    options = {"fault": fault} if module is Net else {}
    spec = SimpleNamespace(net="<object>", options=options)
    net = models.network(spec, input=INPUT, num_outputs=CLASSES, example=X[:2], module=module)
    per_sample = recipes.loss(SimpleNamespace(name=loss, options={}), task="classification")

    def losses(outputs: Any, y: Any, hypers: Any) -> tuple[Any, Any]:
        return per_sample(outputs, y, hypers), jnp.ones((len(y),))

    params, state = jax.jit(net.init)(jax.random.key(0))
    start = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (params, state))
    return Case(
        gate.Model(net.apply, losses, net.layer_names, Taps),
        gating.Start(*start, {}, {}),
        gate.Samples(X * scale, LABELS),
    )


@cache
def blind() -> tuple[dict[str, Any], dict[str, Any]]:
    """The look at a network that does not use its inputs, and its training."""
    return looked(case("blind")), trained(case("blind"))


def looked(one: Case) -> dict[str, Any]:
    constants = np.zeros((1, CLASSES), np.float32)
    function, arguments = gating.looked_at(
        one.model, one.start, one.samples, (LABELS,), constants, has_gradient=True, group=1
    )
    device = jax.devices()[0]
    told = gating.call(function, arguments, identity=None, device=device)
    return jax.tree.map(lambda leaf: leaf[0], told)


def trained(one: Case, *, steps: int = 150) -> dict[str, Any]:
    """The first 8 samples by heart; all with and without inputs."""
    few = np.arange(64 * 8).reshape(64, 8) % 8
    many = np.random.default_rng(1).integers(0, ROWS, (64, 8))
    judged = np.arange(ROWS)
    courses = gate.Course(
        np.stack([few, many, many]).astype(np.int32),
        np.stack([judged % 8, judged, judged]).astype(np.int32),
        np.full(3, 0.01, np.float32),
        np.array([False, False, True]),
        np.full(3, steps, np.int32),
    )
    function, arguments = gating.trained(one.model, one.start, one.samples, courses, group=4)
    told = gating.call(function, arguments, identity=None, device=jax.devices()[0])
    return jax.tree.map(lambda leaf: leaf[0], told)


def checked(one: Case, *, step: float = gradients.STEP) -> dict[str, Any]:
    few = gate.Samples(one.samples.x[:3], one.samples.y[:3])
    function, arguments = gating.slopes(
        one.model,
        one.start,
        few,
        lambda at: recipes.penalty(at, {"l1": 1.0, "l2": 1.0}),
        lambda at: recipes.penalty_gradient(at, {"l1": 1.0, "l2": 1.0}),
        num_free=-1,
        step=step,
    )
    return gating.call(function, arguments, identity=None, device=jax.devices()[0], is_double=True)


@pytest.fixture(scope="module")
def sound() -> Case:
    return case()


@pytest.fixture(scope="module")
def sound_look(sound: Case) -> dict[str, Any]:
    return looked(sound)


@pytest.fixture(scope="module")
def sound_training(sound: Case) -> dict[str, Any]:
    return trained(sound)


# ---- gradients -------------------------------------------------------------------------------


def test_a_right_gradient_agrees_to_many_digits_and_a_wrong_one_does_not(sound: Case) -> None:
    good, bad = checked(sound), checked(case("gradient"))
    assert good["error"].max() < 1e-6
    assert good["penalty"].max() < 1e-6
    # By rows: inputs, first/bias, first/kernel, last/bias, last/kernel; the fault lies before the first layer.
    assert bad["error"][:3].max() > 0.3
    assert bad["error"][3:].max() < 1e-6
    item = judge_training.gradient({"first/kernel": 0.5}, num_kinks=0, num_entries=4, bits=64)
    assert item.level == "fail"
    assert "first/kernel is wrong" in item.sentence


@pytest.mark.slow
def test_slopes_of_a_function_with_known_ones_and_a_kink() -> None:
    with jax.enable_x64(True):
        at = {"smooth": jnp.array([0.3, -0.2]), "kinked": jnp.zeros(1)}
        loss = lambda tree: jnp.sum(jnp.sin(tree["smooth"])) + jax.nn.relu(tree["kinked"][0])
        found = gradients.compare(loss, at, gradients.directions(at))
        error, is_kink = gradients.errors(found)
        assert is_kink[0].all()  # "kinked" sorts first
        assert not is_kink[1].any()
        assert float(error[1].max()) < 1e-8
        # Entry of largest gradient first: d sin = cos, largest at -0.2.
        np.testing.assert_allclose(abs(found.central[1, 0]), math.cos(-0.2), rtol=1e-8)


def test_a_network_that_casts_down_is_told_and_judged_by_wider_bands() -> None:
    one = case("single")
    few = gate.Samples(one.samples.x[:3], one.samples.y[:3])
    assert gating.bits(one.model, one.start, few) == 32
    assert gating.bits(case().model, one.start, few) == 64
    told = checked(one, step=gradients.COARSE_STEP)
    error = told["error"][~told["is_kink"]].max()
    assert (
        judge_training.gradient({"all": float(error)}, num_kinks=0, num_entries=4, bits=32).level
        == "pass"
    )
    assert (
        judge_training.gradient({"all": 0.5}, num_kinks=0, num_entries=4, bits=32).level == "fail"
    )
    assert (
        judge_training.gradient({"all": 1e-3}, num_kinks=0, num_entries=4, bits=64).level == "warn"
    )


# ---- the network at its start ----------------------------------------------------------------


def test_initial_loss_of_scaled_and_unscaled_inputs(sound_look: dict[str, Any]) -> None:
    neutral = math.log(CLASSES)
    np.testing.assert_allclose(sound_look["constants"][0][0], neutral, rtol=1e-5)
    level = lambda loss: (
        judge.initial_loss(loss=float(loss), neutral=neutral, prior=neutral, is_entropy=True).level
    )
    assert level(sound_look["loss"]) == "pass"
    assert level(looked(case(scale=1000.0))["loss"]) == "fail"
    assert level(math.nan) == "fail"
    assert level(0.1) == "warn"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("softmax", "softmax"),
        pytest.param("sigmoid", "never", marks=pytest.mark.slow),
        pytest.param("relu", "never", marks=pytest.mark.slow),
    ],
)
def test_an_activation_before_a_cross_entropy_is_caught(
    fault: str, word: str, sound_look: dict[str, Any]
) -> None:
    def item(look: dict[str, Any]) -> judge.Item:
        low, high, error = (float(look["reach"][k]) for k in ("low", "high", "row_sum_error"))
        return judge.outputs(
            judge.Reach(low, high, error, 0.0, CLASSES, CLASSES), takes_scores=True
        )

    assert item(sound_look).level == "pass"
    found = item(looked(case(fault)))
    assert found.level == "fail"
    assert word in found.sentence


def test_outputs_that_cannot_reach_a_numeric_target_are_caught() -> None:
    reach = judge.Reach(0.0, 1.0, 0.4, 0.8, 1, 1)
    assert judge.outputs(reach, takes_scores=False).level == "fail"
    assert judge.outputs(replace(reach, outside=0.0), takes_scores=False).level == "pass"
    one = judge.outputs(replace(reach, low=1.0), takes_scores=True)
    assert "whatever the weights are" in one.sentence


def test_samples_that_see_their_batch_are_caught(sound_look: dict[str, Any]) -> None:
    def item(look: dict[str, Any], *, has_statistics: bool = False) -> judge.Item:
        both = {name: float(value) for name, value in look["mixing"].items()}
        return judge_training.batch_mixing(**both, has_statistics=has_statistics)

    assert item(sound_look).level == "pass"
    assert item(looked(case("mixing"))).level == "fail"
    normed = looked(case(module=Normed))
    assert item(normed, has_statistics=True).level == "pass"
    assert float(normed["mixing"]["training"]) > 1e-3  # batch statistics do mix in training mode


@pytest.mark.slow
def test_mixing_is_found_by_exchanging_samples_where_inputs_have_no_gradient() -> None:
    constants = np.zeros((1, CLASSES), np.float32)
    seen = []
    for fault in ("none", "mixing"):
        one = case(fault)
        few = gate.Samples(one.samples.x[:8], one.samples.y[:8])
        function, arguments = gating.looked_at(
            one.model, one.start, few, (LABELS,), constants, has_gradient=False, group=1
        )
        told = gating.call(function, arguments, identity=None, device=jax.devices()[0])
        seen.append(float(told["mixing"]["evaluation"][0]))
    assert seen[0] <= judge_training.MIXED < seen[1]


def modes_of(
    look: dict[str, Any], training: float | None = 0.1, evaluation: float | None = 0.1
) -> judge.Item:
    noise, loudness = float(look["noise"]), float(look["loudness"])
    return judge_training.modes(
        judge_training.Modes(noise, loudness, training, evaluation, 1.0, False)
    )


@pytest.mark.slow
def test_dropout_that_stays_on_at_evaluation_is_caught(sound_look: dict[str, Any]) -> None:
    assert modes_of(sound_look).level == "pass"
    assert modes_of(looked(case("dropout_right"))).level == "pass"
    found = modes_of(looked(case("dropout")))
    assert found.level == "fail"
    assert "random" in found.sentence
    assert modes_of(sound_look, 0.1, 5.0).level == "warn"
    assert modes_of(sound_look, None, None).level == "pass"
    assert "random" in modes_of(looked(case("dropout")), None, None).sentence


def test_signals_that_vanish_or_explode_are_told() -> None:
    names = ["a", "b", "c"]
    level = lambda acts, grads: judge.layer_variance(names, activations=acts, gradients=grads).level
    assert level([1.0, 0.9, 0.0], [0.1, 0.2, 0.3]) == "pass"
    assert level([1.0, 1e-6, 1.0], [0.1, 0.2, 0.3]) == "fail"
    assert level([1.0, 1.0, 1.0], [1e-4, 1e-3, 1.0]) == "warn"
    assert level([1.0, 1.0, 1.0], [1e-6, 1e-3, 1.0]) == "fail"
    assert level([1.0, math.nan, 1.0], [0.1, 0.2, 0.3]) == "fail"


# ---- short trainings -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sound_network_learns_a_handful_and_one_with_a_softmax_too_many_does_not(
    sound_training: dict[str, Any],
) -> None:
    def item(told: dict[str, Any]) -> judge.Item:
        return judge_training.overfit(
            start=math.log(CLASSES),
            end=float(told["training"][0]),
            is_falling=False,
            num_samples=8,
            num_steps=150,
        )

    assert item(sound_training).level == "pass"
    assert item(trained(case("softmax"))).level != "pass"
    assert item(blind()[1]).level == "fail"


def test_inputs_must_matter(sound_training: dict[str, Any], sound_look: dict[str, Any]) -> None:
    def item(told: dict[str, Any], look: dict[str, Any]) -> judge.Item:
        real, zeroed = (float(value) for value in told["training"][1:])
        return judge_training.inputs_matter(
            real=real, zeroed=zeroed, spread=float(look["spread"]), num_steps=150
        )

    assert item(sound_training, sound_look).level == "pass"
    assert item(*reversed(blind())).level == "fail"


def test_a_few_first_steps_tell_what_moves_and_what_stays_alike(
    sound_look: dict[str, Any],
) -> None:
    assert not sound_look["steps"]["twins"].any()
    assert (sound_look["steps"]["moved"] > 0).all()
    zeros = looked(case("zeros"))["steps"]
    assert zeros["twins"][0, 1]
    assert zeros["moved"][0, 1] == 0.0


def test_zero_weights_leave_all_units_alike(sound_training: dict[str, Any]) -> None:
    zeros = trained(case("zeros"))
    # Tensors: first/bias, first/kernel, last/bias, last/kernel.
    assert not sound_training["twins"].any()
    assert zeros["twins"][0, 1]
    assert zeros["moved"][0, 1] == 0.0  # ReLU of zeros: no gradient at all gets to the first layer
    assert judge.symmetry(twins=["first/kernel"], idle=[], num_kernels=2).level == "fail"
    assert judge.symmetry(twins=[], idle=["first/kernel"], num_kernels=4).level == "warn"
    assert judge.symmetry(twins=[], idle=[], num_kernels=2).level == "pass"


def test_courses_at_some_rates() -> None:
    sound = judge_training.Course(0.1, 2.3, 2.3, 0.5)
    lost, risen = replace(sound, end=math.nan), replace(sound, peak=90.0, end=5.0)
    assert (
        judge_training.stability([{1.0: sound, 2.0: sound, 5.0: sound}], num_steps=50).level
        == "pass"
    )
    assert (
        judge_training.stability([{1.0: sound, 2.0: sound, 5.0: lost}], num_steps=50).level
        == "pass"
    )
    assert (
        judge_training.stability([{1.0: sound, 2.0: risen, 5.0: lost}], num_steps=50).level
        == "warn"
    )
    assert (
        judge_training.stability([{1.0: risen, 2.0: lost, 5.0: lost}], num_steps=50).level == "fail"
    )
    stuck = replace(sound, peak=40.0, end=2.1)  # went up and came back to chance only
    assert judge_training.stability([{1.0: stuck}], num_steps=50).level == "fail"
    # Where rates are compared, some may be too high.
    several = judge_training.stability([{1.0: sound}, {1.0: replace(lost, rate=9.0)}], num_steps=50)
    assert several.level == "pass"
    assert "1 of 2 rates" in several.sentence


# ---- data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "level"),
    [
        (judge_data.input_scale(size=1.0, apart=3.0), "pass"),
        (judge_data.input_scale(size=1000.0, apart=1.0), "fail"),
        (judge_data.input_scale(size=20.0, apart=1.0), "warn"),
        (judge_data.target_scale(mean=0.0, std=1.0), "pass"),
        (judge_data.target_scale(mean=152.0, std=77.0), "warn"),
        (judge_data.target_scale(mean=1.0, std=0.0), "fail"),
        (judge_data.labels([50, 50], ["a", "b"]), "pass"),
        (judge_data.labels([990, 10], ["a", "b"]), "warn"),
        (judge_data.labels([100, 0], ["a", "b"]), "fail"),
        (judge_data.constants(num_constant=3, num_columns=64, is_grid=True), "pass"),
        (judge_data.constants(num_constant=5, num_columns=6, is_grid=False), "warn"),
        (judge_data.constants(num_constant=6, num_columns=6, is_grid=False), "fail"),
        (judge_data.duplicates(seen=0.01, repeated=0.1, conflicting=0.0), "pass"),
        (judge_data.duplicates(seen=0.5, repeated=0.1, conflicting=0.0), "warn"),
        (judge_data.leakage([]), "pass"),
        (judge_data.leakage(["Column 'x' alone gives the target away."]), "warn"),
        (judge_data.finite(bad_inputs=0, bad_targets=0), "pass"),
        (judge_data.finite(bad_inputs=1, bad_targets=0), "fail"),
    ],
)
def test_levels_of_data(item: judge.Item, level: str) -> None:
    assert item.level == level
    assert bool(item.advice) is (level != "pass")
    assert item.source


def test_penalties_and_bias() -> None:
    assert judge_training.penalty(off=2.3, on=2.4, error=1e-9).level == "pass"
    assert judge_training.penalty(off=2.3, on=2.3, error=0.0).level == "fail"
    assert judge_training.penalty(off=2.3, on=50.0, error=0.0).level == "warn"
    assert judge_training.penalty(off=2.3, on=2.4, error=0.5).level == "fail"
    rare = judge.output_bias(loss=0.7, neutral=0.693, prior=0.06, is_regression=False)
    assert rare.level == "warn"
    assert "base_rate" in rare.advice
    assert judge.output_bias(loss=2.5, neutral=2.3, prior=2.29, is_regression=False).level == "pass"


# ---- whole studies ---------------------------------------------------------------------------


def study(**changes: Any) -> lanework.Study:
    given: dict[str, Any] = {
        "study": "gate",
        "data": "iris",
        "model": {"net": "mlp", "hidden": [8]},
        "train": {"epochs": 8, "batch_size": 16, "l2": 1e-4},
    }
    return lanework.Study(**(given | changes))


def test_a_healthy_study_passes_without_a_warning() -> None:
    found = study(compare={"learning_rate": [0.001, 0.01]}).check()
    assert [item for item in found.items if item.level != "pass"] == []
    assert found.is_good
    names = {item.name for item in found.items}
    assert names >= {
        "initial_loss",
        "gradient",
        "overfit",
        "inputs_matter",
        "batch_mixing",
        "modes",
        "stability",
        "symmetry",
        "outputs",
        "layer_variance",
        "regularisation",
        "labels",
        "input_scale",
        "settings",
    }
    json.dumps(found.record(), allow_nan=False)


def test_a_network_with_batch_normalisation_bears_the_gate(tmp_path: Path) -> None:
    told: list[Any] = []
    study(model={"net": "mlp", "hidden": [8], "norm": "batch"}).run(
        tmp_path / "run", check=None, on_check=told.append
    )
    assert {item.name for item in told[0].items} >= CHEAP
    assert [item for item in told[0].items if item.level == "fail"] == []


@pytest.mark.slow
def test_a_faulty_study_names_its_faults_by_configuration() -> None:
    x = X * 1000.0
    found = study(
        data={"source": (x, LABELS), "prepare": "none"},
        model={"net": "mlp", "hidden": [8], "output_activation": "softmax"},
        train={"epochs": 8, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.1},
        compare={"init": ["auto", "zeros"]},
    ).check()
    failed = {item.name: item.arm for item in found.failed}
    assert failed.keys() >= {"input_scale", "outputs", "symmetry"}
    assert failed["input_scale"] == ""
    assert "zeros" in failed["symmetry"]


def test_run_tells_what_failed_trains_nevertheless_and_refuses_when_strict(tmp_path: Path) -> None:
    sick = study(model={"net": "mlp", "hidden": [8], "init": "zeros"}, train={"epochs": 1})
    seen: list[Any] = []
    with pytest.raises(SpecError, match="Check of symmetry"):
        sick.run(tmp_path / "a", check=True, is_strict=True, on_check=seen.append)
    results = sick.run(tmp_path / "a", check=True)
    assert seen[0].failed
    with Store(results.folder, create=False) as store:
        stored = store.meta("check")
        events = [event.text for event in store.events() if event.kind == "warning"]
    assert any(item["level"] == "fail" for item in stored["items"])
    assert any("Check of symmetry" in text for text in events)


CHEAP = {
    "initial_loss",
    "output_bias",
    "outputs",
    "symmetry",
    "layer_variance",
    "batch_mixing",
    "modes",
}
DEAR = {"overfit", "inputs_matter", "gradient", "regularisation", "stability"}


def test_a_run_looks_at_what_is_cheap_and_says_what_it_left_out(tmp_path: Path) -> None:
    told: list[Any] = []
    sick = study(model={"net": "mlp", "hidden": [8], "init": "zeros"}, train={"epochs": 1})
    results = sick.run(tmp_path / "run", check=None, on_check=told.append)
    names = {item.name for item in told[0].items}
    assert names >= {*CHEAP, "labels", "input_scale"}
    assert not names & DEAR
    assert set(told[0].left_out) == DEAR
    assert {item.name for item in told[0].failed} == {"symmetry", "layer_variance"}
    assert "lanework check looks at all" in told[0].summary()
    written = json.loads((results.folder / "results.json").read_text())["check"]
    assert {item["name"] for item in written["items"]} == names
    assert set(written["left_out"]) == DEAR
    page = (results.folder / "report.html").read_text()
    assert "Check before training" in page
    assert "Start from random weights: model.init: auto" in page
    assert "<summary>activation std</summary>" in page
    assert "<dt>dense_0</dt><dd>0</dd>" in page  # what a layer of zeros gives
    assert all(item.sentence.split(":")[0] in page for item in told[0].failed)
    with Store(results.folder, create=False) as store:
        events = [event.text for event in store.events() if event.kind == "warning"]
    assert any("Check of symmetry" in text for text in events)


def test_the_dear_items_join_in_where_the_study_is_long_enough() -> None:
    whole = affordable(1e6, num_groups=3)
    assert whole == {"look", "stability", "trained", "slopes"}
    assert affordable(1.0, num_groups=1) == {"look"}
    for seconds in np.geomspace(1.0, 1e5, 30):
        assert affordable(float(seconds), num_groups=2) <= affordable(2.0 * seconds, num_groups=2)


def test_a_long_study_gets_the_whole_gate_by_the_programs_that_train_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanework.api.check.BUDGET_SHARE", 1e9)
    told: list[Any] = []
    plain = study(train={"epochs": 2, "batch_size": 16, "l2": 1e-4}).run(tmp_path / "a")
    checked = study(train={"epochs": 2, "batch_size": 16, "l2": 1e-4}).run(
        tmp_path / "b", check=None, on_check=told.append
    )
    assert told[0].left_out == ()
    assert {item.name for item in told[0].items} >= CHEAP | DEAR
    assert plain.frame()["val_loss"].tolist() == checked.frame()["val_loss"].tolist()


def test_networks_that_fill_the_memory_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanework.api.check.MEMORY_SHARE", 0.0)
    told: list[Any] = []
    study(train={"epochs": 1}).run(tmp_path / "run", check=None, on_check=told.append)
    assert set(told[0].left_out) == CHEAP | DEAR
    assert {item.name for item in told[0].items} >= {"labels", "input_scale"}


def test_a_network_that_trains_but_does_not_bear_the_gate_trains(tmp_path: Path) -> None:
    class Picky(Net):
        def __call__(self, x: jax.Array) -> jax.Array:
            if x.shape[0] == 32:
                raise ValueError("never 32 samples")
            return super().__call__(x)

    told: list[Any] = []
    results = lanework.Study(
        study="picky", data=(X, LABELS), model=Picky, train={"epochs": 1, "batch_size": 16}
    ).run(tmp_path / "run", check=None, on_check=told.append)
    assert told == []
    with Store(results.folder, create=False) as store:
        texts = [event.text for event in store.events() if event.kind == "warning"]
    assert any("could not be made: never 32 samples" in text for text in texts)


@pytest.mark.slow
def test_the_command_prints_what_is_not_as_it_should_be_unless_told_not_to(tmp_path: Path) -> None:
    text = "study: {}\ndata: {{source: iris}}\nmodel: {{net: mlp, hidden: [8], init: {}}}\ntrain: {{epochs: 1}}\n"
    for name, init in (("sick", "zeros"), ("well", "auto")):
        (tmp_path / f"{name}.yaml").write_text(text.format(name, init))
    told = command("run", "sick.yaml", folder=tmp_path)
    assert told.returncode == 0
    lines = [line for line in told.stderr.splitlines() if line.startswith(("fail", "warn", "pass"))]
    assert len(lines) == 2
    assert lines[0].startswith("fail  symmetry")
    assert lines[1].startswith("fail  layer_variance")
    assert (
        "fail  symmetry"
        not in command("run", "sick.yaml", "--no-check", "--overwrite", folder=tmp_path).stderr
    )
    refused = command("run", "sick.yaml", "--strict", "--overwrite", folder=tmp_path)
    assert refused.returncode == 2
    assert "check" not in command("run", "well.yaml", folder=tmp_path).stderr


def test_the_command_says_it_in_words_and_as_json(tmp_path: Path) -> None:
    (tmp_path / "sick.yaml").write_text(
        "study: sick\ndata: {source: iris}\nmodel: {net: mlp, hidden: [8], init: zeros}\n"
        "train: {epochs: 1}\n"
    )
    done = command("check", "sick.yaml", "--json", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    record = json.loads(done.stdout)
    assert {item["name"] for item in record["items"] if item["level"] == "fail"} >= {"symmetry"}


def test_labels_of_configurations() -> None:
    arms: list[Any] = [
        SimpleNamespace(name=f"{rule} {rate}", factors={"optimizer": rule, "rate": rate})
        for rule in ("sgd", "adam")
        for rate in (0.1, 0.2)
    ]
    found: Callable[[list[int]], str] = lambda chosen: label(arms, chosen)
    assert found([0, 1, 2, 3]) == ""
    assert found([0]) == "sgd 0.1"
    assert found([2, 3]) == "optimizer adam"
    assert found([0, 3]) == "sgd 0.1 and 1 more"
