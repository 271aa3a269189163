"""An end to training that cannot come to anything any more."""

import math

from chainer.backends import cuda
from chainer.training import extension

from chainer_impression.errors import ImpressionError


class StopWhenNotFinite(extension.Extension):
    """Stops the Trainer with a clear message when the loss is not finite.

    Runs before the others, so that nothing of a broken state is saved.
    Reports nothing.

    Args:
        key (str): the observation that is watched.

    Raises:
        ImpressionError: the loss is infinite or not a number.
    """

    trigger = 1, 'iteration'
    default_name = 'StopWhenNotFinite'
    priority = 400

    def __init__(self, key='main/loss'):
        self._key = key

    def __call__(self, trainer):
        loss = trainer.observation[self._key]
        loss = float(cuda.to_cpu(getattr(loss, 'array', loss)))
        if not math.isfinite(loss):
            raise ImpressionError(
                '{}: stopped at iteration {} (epoch {}), for the loss is {}; '
                'the snapshots before it are whole: start anew with a smaller '
                '--alpha, or look at the examples'.format(
                    trainer.out, trainer.updater.iteration,
                    trainer.updater.epoch + 1, loss))
