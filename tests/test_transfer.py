"""Weights from files: what is loaded, what is refused; frozen layers, gradual unfreezing, rates by depth; a study end to end."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import lanework
from lanework import models, recipes
from lanework.cohort import updates
from lanework.errors import SpecError, StoreError
from lanework.models import transfer
from lanework.spec import TrainSpec
from lanework.store import Store
from tests.contracts.probes import Input, model

IMAGE = Input(shape=(8, 8, 3), num_numeric=0)
# A deep network in few operations: three stages of one block.
SMALL = {"depth": 8, "width": 4}


def build(net: str = "resnet", *, num_outputs: int = 3, input: Any = IMAGE, **options: Any) -> Any:
    options = options or SMALL
    return models.network(model(net, **options), input=input, num_outputs=num_outputs)


def weights(net: models.Network, seed: int = 0) -> Any:
    """Random weights of a network's shapes, on the host."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A file under torchvision's names, of a network with 5 classes."""
    file = tmp_path / "theirs.safetensors"
    save_file(models.to_torchvision(*weights(build(num_outputs=5))), str(file))
    return file


def test_names_and_layout_of_torchvision(theirs: Path) -> None:
    tensors = load_file(theirs)
    params, state = weights(build(num_outputs=5))
    assert {name for name in tensors if name.startswith("layer2.0.")} == {
        f"layer2.0.{owner}.{leaf}"
        for owner, leaves in {
            "conv1": ("weight",),
            "conv2": ("weight",),
            "downsample.0": ("weight",),
            **dict.fromkeys(
                ("bn1", "bn2", "downsample.1"),
                ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
            ),
        }.items()
        for leaf in leaves
    }
    assert tensors["layer2.0.conv1.weight"].shape == (8, 4, 3, 3)  # out, in, height, width
    kernel = params["stage2_block0_conv1"]["kernel"]
    assert tensors["layer2.0.conv1.weight"][5, 3, 2, 1] == kernel[2, 1, 3, 5]
    np.testing.assert_array_equal(tensors["fc.weight"], params["output"]["kernel"].T)
    np.testing.assert_array_equal(tensors["bn1.running_var"], state["stem_norm"]["var"])


@pytest.mark.parametrize("head", ["new", "keep"])
def test_what_is_written_is_read_again(theirs: Path, head: str) -> None:
    net, told = models.start_from(build(num_outputs=5), theirs, head=head)
    params, state = net.init(jax.random.key(7))
    wanted, wanted_state = weights(build(num_outputs=5))
    fresh, _ = build(num_outputs=5).init(jax.random.key(7))
    expected = {**wanted, "output": (wanted if head == "keep" else fresh)["output"]}
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    jax.tree.map(np.testing.assert_array_equal, state, wanted_state)
    assert told.new == (() if head == "keep" else ("output/bias", "output/kernel"))
    assert len(told.loaded) + len(told.new) == len(jax.tree.leaves((wanted, wanted_state)))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.encoder."])
def test_names_of_timm_and_of_wrappers(theirs: Path, tmp_path: Path, prefix: str) -> None:
    """timm: the same names; wrappers put something in front; counters and a head of another kind are left aside."""
    tensors = load_file(theirs)
    head = {name: tensors.pop(name) for name in ("fc.weight", "fc.bias")}
    named = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    named |= {f"head.{name}": tensor for name, tensor in head.items()} if not prefix else {}
    save_file(named, str(tmp_path / "timm.safetensors"))
    _, told = models.start_from(build(num_outputs=5), tmp_path / "timm.safetensors")
    assert told.new == ("output/bias", "output/kernel")
    assert not told.unfit
    assert not told.unused


def test_head_for_other_classes_and_a_stem_for_grey_images(theirs: Path) -> None:
    net, told = models.start_from(
        build(num_outputs=9, input=Input(shape=(8, 8, 1), num_numeric=0)), theirs
    )
    params, _ = net.init(jax.random.key(0))
    assert params["output"]["kernel"].shape == (16, 9)
    assert told.unfit == ("stem/kernel (file 3x3x3x4, network 3x3x1x4)",)
    assert "did not fit: stem/kernel (file 3x3x3x4, network 3x3x1x4)" in told.text()
    assert "new: output/bias, output/kernel" in told.text()


def test_what_the_file_has_in_half_precision_becomes_the_network_s_type(theirs: Path) -> None:
    halves = {
        name: leaf.astype(np.float16) if leaf.dtype == np.float32 else leaf
        for name, leaf in load_file(theirs).items()
    }
    save_file(halves, str(theirs))
    params, _ = models.start_from(build(), theirs)[0].init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def refused(path: Path, words: str, *, net: Any = None, head: str = "new") -> None:
    with pytest.raises(SpecError, match=words):
        models.start_from(net or build(num_outputs=5), path, head=head)


def test_bad_files_are_named_and_told_what_to_do(theirs: Path, tmp_path: Path) -> None:
    for suffix in (".pt", ".pth", ".bin", ".ckpt"):
        pickled = tmp_path / f"net{suffix}"
        pickled.write_bytes(b"\x80\x04never opened")
        refused(
            pickled,
            r"must be a safetensors file, got net\..*: opening a pickled file runs the code in it",
        )
    refused(tmp_path / "net.pt", r'Convert it once .*save_file\(.*"net\.safetensors"\)')
    refused(tmp_path / "none.safetensors", "must name a file that exists, got .*none.safetensors")
    refused(tmp_path, "must be a folder with weights.safetensors or best/weights.safetensors")
    whole = theirs.read_bytes()
    for size in (0, 5, 100, len(whole) - 10):
        theirs.write_bytes(whole[:size])
        refused(
            theirs, f"must be a whole safetensors file of {size} bytes .* Fetch or write it again"
        )


def test_another_architecture_is_refused(theirs: Path, tmp_path: Path) -> None:
    other = "must be weights of this architecture, got theirs.safetensors"
    deeper = build(depth=14, width=4, num_outputs=5)
    refused(theirs, f"{other}, which fills .* missing in the file: stage1_block1_conv1", net=deeper)
    refused(theirs, f"{other}.*did not fit:.*file 3x3x4x4", net=build(depth=8, width=8))
    bare = build(norm="none", depth=8, width=4)
    refused(theirs, f"{other} with .* tensors that the network has no place for: bn1", net=bare)
    refused(
        theirs,
        r"model\.head: must be new .* got keep with output/.*file 16x5",
        net=build(),
        head="keep",
    )
    save_file(
        {"conv1.0.weight": np.zeros((2, 3, 3, 3), np.float32)}, str(tmp_path / "d.safetensors")
    )
    refused(tmp_path / "d.safetensors", "must have one convolution as its stem, got a deep stem")
    save_file({"wte.weight": np.zeros((2, 3), np.float32)}, str(tmp_path / "gpt.safetensors"))
    refused(
        tmp_path / "gpt.safetensors",
        "must hold names of our own models or of torchvision's and timm's ResNets, got wte",
    )
    # More blocks in the file than in the network: all of the network could be filled, and it would still be wrong.
    save_file(models.to_torchvision(*weights(deeper)), str(theirs))
    refused(theirs, f"{other} with .* tensors that the network has no place for: layer1.1")


def test_what_has_no_name_in_torchvision_is_refused() -> None:
    words = r"must be a resnet with norm: batch .* got the weights \w+/bias"
    for options in (
        {"norm": "layer"},
        {"norm": "layer", "norm_position": "after"},
        {"norm_position": "after"},
    ):
        with pytest.raises(SpecError, match=words):
            models.to_torchvision(*weights(build(**SMALL, **options)))
    params, _ = weights(build())
    with pytest.raises(SpecError, match=r"got the weights \w+_norm/bias"):
        models.to_torchvision(params, {})


# --- frozen layers


def train(**keys: Any) -> TrainSpec:
    return TrainSpec.model_validate({"optimizer": "adam", "learning_rate": 0.1, **keys})


def one_update(spec: TrainSpec, params: Any, *, steps: int, names: Any, **hypers: float) -> Any:
    """Weights after each step, with gradients of 1; an epoch has 2 steps."""
    made = updates.update(
        spec,
        total_steps=100,
        steps_per_epoch=2,
        used=frozenset({"weight_decay"}),
        layer_names=names,
        params=params,
    )
    given = {"learning_rate": 0.1, "weight_decay": 0.1, "optimizer.b1": 0.9, **hypers}
    given |= {"optimizer.b2": 0.999, "optimizer.eps": 1e-8, "schedule.warmup_epochs": 0.0}

    @partial(jax.jit, static_argnums=3)
    def step(params: Any, state: Any, number: jax.Array, _: int) -> Any:
        now = made.scheduled({k: jnp.float32(v) for k, v in given.items()}, number)
        told = made.apply(
            jax.tree.map(jnp.ones_like, params),
            state,
            params,
            hypers=now,
            step=number,
            key=jax.random.key(0),
            value=jnp.float32(0),
            objective=lambda p: jnp.float32(0),
        )
        return jax.tree.map(jnp.add, params, told.updates), told.opt_state, told.grads

    state, path = made.init(params), []
    for number in range(steps):
        params, state, grads = step(params, state, jnp.int32(number), 0)
        path.append((params, grads))
    return path


PARAMS = {
    "stem": {"kernel": jnp.ones(2)},
    "stage1_block0_conv1": {"kernel": jnp.ones(2)},
    "stage1_block0_conv1_norm": {"scale": jnp.ones(2)},
    "output": {"kernel": jnp.ones(2), "bias": jnp.ones(1)},
}
NAMES = tuple(PARAMS)


def moved(before: Any, after: Any) -> set[str]:
    return {name for name in before if not bool((before[name] == after[name]).all())}


def flat(tree: Any) -> dict[str, jax.Array]:
    return {f"{layer}/{name}": leaf for layer, own in tree.items() for name, leaf in own.items()}


def test_frozen_layers_do_not_move_by_a_bit_and_count_in_no_norm() -> None:
    path = one_update(train(freeze=["*", "!output/*"]), PARAMS, steps=3, names=NAMES)
    assert moved(flat(PARAMS), flat(path[-1][0])) == {"output/kernel", "output/bias"}
    grads = flat(path[0][1])
    assert not grads["stem/kernel"].any()
    assert grads["output/kernel"].all()


def test_layers_join_from_the_top_with_a_fresh_memory() -> None:
    spec = train(unfreeze={"every": 2})  # two steps make an epoch: a group each 4 steps
    path = one_update(spec, PARAMS, steps=10, names=NAMES, **{"unfreeze.every": 2.0})
    weights_of = [flat(PARAMS), *(flat(params) for params, _ in path)]
    first = {
        name: next(i for i in range(10) if name in moved(weights_of[i], weights_of[i + 1]))
        for name in weights_of[0]
    }
    block = ("stage1_block0_conv1/kernel", "stage1_block0_conv1_norm/scale")
    assert first == {
        "output/kernel": 0,
        "output/bias": 0,
        **dict.fromkeys(block, 4),
        "stem/kernel": 8,
    }
    # A fresh memory: the first step of a layer is as long whenever it comes.
    steps = [
        weights_of[i + 1][name] - weights_of[i][name]
        for name, i in (("output/kernel", 0), (block[0], 4), ("stem/kernel", 8))
    ]
    np.testing.assert_array_equal(steps[0], steps[1])
    np.testing.assert_array_equal(steps[0], steps[2])


def test_own_rates_hold_for_layers_that_join_later() -> None:
    spec = train(optimizer="sgd", unfreeze={"every": 1}, groups=[{"match": "stem/*", "rate": 0.5}])
    given = {"unfreeze.every": 1.0, "groups.0.rate": 0.5, "weight_decay": 0.0}
    path = one_update(spec, PARAMS, steps=5, names=NAMES, **given)
    last = flat(path[3][0])["stem/kernel"], flat(path[4][0])["stem/kernel"]
    np.testing.assert_allclose(last[1] - last[0], -0.05, rtol=1e-4)


def test_rates_fall_with_depth() -> None:
    spec = train(optimizer="sgd", layer_decay=0.5)
    given = {"layer_decay": 0.5, "weight_decay": 0.0}
    after = flat(one_update(spec, PARAMS, steps=1, names=NAMES, **given)[0][0])
    assert {name: round(float(1 - leaf[0]), 6) for name, leaf in after.items()} == {
        "output/kernel": 0.1,
        "output/bias": 0.1,
        "stage1_block0_conv1/kernel": 0.05,
        "stage1_block0_conv1_norm/scale": 0.05,
        "stem/kernel": 0.025,
    }


def test_which_statistics_stay_still() -> None:
    state = {"stage1_block0_conv1_norm": {"mean": 0, "var": 0}, "free": {"mean": 0}}
    still = recipes.still_layers
    frozen = updates.groups_of(train(freeze=["stage1*"]))
    assert still(PARAMS, state, frozen, {}) == {"stage1_block0_conv1_norm": True}
    joining = updates.groups_of(train(unfreeze={"every": 1}), layer_names=NAMES, params=PARAMS)
    assert still(PARAMS, state, joining, {}) == {"stage1_block0_conv1_norm": True}
    flags = still(PARAMS, state, joining, {"thawed": jnp.float32(1)})
    assert not bool(flags["stage1_block0_conv1_norm"])
    partly = updates.groups_of(train(freeze=["*/bias"]))
    both = {"stage1_block0_conv1_norm": {"scale": 0, "bias": 0}}
    assert still(both, state, partly, {}) == {}


# --- end to end


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and one that goes on from its best model with its lower layers frozen."""
    folder = tmp_path_factory.mktemp("transfer")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    net = {"net": "mlp", "hidden": [5, 4], "norm": "batch"}
    first = lanework.Study(
        study="first", data=(x, y), model=net, train={"epochs": 2, "batch_size": 10}
    )
    first.run(folder / "first")
    second = lanework.Study(
        study="second",
        data=(x, y + (x[:, 1] > 0)),
        model=net,
        train={"epochs": 2, "batch_size": 10, "freeze": ["dense_0*"], "keep": "last"},
        compare={"weights": [str(folder / "first"), None]},
        seeds=2,
    )
    second.run(folder / "second")
    return folder


