"""scikit-learn's MLPClassifier, one epoch per `partial_fit`, so that it can be evaluated each epoch.

Adam and the same net without L2. Its weights start from its own (Glorot) initialisation: it has no other.
"""

from common import Clock, Job, Run, load_arrays, main  # first: starts the clock

# isort: split

import numpy as np
from sklearn.neural_network import MLPClassifier


def score(model: MLPClassifier, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy from one prediction."""
    chances = model.predict_proba(x)
    loss = -np.log(np.maximum(chances[np.arange(len(y)), y], 1e-12)).mean()
    return float(loss), float((chances.argmax(1) == y).mean())


def train(job: Job, clock: Clock, run: Run) -> None:
    (x, y), val, test = load_arrays(job)
    model = MLPClassifier(
        job.hidden,
        alpha=0.0,
        batch_size=job.batch_size,
        learning_rate_init=run.learning_rate,
        random_state=run.seed,
    )
    classes = np.arange(job.num_classes)
    history = []
    for _ in range(job.epochs):
        with clock.phase("train"):
            model.partial_fit(x, y, classes=classes)
        clock.num_steps += -(-len(x) // job.batch_size)
        clock.num_samples += len(x)
        with clock.phase("evaluate"):
            history.append(score(model, *val)[1])
    with clock.phase("test"):
        accuracy = score(model, *test)[1]
    clock.finish(run, history=history, val=history[-1], test=accuracy)


def work(job: Job, clock: Clock) -> None:
    if job.net != "mlp" or any(run.optimizer != "adam" for run in job.runs):
        raise SystemExit("sklearn_mlp is written for MLPs with Adam only")
    for run in job.runs:
        train(job, clock, run)


if __name__ == "__main__":
    main(work)
