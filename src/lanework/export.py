"""The best model as files: weights in safetensors, everything else as JSON, proved by reading it back.

Owns the `best/` folder and the `Model` that is loaded from it. Never pickles. Must not import `lanework.api` or
`lanework.cli`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.errors import StoreError

if TYPE_CHECKING:
    from lanework.data import Dataset, InputInfo, Preparation
    from lanework.models import Network
    from lanework.spec import Arm, ModelSpec

PyTree: TypeAlias = Any
Array: TypeAlias = NDArray[Any]
VERSION = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"


@dataclass(frozen=True, repr=False)
class Model:
    """A trained network with its preparation, ready to use.

    Attributes:
        name: Label of the recipe that trained it.
        run: Number of the run.
        task: `classification` or `regression`.
        classes: Names of the classes; empty for regression.
        spec: The network.
        input: What enters it.
        preparation: From raw rows to inputs, from outputs to target units.
        params: Weights, nested dicts of arrays.
        state: What is carried beside the weights (batch statistics).
        scaling: `(scale, shift)` of byte images, None otherwise.
        num_outputs: Outputs of the network.
        hypers: Traced hyperparameters that the network reads.
        loss: Name of the loss it was trained with.
        are_shares: Whether outputs are shares already (a sigmoid or softmax output, or trained on 0 and 1 by squared
            error) and not scores.
        module: The user's own module class when it came from Python.
        members: Networks in an ensemble, whose predictions are averaged (weights are stacked then); 0 for a single network.
        output_kind: What outputs are, so that they can be averaged (see `lanework.models.ensemble`).
    """

    name: str
    run: int
    task: str
    classes: tuple[str, ...]
    spec: ModelSpec
    input: InputInfo
    preparation: Preparation
    params: PyTree
    state: PyTree
    scaling: tuple[Array, Array] | None
    num_outputs: int
    hypers: Mapping[str, float]
    loss: str
    are_shares: bool
    module: Any = None
    members: int = 0
    output_kind: str = "values"

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes else f"{self.num_outputs} target(s)"
        return f"Model({self.name!r}, run {self.run}, {self.spec.net}, {self.task} of {what})"

    def outputs(self, rows: Any) -> Array:
        """Raw outputs of the network, [n, num_outputs] (or [n, time, num_outputs]), for raw rows (see `Preparation.transform`)."""
        return self.forward(self.preparation.transform(rows))

    def forward(self, x: Array) -> Array:
        """Raw outputs for inputs that are prepared already, [n, num_outputs]."""
        return self.forward_with((self.params, self.state), x)

    def forward_with(self, weights: PyTree, x: Array) -> Array:
        """The same with other weights `(params, state)`."""
        net = self._network(x[:2])
        params, state = weights
        values, _ = net.apply(
            params, state, self._scaled(x), key=None, is_training=False, hypers=dict(self.hypers)
        )
        return np.asarray(values)

    def _scaled(self, x: Array) -> Array:
        if self.scaling is None:
            return x
        scaled: Array = x.astype(np.float32) * self.scaling[0] + self.scaling[1]
        return scaled

    def spread(self, rows: Any, *, passes: int | None = None) -> Array:
        """How far predictions differ when dropout is left on: the model's own doubt (Monte Carlo dropout).

        Args:
            rows: Raw rows (see `Preparation.transform`).
            passes: Passes with dropout on, at least 2; those of the study (`model.mc_passes`) by default, else 30.

        Returns:
            Standard deviation over the passes: of class probabilities [n, classes], or of numbers in the target's unit [n]
            or [n, targets].

        Raises:
            StoreError: The model was trained without dropout, or has a target by time step.

        Source:
            Gal and Ghahramani 2016, https://arxiv.org/abs/1506.02142
        """
        from lanework import models

        count = passes or (own if (own := self._mc_passes()) > 1 else 30)
        if count < 2:
            raise StoreError(f"a spread needs at least 2 passes, got {count}. Use for example 30.")
        if self.spec.is_own or not (
            self.hypers.get("dropout") or self.hypers.get("spatial_dropout")
        ):
            raise StoreError(
                "a spread is that of passes with dropout left on, this model was trained without. Set model.dropout in the study."
            )
        if self.input.is_stepwise:
            raise StoreError(
                "a spread is given for one prediction per sample, this model has one per time step."
            )
        x = self.preparation.transform(rows)
        net = self._network(x[:2], is_averaged=False)
        outputs = models.sample_outputs(
            net, self.params, self.state, self._scaled(x), hypers=dict(self.hypers), passes=count
        )
        if self.task == "classification":
            return np.std([self.probabilities(one) for one in np.asarray(outputs)], axis=0)
        values = np.stack([self.preparation.unscale(one) for one in np.asarray(outputs)])
        found: Array = np.std(values[..., 0] if values.shape[2] == 1 else values, axis=0)
        return found

    def _mc_passes(self) -> int:
        """Passes with dropout left on that a prediction averages; 0: dropout is off."""
        from lanework import models

        return 0 if self.spec.is_own else models.passes_at_evaluation(self.spec.options)

    def _network(self, example: Array, *, is_averaged: bool = True) -> Network:
        """The network as it predicts; `is_averaged`: over passes with dropout left on, where the study asked for that."""
        from lanework import models
        from lanework.cohort import devices

        devices.prepare()  # a study in the same process later wants all host devices
        net = models.network(
            self.spec,
            input=self.input,
            num_outputs=self.num_outputs,
            example=example,
            module=self.module,
        )
        if is_averaged and (passes := self._mc_passes()):
            net = models.monte_carlo(net, self.output_kind, passes=passes)
        return models.ensemble(net, self.output_kind) if self.members else net

    def sample(
        self, prompt: str = "", *, length: int = 300, temperature: float = 1.0, seed: int = 0
    ) -> str:
        """Let a model of running text write on.

        Args:
            prompt: How the text begins; empty: at the start of a line.
            length: New characters.
            temperature: Above 1 more varied, below 1 more cautious; 0 always takes the likeliest character.
            seed: Same seed, same text.

        Returns:
            The new characters, without the prompt.

        Raises:
            StoreError: The model was trained on something else than a running text, or a number is out of range.
        """
        import jax

        from lanework.models import continuing

        if self.preparation.form != "characters":
            raise StoreError(
                f"only a model trained on a running text can write, this one takes {self.preparation.form}. Use predict."
            )
        if length < 1 or not 0.0 <= temperature < float("inf"):
            raise StoreError(
                f"length must be >= 1 and temperature a number >= 0, got {length} and {temperature:g}. Use for example 300 and 1."
            )
        alphabet = self.preparation.alphabet
        context = self.input.shape[0]
        begun = prompt or ("\n" if "\n" in alphabet else alphabet[0])
        codes = self.preparation.transform([begun[-context:]])[0]
        net = self._network(codes[None])

        def outputs(window: Any) -> Any:
            values, _ = net.apply(
                self.params, self.state, window, key=None, is_training=False, hypers=self.hypers
            )
            return values

        new = continuing.go_on(
            outputs,
            codes[codes >= 0],
            num_new=length,
            context=context,
            temperature=temperature,
            key=jax.random.key(seed),
        )
        return "".join(alphabet[int(code)] for code in new)

    def predict_proba(self, rows: Any) -> Array:
        """Class probabilities, [n, classes], or [n, time, classes] for a model with a target by time step.

        Raises:
            StoreError: For a regression model.
        """
        if self.task != "classification":
            raise StoreError(
                "probabilities exist for classes only, this model predicts numbers. Use predict."
            )
        return self.probabilities(self.outputs(rows))

    def probabilities(self, outputs: Array) -> Array:
        """Class probabilities [..., classes] from raw outputs [..., num_outputs].

        A single output for more than two classes is the class as a number, unless it is a score: between two classes the
        nearer one gets the larger share. Outputs beyond the classes stand for nothing and are left out.
        """
        values = outputs.astype(np.float64)
        classes = len(self.classes)
        if values.shape[-1] == 1:
            return _of_one(values, classes=classes, are_shares=self.are_shares)
        values = values[..., :classes]
        if self.are_shares:
            values = np.maximum(
                values, 0.0
            )  # squared error may leave the range; the largest stays the largest
            total = values.sum(axis=-1, keepdims=True)
            return np.where(total > 0, values / np.maximum(total, 1e-12), 1.0 / values.shape[-1])
        exponential = np.exp(values - values.max(axis=-1, keepdims=True))
        probabilities: Array = exponential / exponential.sum(axis=-1, keepdims=True)
        return probabilities

    def save_torchvision(self, file: str | Path) -> Path:
        """Write the weights of a `resnet` as safetensors under torchvision's names and in PyTorch's layout.

        In PyTorch: `net.load_state_dict(safetensors.torch.load_file(file))`. The preparation of the inputs does not go along.

        Args:
            file: The file; `.safetensors` is usual. An existing one is written over.

        Returns:
            Its path.

        Raises:
            SpecError: The network has parts that torchvision's ResNets do not have.
            StoreError: It is an ensemble, or the file cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        from lanework import models

        if self.members:
            raise StoreError(
                f"torchvision's names are for one network, this is an ensemble of {self.members}. Train without train.average: ensemble."
            )
        path, tensors = Path(file), models.to_torchvision(self.params, self.state)
        try:
            save_file(tensors, str(path))
        except (OSError, SafetensorError) as problem:
            raise StoreError(
                f"{path}: the weights need a place that can be written, writing them failed ({problem}). Make the folder or give "
                "another one."
            ) from problem
        return path

    def predict(self, rows: Any) -> Array:
        """Classes as the data has them (text, whole numbers, true and false) [n], or numbers in the target's unit [n] or [n, targets].

        With a target by time step: classes [n, time]; those of padded steps say nothing.
        """
        if self.task == "classification":
            return self.preparation.labels()[self.predict_proba(rows).argmax(axis=-1)]
        values = self.preparation.unscale(self.outputs(rows))
        return values[:, 0] if values.shape[1] == 1 else values


