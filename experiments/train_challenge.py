"""Train the challenge model and replicate Table 1 of the paper.

The defaults are the paper's (section 2.2): Adam, mini-batches of 32, 900
epochs, alpha divided by 10 after every 300. At the end of each of these stages
all validation clips are predicted whole. The command can be stopped at any
moment; the same command goes on from the last snapshot, to the same result.

What OUT holds at the end: table1.md, .csv, .json; predictions-epoch-E.csv in
the challenge's format; log.json and learning-curves.png; model.npz, the
trained weights; snapshots.
"""

import os

import chainer_impression  # makes Chainer importable
import chainer
import numpy

from chainer_impression import (
    command_line, run_folder, training, training_arguments)
from chainer_impression.datasets.clip_dataset import (
    TrainingExamples, WholeClips)
from chainer_impression.engines import make_engine
from chainer_impression.evaluations import table1
from chainer_impression.extensions.whole_clip_evaluation import (
    WholeClipEvaluation)
from chainer_impression.links.weights import save_weights


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    training_arguments.add_splits(parser, 'train', 'validation')
    training_arguments.add_out(parser, 'results/challenge')
    training_arguments.add_schedule(parser)
    training_arguments.add_snapshots(parser, 67)
    training_arguments.add_loaderjob(parser)
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    return parser.parse_args()


def main():
    args = parse_arguments()

    # Data
    device = command_line.open_device(args.device)
    (train, train_labels), (validation, validation_labels) = \
        training_arguments.read_splits(args, 'train', 'validation')
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
        'experiment': 'challenge',
        **training_arguments.schedule_settings(args),
        'train': run_folder.fingerprint(train, train_labels),
        'validation': run_folder.fingerprint(validation, validation_labels)}
    with run_folder.open_run(args.out, settings):
        training.run(trainer, settings, args.resume)
        save_weights(os.path.join(args.out, 'model.npz'), model)
        print(table1.write(
            args.out, training.ends_of_stages(args.epoch, args.stage_length),
            train_labels, validation_labels))


if __name__ == '__main__':
    command_line.run(main)
