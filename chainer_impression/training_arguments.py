"""The arguments that commands which train or test have in common."""

import argparse

from chainer_impression import command_line, training
from chainer_impression.datasets.clip_dataset import match_labels
from chainer_impression.errors import ImpressionError

#: The files that hold a trained network.
WEIGHTS_HELP = ('your own weights (.npz), a snapshot of a training run, or '
                'the file "model" that the authors released in 2016')

at_least = command_line.at_least

#: Bounds of what argparse lets through: NumPy takes no larger seed, and more
#: epochs or threads than these are a slip of the finger.
_MAX_SEED = 2 ** 32 - 1
_MAX_EPOCHS = 10 ** 6
_MAX_THREADS = 256


def parser(description):
    """A parser whose help shows defaults, and the description as written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=command_line.HelpFormatter)


def add_splits(parser, *splits):
    """Add ``--SPLIT CACHE LABELS`` for each, and ``--allow-unmatched``."""
    for split in splits:
        parser.add_argument(
            '--' + split, nargs=2, required=True, metavar=('CACHE', 'LABELS'),
            help='cached {} clips (data_prep.cache_clips makes them) and '
                 'their labels, CSV or pickle'.format(split))
    add_allow_unmatched(parser)


def add_allow_unmatched(parser):
    """Add ``--allow-unmatched``."""
    parser.add_argument('--allow-unmatched', action='store_true',
                        help='go on without clips that have no labels and '
                             'labels that have no clip')


def read_splits(args, *splits):
    """The clips and labels of splits that have none in common.

    Args:
        args: what was parsed.
        splits: names of the arguments.

    Returns:
        list: for each split, as
        :func:`~chainer_impression.datasets.clip_dataset.match_labels` gives
        them, the paths and the labels.

    Raises:
        ImpressionError: a split cannot be read, or overlaps another.
    """
    found = [match_labels(*getattr(args, split), args.allow_unmatched)
             for split in splits]
    for i, (later, _) in enumerate(found):
        for j, (earlier, _) in enumerate(found[:i]):
            check_apart(earlier, later, getattr(args, splits[j])[0],
                        getattr(args, splits[i])[0])
    return found


def check_apart(names, other_names, where, where_else):
    """Refuse splits that have clips in common.

    Args:
        names: names of clips, a set or a dictionary.
        other_names: those of another split.
        where: the file or folder of the first, for the message.
        where_else: that of the other.

    Raises:
        ImpressionError: they have.
    """
    common = set(names) & set(other_names)
    if common:
        raise ImpressionError(
            '{} and {} have {} clips in common ({}); a split must not overlap '
            'another'.format(where, where_else, len(common), min(common)))


def add_out(parser, default):
    """Add ``--out``."""
    parser.add_argument('--out', '-o', default=default, metavar='OUT',
                        help='folder for the results')


def add_schedule(parser, n_epochs=training.N_EPOCHS,
                 stage_length=training.STAGE_LENGTH):
    """Add batch size, epochs, stages, alpha, weight decay and seed."""
    parser.add_argument('--batchsize', '-b', type=at_least(1), metavar='N',
                        default=training.BATCH_SIZE,
                        help='examples in a mini-batch')
    parser.add_argument('--epoch', '-e', metavar='N', default=n_epochs,
                        type=at_least(1, at_most=_MAX_EPOCHS),
                        help='the last epoch')
    parser.add_argument('--stage-length', type=at_least(1), metavar='N',
                        default=stage_length,
                        help='epochs after which alpha is divided by 10 and '
                             'the validation clips are predicted')
    parser.add_argument('--alpha', type=at_least(0, float), metavar='A',
                        default=training.ALPHA,
                        help='step size of Adam in the first stage')
    parser.add_argument('--weight-decay', type=at_least(0, float),
                        default=0., metavar='R',
                        help='rate of L2 weight decay')
    parser.add_argument('--seed', default=0, metavar='N',
                        type=at_least(0, at_most=_MAX_SEED),
                        help='of everything that is drawn at random: initial '
                             'weights, order of the clips, crops, dropout')
    parser.add_argument('--validate-every', type=at_least(1), metavar='N',
                        help='predict the validation clips every N epochs, '
                             'too (default: at the end of each stage only)')


def add_snapshots(parser, megabytes):
    """Add when snapshots are taken, how many are kept, and ``--resume``."""
    parser.add_argument('--snapshot-every', type=at_least(1), default=1,
                        metavar='N', help='epochs between snapshots ({} MB)'
                        .format(megabytes))
    parser.add_argument('--keep', type=at_least(1), default=2, metavar='N',
                        help='snapshots to keep, besides those at the ends of '
                             'the stages')
    parser.add_argument('--resume', '-r', metavar='FILE',
                        help='go on from this snapshot, each time the command '
                             'is typed (default: from the newest in OUT)')


def add_loaderjob(parser):
    """Add ``--loaderjob``."""
    parser.add_argument('--loaderjob', '-j', default=2, metavar='N',
                        type=at_least(1, at_most=_MAX_THREADS),
                        help='threads that load examples')


def schedule_settings(args):
    """What the results of a training depend on, of :func:`add_schedule`.

    And the engine, of :func:`~chainer_impression.command_line
    .add_engine_argument`: predictions of another differ in their last digits,
    in bfloat16 by up to 0.01.
    """
    return {'batchsize': args.batchsize, 'epoch': args.epoch,
            'stage-length': args.stage_length, 'alpha': args.alpha,
            'weight-decay': args.weight_decay, 'seed': args.seed,
            'validate-every': args.validate_every, 'engine': args.engine}
