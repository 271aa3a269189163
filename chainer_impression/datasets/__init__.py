"""Labels, cached clips and the random training example."""
