"""The preprocessing stage: raw clips to cached ones, and the demo clips."""
