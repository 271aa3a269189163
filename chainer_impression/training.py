"""Training as the paper has it (P 2.2): loss, optimizer, Trainer."""

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
from chainer_impression.extensions.run_settings import RunSettings
from chainer_impression.extensions.show_progress import ShowProgress
from chainer_impression.extensions.stop_when_not_finite import (
    StopWhenNotFinite)
from chainer_impression.extensions.write_log import WriteLog

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


def mean_absolute_error_at_time_points(model):
    """The loss function of the recurrent network (P), for updaters.

    The mean absolute error at each time point; every time point of every clip
    counts the same. It reports, under the model's name, ``loss`` and
    ``accuracy`` (1 - loss).

    Args:
        model: called with features, gives traits at each time point.

    Returns:
        a function of features float32 (N, n_time_points, n_features), mask
        float32 (N, n_time_points), 1 for a time point that counts and 0 for
        one that fills up, and traits float32 (N, n_traits).
    """
    def loss_function(features, mask, traits):
        errors = F.absolute(
            model(features) - F.broadcast_to(
                traits[:, None], (*mask.shape, traits.shape[1])))
        loss = F.sum(F.mean(errors, axis=2) * mask) / float(mask.sum())
        chainer.report({'loss': loss, 'accuracy': 1 - loss.array}, model)
        return loss
    return loss_function


def examples_iterator(examples, batch_size, seed, n_threads=1, epoch=0):
    """An iterator that resumes exactly and loads while the network works.

    Threads, not processes: reading and decompressing a cached clip lets go of
    Python's lock, and nothing is left behind when the process is killed. What
    an example is does not depend on the thread that loads it.

    Args:
        examples (TrainingExamples): what to iterate over.
        batch_size (int): examples in a mini-batch.
        seed (int): of the order of the examples.
        n_threads (int): loading threads.
        epoch (int): the epoch after which it begins, as a run that has come
            so far would go on. What an example is depends on its epoch.

    Returns:
        chainer.iterators.MultithreadIterator

    Raises:
        ImpressionError: there are fewer examples than a batch holds.
    """
    check_batch_size(batch_size, len(examples))
    order = EpochOrder(seed)
    iterator = chainer.iterators.MultithreadIterator(
        examples, batch_size, n_threads=n_threads, order_sampler=order)
    if epoch:
        # The same way as a snapshot sets it.
        last = epoch * len(examples) + numpy.arange(len(examples))
        npz.NpzDeserializer({
            'current_position': numpy.array(0), 'epoch': numpy.array(epoch),
            'is_new_epoch': numpy.array(False), '_order': order(last, 0),
            'previous_epoch_detail': numpy.array(float(epoch)),
        }).load(iterator)
    return iterator


def check_batch_size(batch_size, n_examples):
    """Refuse a batch that is larger than the data set.

    Raises:
        ImpressionError: it is.
    """
    if batch_size > n_examples:
        raise ImpressionError(
            'a batch of {} is larger than the data set of {} clips; choose a '
            'smaller --batchsize'.format(batch_size, n_examples))


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


def ends_of_stages(n_epochs, stage_length, after=0):
    """The last epochs of the stages, of the last one even if it is short.

    Args:
        n_epochs (int): the last epoch.
        stage_length (int): epochs in a stage.
        after (int): leave out the stages that end with this epoch or before.

    Returns:
        list of int
    """
    ends = {*range(stage_length, n_epochs + 1, stage_length), n_epochs}
    return sorted(end for end in ends if end > after)


