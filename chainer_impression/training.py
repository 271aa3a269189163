"""Training as the paper has it (P 2.2): schedule, loss, Trainer, extensions."""

import os
import warnings

import chainer
import chainer.functions as F
import numpy
from chainer import training
from chainer.serializers import npz
from chainer.training import extensions

from chainer_impression.datasets.clip_dataset import EpochOrder
from chainer_impression.errors import ImpressionError
from chainer_impression.extensions.exact_snapshot import (
    ExactSnapshot, newest_whole_snapshot)
from chainer_impression.extensions.plot_log import PlotLog
from chainer_impression.extensions.show_progress import ShowProgress
from chainer_impression.extensions.stop_when_not_finite import (
    StopWhenNotFinite)

# P 2.2
ALPHA = 0.0002
BETA1 = 0.5
BETA2 = 0.999
EPS = 1e-8
BATCH_SIZE = 32
N_EPOCHS = 900
STAGE_LENGTH = 300  # epochs, after which alpha is divided by 10
SHIFT = 0.1

#: The columns of the report, and how they are shown.
_REPORT = (
    ('epoch', 'epoch {:4d}'),
    ('main/loss', 'loss {:.5f}'),
    ('main/accuracy', 'accuracy {:.5f}'),
    ('validation/accuracy', 'validation accuracy {:.6f}'),
    ('alpha', 'alpha {:g}'),
)


def make_optimizer(model, alpha=ALPHA, weight_decay=0):
    """Adam with the paper's settings (P 2.2).

    Args:
        model (chainer.Link): what is trained.
        alpha (float): step size.
        weight_decay (float): rate of L2 weight decay. The paper mentions
            none; the weights of the released checkpoint look as if there had
            been some.

    Returns:
        chainer.optimizers.Adam
    """
    optimizer = chainer.optimizers.Adam(
        alpha=alpha, beta1=BETA1, beta2=BETA2, eps=EPS)
    optimizer.setup(model)
    if weight_decay:
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(weight_decay))
    return optimizer


def mean_absolute_error(model):
    """The loss function of a model (P 2.2), for Chainer's updaters.

    It reports, under the model's name, ``loss`` and ``accuracy`` (1 - loss).

    Args:
        model: called with audio and frames.

    Returns:
        a function of audio float32 (N, 1, 1, n_samples), frames float32
        (N, 3, height, width) and traits float32 (N, n_traits).
    """
    def loss_function(audio, frames, traits):
        loss = F.mean_absolute_error(model(audio, frames), traits)
        chainer.report({'loss': loss, 'accuracy': 1 - loss.array}, model)
        return loss
    return loss_function


def examples_iterator(examples, batch_size, seed, n_threads):
    """An iterator that resumes exactly and loads while the network works.

    Threads, not processes: reading and decompressing a cached clip lets go of
    Python's lock, and nothing is left behind when the process is killed. What
    an example is does not depend on the thread that loads it.

    Args:
        examples (TrainingExamples): what to iterate over.
        batch_size (int): examples in a mini-batch.
        seed (int): of the order of the examples.
        n_threads (int): loading threads.

    Returns:
        chainer.iterators.MultithreadIterator

    Raises:
        ImpressionError: there are fewer examples than a batch holds.
    """
    if batch_size > len(examples):
        raise ImpressionError(
            'a batch of {} is larger than the data set of {} clips; choose a '
            'smaller --batchsize'.format(batch_size, len(examples)))
    return chainer.iterators.MultithreadIterator(
        examples, batch_size, n_threads=n_threads,
        order_sampler=EpochOrder(seed))


class AtEpochs:
    """A trigger that fires at the end of some epochs; it has no state.

    Args:
        epochs: numbers of epochs, from 1.
    """

    def __init__(self, epochs):
        self.epochs = frozenset(epochs)

    def __call__(self, trainer):
        return (trainer.updater.is_new_epoch
                and trainer.updater.epoch in self.epochs)


def ends_of_stages(n_epochs, stage_length):
    """The last epochs of the stages, of the last one even if it is short."""
    return sorted({*range(stage_length, n_epochs + 1, stage_length), n_epochs})


def make_trainer(updater, out, n_epochs, stage_length, evaluation=None,
                 validate_every=None, snapshot_every=1, keep=2):
    """A Trainer with the whole extension set.

    Args:
        updater (chainer.training.Updater): its main optimizer has an alpha.
        out: the folder of the run.
        n_epochs (int): epochs of the whole training.
        stage_length (int): epochs after which alpha is divided by 10.
        evaluation (chainer.training.Extension): validates the model at the
            end of each stage, and every ``validate_every`` epochs.
        validate_every (int): epochs between further validations.
        snapshot_every (int): epochs between snapshots.
        keep (int): snapshots that are kept, besides those at the ends of the
            stages, which stay for good.

    Returns:
        chainer.training.Trainer
    """
    trainer = training.Trainer(updater, (n_epochs, 'epoch'), out=out)
    ends = ends_of_stages(n_epochs, stage_length)
    trainer.extend(StopWhenNotFinite())
    trainer.extend(extensions.ExponentialShift('alpha', SHIFT),
                   trigger=(stage_length, 'epoch'))
    # Observed with the priority of a writer, before the shift: the log shows
    # the alpha that the epoch was trained with.
    trainer.extend(extensions.observe_value(
        'alpha', lambda t: t.updater.get_optimizer('main').alpha),
        trigger=(1, 'epoch'))
    if evaluation is not None:
        every = range(validate_every or n_epochs, n_epochs + 1,
                      validate_every or n_epochs)
        trainer.extend(evaluation, trigger=AtEpochs({*ends, *every}))
    # The time is no part of the results: they are the same after a resume.
    trainer.extend(extensions.LogReport(
        trigger=(1, 'epoch'), filename='log.json',
        postprocess=lambda entry: entry.pop('elapsed_time')))
    iterator = updater.get_iterator('main')
    n_iterations = -(-n_epochs * len(iterator.dataset) // iterator.batch_size)
    trainer.extend(ShowProgress(n_iterations, _REPORT))
    # A picture takes a second: some twenty in a run are enough to follow it.
    trainer.extend(PlotLog(), trigger=AtEpochs(
        {*ends, *range(2, n_epochs + 1, max(1, n_epochs // 20))}))
    trainer.extend(ExactSnapshot(keep, ends), trigger=AtEpochs(
        {*ends, *range(snapshot_every, n_epochs + 1, snapshot_every)}))
    return trainer


def resume(trainer, snapshot=None):
    """Go on from a snapshot, if there is one.

    Args:
        trainer (chainer.training.Trainer): as it was when training began.
        snapshot: a snapshot's path; the newest whole one of the Trainer's
            folder if None.

    Returns:
        str: the snapshot's path, None if training begins anew.

    Raises:
        ImpressionError: the snapshot is damaged or of another kind of run.
    """
    if snapshot is None:
        snapshot, damaged = newest_whole_snapshot(trainer.out)
        for path in damaged:
            warnings.warn('{}: is cut short and passed over'.format(path))
            os.unlink(path)
    if snapshot is None:
        return None
    try:
        # Unlike chainer.serializers.load_npz it never unpickles anything.
        with numpy.load(snapshot) as file:
            npz.NpzDeserializer(file).load(trainer)
    except Exception as error:  # zip, NumPy and Chainer each raise their own
        raise ImpressionError(
            '{}: is no snapshot of such a run, or damaged ({}: {})'.format(
                snapshot, type(error).__name__, ' '.join(
                    str(error).split())[:120])) from error
    return snapshot