def test_a_study_goes_on_from_the_best_model_of_another(studies: Path) -> None:
    start = load_file(studies / "first/best/weights.safetensors")
    frame = lanework.load(studies / "second").frame()
    assert set(frame["arm"]) == {"weights=first", "weights=none"}
    best = lanework.load(studies / "second").best()
    if best.name == "weights=first":
        for name in ("dense_0", "dense_0_norm"):
            for leaf, value in best.params[name].items():
                np.testing.assert_array_equal(value, start[f"0/{name}/{leaf}"])
        mean = best.state["dense_0_norm"]["mean"]
        np.testing.assert_array_equal(mean, start["1/dense_0_norm/mean"])
    told = "first: 10 of 12 tensors loaded"
    text = (studies / "second/report.html").read_text(encoding="utf-8")
    assert told in text
    with Store(studies / "second", create=False) as store:
        events = [event for event in store.events() if event.kind == "weights_loaded"]
    assert len(events) == 1
    assert told in events[0].text
    record = json.loads((studies / "second/best/model.json").read_text(encoding="utf-8"))
    assert "weights" not in record["model"]


def test_problems_of_a_study_name_the_key(studies: Path) -> None:
    x, y = np.zeros((20, 6), np.float32), np.arange(20) % 2
    for keys, words in (
        (
            {"freeze": ["stage9*"]},
            r"train\.freeze\[0\]: must fit the path of a parameter, got 'stage9\*'",
        ),
        ({"freeze": "*"}, r"train\.freeze: must leave something to train"),
    ):
        study = lanework.Study(study="bad", data=(x, y), train=keys)
        with pytest.raises(SpecError, match=words):
            study.plan()
    other = lanework.Study(
        study="bad",
        data=(x, y),
        model={"net": "mlp", "hidden": [9], "weights": str(studies / "first")},
    )
    with pytest.raises(SpecError, match=r"model\.weights: must be weights of this architecture"):
        other.plan()