def alpha_after(epoch, alpha, stage_length):
    """The alpha that training goes on with after an epoch (P 2.2)."""
    return alpha * SHIFT ** (epoch // stage_length)


def make_trainer(updater, out, n_epochs, stage_length, evaluation=None,
                 validate_every=None, snapshot_every=1, keep=2):
    """A Trainer with the whole extension set.

    Args:
        updater (chainer.training.Updater): its main optimizer has the alpha,
            and its main iterator the epoch, that training begins with.
        out: the folder of the run.
        n_epochs (int): the last epoch of the training.
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
    iterator = updater.get_iterator('main')
    ends = ends_of_stages(n_epochs, stage_length, after=iterator.epoch)
    # Chainer's interval triggers take every training to begin with epoch 0.
    every_epoch = AtEpochs(range(iterator.epoch + 1, n_epochs + 1))
    trainer.extend(StopWhenNotFinite())
    trainer.extend(
        extensions.ExponentialShift('alpha', SHIFT),
        trigger=AtEpochs(range(stage_length, n_epochs + 1, stage_length)))
    # Observed with the priority of a writer, before the shift: the log shows
    # the alpha that the epoch was trained with.
    trainer.extend(extensions.observe_value(
        'alpha', lambda t: t.updater.get_optimizer('main').alpha),
        trigger=every_epoch)
    if evaluation is not None:
        every = range(validate_every or n_epochs, n_epochs + 1,
                      validate_every or n_epochs)
        trainer.extend(evaluation, trigger=AtEpochs({*ends, *every}))
    # The time is no part of the results: they are the same after a resume.
    # Without a name LogReport writes no file.
    trainer.extend(extensions.LogReport(
        trigger=every_epoch, log_name=None,
        postprocess=lambda entry: entry.pop('elapsed_time')))
    trainer.extend(WriteLog(), trigger=every_epoch)
    n_iterations = -(-(n_epochs - iterator.epoch) * len(iterator.dataset)
                     // iterator.batch_size)
    trainer.extend(ShowProgress(n_iterations, _REPORT))
    # A picture takes a second: some twenty in a run are enough to follow it.
    trainer.extend(PlotLog(), trigger=AtEpochs(
        {*ends, *range(2, n_epochs + 1, max(1, n_epochs // 20))}))
    trainer.extend(ExactSnapshot(keep, ends), trigger=AtEpochs(
        {*ends, *range(snapshot_every, n_epochs + 1, snapshot_every)}))
    return trainer


def run(trainer, settings, snapshot=None):
    """Train to the end, from a snapshot on if there is one.

    Args:
        trainer (chainer.training.Trainer): as it was when training began.
        settings (dict): everything that the results depend on; snapshots of a
            run with others are refused.
        snapshot: see :func:`resume`.

    Raises:
        ImpressionError: see :func:`resume`; or the loss is not finite.
    """
    trainer.extend(RunSettings(settings))
    snapshot = resume(trainer, snapshot)
    if snapshot:
        print('going on from {}'.format(snapshot), flush=True)
    trainer.run(show_loop_exception_msg=False)


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
            # It stays: perhaps it could only not be read just now.
            warnings.warn('{}: is damaged and passed over'.format(path))
    if snapshot is None:
        return None
    try:
        # Unlike chainer.serializers.load_npz it never unpickles anything.
        with numpy.load(snapshot) as file:
            _ExactDeserializer(file).load(trainer)
    except ImpressionError as error:
        raise ImpressionError('{}: {}'.format(snapshot, error)) from error
    except Exception as error:  # zip, NumPy and Chainer each raise their own
        raise ImpressionError(
            '{}: is no snapshot of such a run, or damaged ({}: {})'.format(
                snapshot, type(error).__name__, ' '.join(
                    str(error).split())[:120])) from error
    return snapshot


class _ExactDeserializer(npz.NpzDeserializer):
    """Refuses an array of another shape, which Chainer's would broadcast."""

    def __getitem__(self, key):
        return _ExactDeserializer(
            self.npz, '{}{}/'.format(self.path, key.strip('/')))

    def __call__(self, key, value):
        if isinstance(value, chainer.get_array_types()):
            name = self.path + key.lstrip('/')
            shape = self.npz[name].shape
            if shape != value.shape:
                raise ValueError('{} is {}, not {}'.format(
                    name, shape, value.shape))
        return super().__call__(key, value)
