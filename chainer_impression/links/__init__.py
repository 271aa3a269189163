"""The network: two streams built from one rule, and what joins them."""
