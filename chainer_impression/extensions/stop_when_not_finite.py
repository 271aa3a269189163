"""An end to training that cannot come to anything any more."""

import math

import numpy
from chainer.backends import cuda
from chainer.serializers import npz
from chainer.training import extension

from chainer_impression.errors import ImpressionError


class StopWhenNotFinite(extension.Extension):
    """Stops the Trainer with a clear message when the loss is not finite.

    At the end of an epoch it looks at the weights, too: the update after a
    finite loss may have broken them. Runs before the others, so that nothing
    of a broken state is saved. Reports nothing.

    Args:
        key (str): the observation that is watched.

    Raises:
        ImpressionError: the loss, or at the end of an epoch a weight or a
            running statistic, is infinite or not a number.
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
            raise self._error(trainer, 'the loss is {}'.format(loss))
        if trainer.updater.is_new_epoch:
            model = trainer.updater.get_optimizer('main').target
            for name, value in npz.serialize(model).items():
                if not numpy.isfinite(value).all():
                    raise self._error(
                        trainer, '{} is not finite'.format(name))

    @staticmethod
    def _error(trainer, reason):
        updater = trainer.updater
        return ImpressionError(
            '{}: stopped at iteration {} (epoch {}), for {}; the snapshots '
            'before it are whole: start anew with a smaller --alpha, or look '
            'at the examples'.format(
                trainer.out, updater.iteration,
                updater.epoch + (not updater.is_new_epoch), reason))
