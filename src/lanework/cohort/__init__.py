"""The engine: many runs trained side by side as lanes of a few compiled programs.

Usable on its own: see `train_lanes`. Everything in here but `loop` is pure or compiles; nothing reads or writes study
files. Must not import `lanework.api`, `lanework.estimator`, `lanework.export` or `lanework.cli`.
"""
