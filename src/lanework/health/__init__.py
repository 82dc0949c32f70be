"""Health of a run: probes inside the compiled segment, verdicts from what they record.

Must not import `lanework.recipes`, `lanework.models`, `lanework.data` or anything above them.
"""
