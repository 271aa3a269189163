"""The network: two streams from one rule, and the chain that joins them."""
