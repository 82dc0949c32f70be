"""Keras 3 on its JAX backend: `compile`, `fit` with validation data, `evaluate`; one model per run.

Its training time includes validation, which `fit` does not tell apart.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from common import Clock, Job, Run, load_arrays, main  # first after the backend: starts the clock

# isort: split

import keras

OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
}


def network(job: Job, shape: tuple[int, ...]) -> keras.Sequential:
    layers: list = [keras.Input(shape)]
    for channels in job.channels if job.net == "cnn" else ():
        layers += [
            keras.layers.Conv2D(
                channels, 3, padding="same", activation="relu", kernel_initializer="he_normal"
            ),
            keras.layers.MaxPooling2D(),
        ]
    if job.net == "cnn":
        layers.append(keras.layers.Flatten())
    for hidden in job.hidden:
        layers.append(keras.layers.Dense(hidden, activation="relu", kernel_initializer="he_normal"))
    layers.append(keras.layers.Dense(job.num_classes, kernel_initializer="he_normal"))
    return keras.Sequential(layers)


def train(job: Job, clock: Clock, run: Run) -> None:
    (x, y), val, test = load_arrays(job)
    keras.utils.set_random_seed(run.seed)
    model = network(job, x.shape[1:])
    model.compile(
        optimizer=OPTIMIZERS[run.optimizer](run.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    with clock.phase("train"):
        fitted = model.fit(
            x, y, batch_size=job.batch_size, epochs=job.epochs, validation_data=val, verbose=0
        )
    clock.num_steps += job.epochs * -(-len(x) // job.batch_size)
    clock.num_samples += job.epochs * len(x)
    with clock.phase("test"):
        accuracy = model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
    history = [float(value) for value in fitted.history["val_accuracy"]]
    clock.finish(run, history=history, val=history[-1], test=float(accuracy))


def work(job: Job, clock: Clock) -> dict[str, object]:
    if keras.backend.backend() != "jax":
        raise SystemExit(f"Keras must run on JAX, got {keras.backend.backend()}")
    for run in job.runs:
        train(job, clock, run)
    return {"train_includes": "compiling and validation"}


if __name__ == "__main__":
    main(work)
