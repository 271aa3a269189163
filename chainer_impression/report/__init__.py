"""One page that shows all results, for a reader without the code."""
