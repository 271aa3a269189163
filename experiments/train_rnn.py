"""Train the recurrent network on top of the DNN: DNN + RNN, Table 3.

The layer-5 features of each second of each clip are extracted once and kept
in FEATURES, from where every later run with these weights takes them. On them
the paper's network is trained: two layers of 512 LSTM units with dropout, five
linear units, Adam, mean absolute error at each time point, backpropagation
truncated after 15 time points; the predictions are averaged over the clip.

A time point is a second, 16,000 samples and 25 frames; a last part of a second
counts if it has half of both. A clip shorter than one second is refused.

The paper does not say how long or with which settings; the defaults are those
of the challenge model (section 2.2) but for the epochs: 60 of them, with their
15 time points, show a clip as often as 900 epochs of single crops do.

What OUT holds at the end: predictions-epoch-E.csv in the challenge's format;
table3.md, .csv, .json with the row; log.json and learning-curves.png;
model.npz, the trained recurrent network; snapshots. The command can be stopped
at any moment; the same command goes on where it was, to the same result.
"""

import os

import chainer_impression  # makes Chainer importable
import chainer
import numpy

from chainer_impression import (
    command_line, run_folder, training, training_arguments)
from chainer_impression.datasets.feature_cache import FeatureCache
from chainer_impression.datasets.feature_sequences import (
    FeatureSequences, pad)
from chainer_impression.engines import make_engine
from chainer_impression.evaluations import table3
from chainer_impression.evaluations.table1 import predictions_path
from chainer_impression.extensions.seed_every_iteration import (
    SeedEveryIteration)
from chainer_impression.extensions.whole_clip_evaluation import (
    FeatureEvaluation)
from chainer_impression.feature_extraction import extract_features
from chainer_impression.links.recurrent_network import (
    DROPOUT, RecurrentNetwork)
from chainer_impression.links.weights import (
    digest, load_weights, save_weights)

N_EPOCHS = 60
STAGE_LENGTH = 20


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    training_arguments.add_splits(parser, 'train', 'validation')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='the network that the features are of: '
                             + training_arguments.WEIGHTS_HELP)
    parser.add_argument('--features', default='results/features',
                        metavar='FEATURES',
                        help='folder for the features, 35 kB for 15 s')
    training_arguments.add_out(parser, 'results/rnn')
    parser.add_argument('--dropout', type=ratio, default=DROPOUT, metavar='R',
                        help='ratio of the hidden units that are dropped')
    training_arguments.add_schedule(parser, N_EPOCHS, STAGE_LENGTH)
    training_arguments.add_snapshots(parser, 50)
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    return parser.parse_args()


def ratio(text):
    value = command_line.at_least(0, float)(text)
    if value >= 1:
        raise command_line.argparse.ArgumentTypeError(
            '{!r} is no ratio below 1'.format(text))
    return value


def main():
    args = parse_arguments()

    # Data
    device = command_line.open_device(args.device)
    (train, train_labels), (validation, validation_labels) = \
        training_arguments.read_splits(args, 'train', 'validation')
    training.check_batch_size(args.batchsize, len(train))

    # The network below
    stream = chainer_impression.AudiovisualStream()
    load_weights(args.weights, stream)
    # Features do not depend on the fully-connected layer.
    weights = digest(stream.aud, stream.vis)

    settings = {
        'experiment': 'rnn', 'weights': weights[:12], 'dropout': args.dropout,
        **training_arguments.schedule_settings(args),
        'train': run_folder.fingerprint(train, train_labels),
        'validation': run_folder.fingerprint(validation, validation_labels)}
    with run_folder.open_run(args.out, settings):
        # Features
        stream.to_device(device)
        features = extract_features(
            lambda: make_engine(stream, args.engine), {**train, **validation},
            FeatureCache(args.features, weights))
        examples = FeatureSequences(
            {name: features[name] for name in train}, train_labels)
        iterator = training.examples_iterator(
            examples, args.batchsize, args.seed)

        # Model. Its weights are drawn on the CPU, so that a seed means the
        # same on every device.
        numpy.random.seed(args.seed)
        model = RecurrentNetwork(dropout=args.dropout)
        model.to_device(device)

        # Optimizer and updater
        optimizer = training.make_optimizer(
            model, args.alpha, args.weight_decay)
        updater = chainer.training.StandardUpdater(
            iterator, optimizer, pad, device=device,
            loss_func=training.mean_absolute_error_at_time_points(model))

        # Trainer and extensions
        evaluation = FeatureEvaluation(
            {name: features[name] for name in validation}, validation_labels)
        trainer = training.make_trainer(
            updater, args.out, args.epoch, args.stage_length, evaluation,
            args.validate_every, args.snapshot_every, args.keep)
        trainer.extend(SeedEveryIteration(args.seed))

        # Run
        training.run(trainer, settings, args.resume)
        save_weights(os.path.join(args.out, 'model.npz'), model)
        print(table3.write(
            args.out, {table3.DNN_RNN: predictions_path(
                args.out, args.epoch)}, train_labels, validation_labels))


if __name__ == '__main__':
    command_line.run(main)