def _of_one(values: Array, *, classes: int, are_shares: bool) -> Array:
    """Class probabilities from a single output, [..., 1]: a share or score of class 1, or the class as a number."""
    if classes > 2 and are_shares:
        number = np.clip(values, 0.0, classes - 1.0)
        near: Array = np.maximum(0.0, 1.0 - np.abs(number - np.arange(classes)))
        return near
    one = np.clip(values, 0.0, 1.0) if are_shares else 1.0 / (1.0 + np.exp(-values))
    return np.concatenate([1.0 - one, one, *[np.zeros_like(one)] * (classes - 2)], axis=-1)


def nested(flat: Mapping[str, Array]) -> PyTree:
    """Weights by path `0/dense_0/kernel` as the pair `(params, state)` of nested dicts."""
    trees: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for path, leaf in flat.items():
        place, rest = path.split("/", 1)
        # Two levels: the owner may have slashes of its own (`blocks/0`), the last name has none.
        owner, _, name = rest.rpartition("/")
        tree = trees[int(place)]
        (tree.setdefault(owner, {}) if owner else tree)[name] = leaf
    return trees


def write(
    folder: Path,
    *,
    arm: Arm,
    run: int,
    weights: PyTree,
    dataset: Dataset,
    module: Any = None,
    members: int = 0,
) -> Model:
    """Write a model and read it back.

    Args:
        folder: Target folder, made when missing.
        arm: The recipe.
        run: Number of the run.
        weights: `(params, state)` on the host.
        dataset: The data it was trained on.
        module: The user's own module class, if any.
        members: Networks in an ensemble; then all weights are stacked, [member, ...].

    Returns:
        The model as read back.

    Raises:
        StoreError: When what was read back gives other outputs than what was written.
    """
    from safetensors.numpy import save_file

    from lanework.cohort import snapshot

    folder.mkdir(parents=True, exist_ok=True)
    flat = {name: np.asarray(leaf, order="C") for name, leaf in snapshot.flatten(weights).items()}
    save_file(flat, str(folder / WEIGHTS))
    text = json.dumps(_description(arm, run, dataset, module, members), indent=1, allow_nan=False)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    model = read(folder, module=module)
    written = model.forward_with(weights, dataset.train.x[:2])
    if not np.array_equal(model.forward(dataset.train.x[:2]), written, equal_nan=True):
        raise StoreError(
            f"{folder}: a model must read back as it was written, it does not. Check the disk and run the study again."
        )
    return model