@pytest.mark.slow
def test_an_ensemble_is_no_start(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    for name in ("weights.safetensors", "model.json"):
        (tmp_path / "best" / name).write_bytes((studies / "first/best" / name).read_bytes())
    record = json.loads((tmp_path / "best/model.json").read_text(encoding="utf-8"))
    (tmp_path / "best/model.json").write_text(json.dumps(record | {"members": 3}))
    with pytest.raises(SpecError, match="must be one network, got an ensemble of 3"):
        transfer.read(tmp_path)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (
            {"freeze": [3]},
            r"train\.freeze: must be patterns over paths of parameters, got the list \[3\]",
        ),
        ({"unfreeze": {"every": 0}}, r"train\.unfreeze\.every: must be > 0, got 0"),
        ({"layer_decay": 1.5}, r"train\.layer_decay: must be <= 1, got 1\.5"),
        (
            {"optimizer": "lbfgs", "freeze": "stem*"},
            r"train\.freeze: must be left out with lbfgs, .* looks at the loss of all parameters together",
        ),
    ],
)
def test_keys_of_the_recipe_are_checked(train: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        lanework.Study(study="bad", data="digits", train=train)


@pytest.mark.slow
def test_the_best_model_under_names_of_torchvision(studies: Path, tmp_path: Path) -> None:
    best = lanework.load(studies / "first").best()
    with pytest.raises(
        SpecError, match=r"must be a resnet with norm: batch .* got the weights dense_0/"
    ):
        best.save_torchvision(tmp_path / "mlp.safetensors")
    params, state = weights(build())
    residual = dataclasses.replace(best, params=params, state=state)
    written = load_file(residual.save_torchvision(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(written["fc.bias"], params["output"]["bias"])
    with pytest.raises(StoreError, match="the weights need a place that can be written"):
        residual.save_torchvision(tmp_path / "none" / "net.safetensors")
    with pytest.raises(StoreError, match="names are for one network, this is an ensemble of 3"):
        dataclasses.replace(residual, members=3).save_torchvision(tmp_path / "net.safetensors")
