"""The network run by other runtimes than Chainer's own functions."""
