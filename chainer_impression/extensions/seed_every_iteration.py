"""Random numbers of a training that do not depend on when it was resumed."""

import numpy
from chainer.backends import cuda
from chainer.training import extension


class SeedEveryIteration(extension.Extension):
    """Seeds what dropout draws from anew for each iteration.

    Chainer's dropout draws from the global generators of NumPy and CuPy,
    which snapshots do not hold. Seeded with (seed, iteration), they draw in a
    resumed run what they would have drawn. Reports nothing.

    Args:
        seed (int): not negative.
    """

    trigger = 1, 'iteration'
    default_name = 'SeedEveryIteration'
    # After every other, so that none of them draws in between.
    priority = -300

    def __init__(self, seed):
        self._seed = seed

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        seed = int(numpy.random.SeedSequence(
            [self._seed, trainer.updater.iteration]).generate_state(1)[0])
        numpy.random.seed(seed)
        if cuda.available:
            cuda.cupy.random.seed(seed)
