"""Catalogue rows of metrics."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["METRICS"]

METRICS = (
    Entry(
        "metric",
        "loss",
        "Mean loss over the samples, without penalties.",
        "mean_i loss_i",
        "empirical risk",
        facts={"task": "any", "direction": "min"},
    ),
    Entry(
        "metric",
        "accuracy",
        "Share of samples whose largest output is the right class.",
        "mean_i [argmax f_i = y_i]",
        "the usual one",
        facts={"task": "classification", "direction": "max"},
    ),
    Entry(
        "metric",
        "perplexity",
        "As many equally likely answers would be as hard to tell apart; 1 is perfect.",
        "exp(mean_i loss_i)",
        "Jelinek, Mercer, Bahl and Baker 1977",
        notes="Only for a class by time step (a running text) under cross-entropy.",
        facts={"task": "classification", "direction": "min", "targets": "stepwise"},
    ),
    Entry(
        "metric",
        "bits",
        "Mean cross-entropy in bits: bits per character of a language model.",
        "mean_i loss_i / ln 2",
        "Shannon 1951, Prediction and entropy of printed English",
        notes="Only for a class by time step (a running text) under cross-entropy.",
        facts={"task": "classification", "direction": "min", "targets": "stepwise"},
    ),
    Entry(
        "metric",
        "rmse",
        "Root of the mean squared error, in the target's unit.",
        "sqrt(mean_i (f_i - y_i)^2)",
        "the usual one",
        facts={"task": "regression", "direction": "min"},
    ),
    Entry(
        "metric",
        "mae",
        "Mean absolute error, in the target's unit.",
        "mean_i |f_i - y_i|",
        "the usual one",
        facts={"task": "regression", "direction": "min"},
    ),
    Entry(
        "metric",
        "r2",
        "Share of the target's variance that is explained; 0 is the mean's, 1 is perfect.",
        "1 - sum (f_i - y_i)^2 / sum (y_i - mean y)^2",
        "Wright 1921",
        facts={"task": "regression", "direction": "max"},
    ),
)
