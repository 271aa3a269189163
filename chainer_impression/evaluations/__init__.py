"""Accuracy, its tables and its baselines: arrays in, numbers out."""
