"""The parts of ``experiments/benchmark.py``: one subject a file."""