def _description(arm: Arm, run: int, dataset: Dataset, module: Any, members: int) -> dict[str, Any]:
    from lanework.cohort import assemble
    from lanework.spec import traced_values

    scaling = None
    if dataset.input_scale is not None and dataset.input_shift is not None:
        scaling = [
            np.asarray(dataset.input_scale).tolist(),
            np.asarray(dataset.input_shift).tolist(),
        ]
    loss = arm.config.train.loss
    return {
        "lanework_model": VERSION,
        "name": arm.name,
        "run": run,
        "task": dataset.task,
        "classes": list(dataset.classes),
        # What it started from is no part of it.
        "model": arm.config.model.model_dump(mode="json", exclude={"weights", "head"}),
        "module": getattr(module, "__qualname__", None),
        "input": {
            "shape": list(dataset.input.shape),
            "num_numeric": dataset.input.num_numeric,
            "cardinalities": list(dataset.input.cardinalities),
            "grid": list(dataset.input.grid),
            "kind": dataset.input.kind,
            "vocabulary": dataset.input.vocabulary,
            "is_stepwise": dataset.input.is_stepwise,
        },
        "num_outputs": assemble.num_outputs(loss.name if loss else "", dataset),
        "scaling": scaling,
        "hypers": traced_values(arm.config),
        "loss": loss.name if loss else "",
        "are_shares": assemble.are_shares(arm.config),
        "members": members,
        "output_kind": assemble.output_kind(arm.config),
        "preparation": dataset.preparation.to_json(),
    }


