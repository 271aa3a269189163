"""Train the challenge model and replicate Table 1 of the paper.

The defaults are the paper's (section 2.2): Adam, mini-batches of 32, 900
epochs, alpha divided by 10 after every 300. At the end of each of these stages
all validation clips are predicted whole. The command can be stopped at any
moment; the same command goes on from the last snapshot, to the same result.

What OUT holds at the end: table1.md, .csv, .json; predictions-epoch-E.csv in
the challenge's format; log.json and learning-curves.png; model.npz, the
trained weights; snapshots.
"""

import argparse
import os

import chainer_impression  # makes Chainer importable
import chainer
import numpy

from chainer_impression import command_line, run_folder, training
from chainer_impression.datasets.clip_dataset import (
    TrainingExamples, WholeClips, match_labels)
from chainer_impression.engines import make_engine
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations import table1
from chainer_impression.extensions.whole_clip_evaluation import (
    WholeClipEvaluation)
from chainer_impression.links.weights import save_weights


def parse_arguments():
    at_least = command_line.at_least
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter)
    for split in ('train', 'validation'):
        parser.add_argument(
            '--' + split, nargs=2, required=True, metavar=('CACHE', 'LABELS'),
            help='cached {} clips (data_prep.cache_clips makes them) and '
                 'their labels, CSV or pickle'.format(split))
    parser.add_argument('--out', '-o', default='results/challenge',
                        metavar='OUT', help='folder for the results')
    parser.add_argument('--batchsize', '-b', type=at_least(1), metavar='N',
                        default=training.BATCH_SIZE,
                        help='examples in a mini-batch')
    parser.add_argument('--epoch', '-e', type=at_least(1), metavar='N',
                        default=training.N_EPOCHS, help='epochs to train')
    parser.add_argument('--stage-length', type=at_least(1), metavar='N',
                        default=training.STAGE_LENGTH,
                        help='epochs after which alpha is divided by 10 and '
                             'the validation clips are predicted')
    parser.add_argument('--alpha', type=at_least(0, float), metavar='A',
                        default=training.ALPHA, help='step size of Adam')
    parser.add_argument('--weight-decay', type=at_least(0, float),
                        default=0., metavar='R', help='rate of L2 weight decay')
    parser.add_argument('--seed', type=at_least(0), default=0, metavar='N',
                        help='of the initial weights, the order of the clips '
                             'and the crops')
    parser.add_argument('--validate-every', type=at_least(1), metavar='N',
                        help='predict the validation clips every N epochs, '
                             'too (default: at the end of each stage only)')
    parser.add_argument('--snapshot-every', type=at_least(1), default=1,
                        metavar='N', help='epochs between snapshots (67 MB)')
    parser.add_argument('--keep', type=at_least(1), default=2, metavar='N',
                        help='snapshots to keep, besides those at the ends of '
                             'the stages')
    parser.add_argument('--loaderjob', '-j', type=at_least(1), default=2,
                        metavar='N', help='threads that load examples')
    parser.add_argument('--resume', '-r', metavar='FILE',
                        help='go on from this snapshot (default: from the '
                             'newest in OUT)')
    parser.add_argument('--allow-unmatched', action='store_true',
                        help='go on without clips that have no labels and '
                             'labels that have no clip')
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    return parser.parse_args()


def main():
    args = parse_arguments()

    # Data
    device = command_line.open_device(args.device)
    train, train_labels = match_labels(*args.train, args.allow_unmatched)
    validation, validation_labels = match_labels(
        *args.validation, args.allow_unmatched)
    check_apart(train, validation, args)
    examples = TrainingExamples(train, train_labels, args.seed)
    iterator = training.examples_iterator(
        examples, args.batchsize, args.seed, args.loaderjob)

    # Model. Its weights are drawn on the CPU, so that a seed means the same
    # on every device.
    numpy.random.seed(args.seed)
    model = chainer_impression.AudiovisualStream()
    model.to_device(device)

    # Optimizer and updater
    optimizer = training.make_optimizer(model, args.alpha, args.weight_decay)
    updater = chainer.training.StandardUpdater(
        iterator, optimizer, device=device,
        loss_func=training.mean_absolute_error(model))

    # Trainer and extensions
    evaluation = WholeClipEvaluation(
        WholeClips(validation), validation_labels,
        lambda model: make_engine(model, args.engine))
    trainer = training.make_trainer(
        updater, args.out, args.epoch, args.stage_length, evaluation,
        args.validate_every, args.snapshot_every, args.keep)

    # Run
    settings = {
        'experiment': 'challenge', 'batchsize': args.batchsize,
        'epoch': args.epoch, 'stage-length': args.stage_length,
        'alpha': args.alpha, 'weight-decay': args.weight_decay,
        'seed': args.seed, 'validate-every': args.validate_every,
        'train': run_folder.fingerprint(train, train_labels),
        'validation': run_folder.fingerprint(validation, validation_labels)}
    with run_folder.open_run(args.out, settings):
        snapshot = training.resume(trainer, args.resume)
        if snapshot:
            print('going on from {}'.format(snapshot), flush=True)
        trainer.run(show_loop_exception_msg=False)
        save_weights(os.path.join(args.out, 'model.npz'), model)
        print(table1.write(
            args.out, training.ends_of_stages(args.epoch, args.stage_length),
            train_labels, validation_labels))


def check_apart(train, validation, args):
    common = train.keys() & validation.keys()
    if common:
        raise ImpressionError(
            '{} and {} have {} clips in common ({}); a split must not overlap '
            'another'.format(args.train[0], args.validation[0], len(common),
                             min(common)))


if __name__ == '__main__':
    command_line.run(main)
