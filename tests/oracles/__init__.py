"""Independent oracles of the update rules: slow NumPy transcriptions of the papers, and PyTorch."""