def read(folder: Path, *, module: Any = None) -> Model:
    """Load a model that `write` left.

    Args:
        folder: A `best/` folder.
        module: The module class, needed only for a study whose network was a class given from Python.

    Raises:
        StoreError: When files are missing, cut short, or of a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from lanework.data import InputInfo, Preparation
    from lanework.spec import ModelSpec

    try:
        text = (folder / DESCRIPTION).read_text(encoding="utf-8")
        record = json.loads(text)
        flat = load_file(str(folder / WEIGHTS))
    except (OSError, SafetensorError, json.JSONDecodeError) as problem:
        raise StoreError(
            f"{folder}: a model needs {DESCRIPTION} and {WEIGHTS}, whole, reading them failed ({problem}). Run the study again to "
            "write them."
        ) from problem
    if record.get("lanework_model") != VERSION:
        raise StoreError(
            f"{folder}: the model must be of format {VERSION}, got {record.get('lanework_model')}. Use the version of Lanework that "
            "wrote it, or run the study again."
        )
    params, state = nested(flat)
    entry = record["input"]
    scaling = record["scaling"]
    return Model(
        name=record["name"],
        run=record["run"],
        task=record["task"],
        classes=tuple(record["classes"]),
        spec=ModelSpec.model_validate_json(json.dumps(record["model"])),
        input=InputInfo(
            tuple(entry["shape"]),
            entry["num_numeric"],
            tuple(entry["cardinalities"]),
            tuple(entry["grid"]),
            entry.get("kind", "table"),
            entry.get("vocabulary", 0),
            entry.get("is_stepwise", False),
        ),
        preparation=Preparation.from_json(record["preparation"]),
        params=params,
        state=state,
        scaling=None
        if scaling is None
        else (np.asarray(scaling[0], np.float32), np.asarray(scaling[1], np.float32)),
        num_outputs=record["num_outputs"],
        hypers=record["hypers"],
        loss=record["loss"],
        are_shares=record["are_shares"],
        module=module,
        members=record.get("members", 0),
        output_kind=record.get("output_kind", "values"),
    )
