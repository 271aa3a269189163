"""The network: two streams built from one rule, and the chain that joins them."""
