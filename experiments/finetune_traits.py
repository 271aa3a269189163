"""Fine-tune the network for each trait by itself: 5 x DNN, Table 3.

Each of the five networks begins with the weights that the challenge model has
after 300 epochs and predicts one trait: its fully-connected layer has one
output, which begins with the row that predicts this trait in the given one.
Everything else is the recipe from epoch 300 on: the epochs have the numbers
301 to 900, so each shows the crops that the recipe shows in that epoch and no
crop comes twice; alpha, divided by 10 once, is divided again after epoch 600.
Adam begins anew, for weights in a file come without its state, and with beta1
of 0.5 and beta2 of 0.999 it has made up for that within ten epochs of 600.

What OUT holds at the end: a folder for each trait with log.json,
learning-curves.png, model.npz, predictions and snapshots; once all five are
there, predictions-epoch-E.csv of the five together, in the challenge's format,
and table3.md, .csv, .json with their row. The command can be stopped at any
moment; the same command goes on from the last snapshot, to the same result.
"""

import os

import chainer_impression  # makes Chainer importable
import chainer

from chainer_impression import (
    command_line, run_folder, training, training_arguments)
from chainer_impression.datasets.clip_dataset import (
    TrainingExamples, WholeClips)
from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.engines import make_engine
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations import table3
from chainer_impression.evaluations.table1 import predictions_path
from chainer_impression.extensions.whole_clip_evaluation import (
    WholeClipEvaluation)
from chainer_impression.links.weights import (
    digest, load_weights, save_weights)
from chainer_impression.traits import TRAITS


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    training_arguments.add_splits(parser, 'train', 'validation')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='the network after --from-epoch epochs: '
                             + training_arguments.WEIGHTS_HELP)
    parser.add_argument('--trait', choices=TRAITS, nargs='+', metavar='TRAIT',
                        help='which to train now, of {} (default: all five)'
                        .format(', '.join(TRAITS)))
    parser.add_argument('--from-epoch', type=command_line.at_least(1),
                        default=training.STAGE_LENGTH, metavar='N',
                        help='the epoch after which the weights were saved; '
                             'training begins with the next')
    training_arguments.add_out(parser, 'results/finetuned')
    training_arguments.add_schedule(parser)
    training_arguments.add_snapshots(parser, 67)
    training_arguments.add_loaderjob(parser)
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    args = parser.parse_args()
    if args.from_epoch >= args.epoch:
        parser.error('argument --from-epoch: {} leaves nothing to train, for '
                     '--epoch, the last, is {}'.format(
                         args.from_epoch, args.epoch))
    args.trait = args.trait or list(TRAITS)
    if args.resume and len(args.trait) != 1:
        parser.error('argument --resume: a snapshot is of one trait; say '
                     'which with --trait')
    return args


def main():
    args = parse_arguments()

    # Data
    device = command_line.open_device(args.device)
    (train, train_labels), (validation, validation_labels) = \
        training_arguments.read_splits(args, 'train', 'validation')
    training.check_batch_size(args.batchsize, len(train))

    # The network that all five begin with
    given = chainer_impression.AudiovisualStream()
    load_weights(args.weights, given)

    settings = {
        'experiment': 'five traits', 'weights': digest(given)[:12],
        'from-epoch': args.from_epoch,
        **training_arguments.schedule_settings(args),
        'train': run_folder.fingerprint(train, train_labels),
        'validation': run_folder.fingerprint(validation, validation_labels)}
    # Left at once, so that other traits can be trained at the same time.
    with run_folder.open_run(args.out, settings):
        pass
    for trait in args.trait:
        out = os.path.join(args.out, trait)
        of_trait = {**settings, 'trait': trait}
        with run_folder.open_run(out, of_trait):
            print('\n{} (of {})'.format(trait, ', '.join(args.trait)),
                  flush=True)
            finetune(trait, given, train, train_labels, validation,
                     validation_labels, out, device, of_trait, args)

    missing = [trait for trait in TRAITS if not os.path.exists(
        predictions_path(os.path.join(args.out, trait), args.epoch))]
    if missing:
        print('There is no row of Table 3 yet: {} to come.'.format(
            ', '.join(missing)))
        return
    with run_folder.open_run(args.out, settings):
        path = combine_predictions(args.out, args.epoch)
        print('\npredictions of the five: {}'.format(path))
        print(table3.write(args.out, {table3.FIVE_DNN: path}, train_labels,
                           validation_labels))


def finetune(trait, given, train, train_labels, validation, validation_labels,
             out, device, settings, args):
    """Train the network of one trait; its last epoch's predictions remain."""
    iterator = training.examples_iterator(
        TrainingExamples(train, only(trait, train_labels), args.seed),
        args.batchsize, args.seed, args.loaderjob, args.from_epoch)

    # Model
    model = given.for_trait(trait)
    model.to_device(device)

    # Optimizer and updater
    optimizer = training.make_optimizer(
        model, training.alpha_after(
            args.from_epoch, args.alpha, args.stage_length),
        args.weight_decay)
    updater = chainer.training.StandardUpdater(
        iterator, optimizer, device=device,
        loss_func=training.mean_absolute_error(model))

    # Trainer and extensions
    evaluation = WholeClipEvaluation(
        WholeClips(validation), only(trait, validation_labels),
        lambda model: make_engine(model, args.engine), (trait,))
    trainer = training.make_trainer(
        updater, out, args.epoch, args.stage_length, evaluation,
        args.validate_every, args.snapshot_every, args.keep)
    training.run(trainer, settings, args.resume)
    save_weights(os.path.join(out, 'model.npz'), model)


def only(trait, labels):
    """The labels of one trait, (1,) for each clip."""
    i = TRAITS.index(trait)
    return {name: values[i:i + 1] for name, values in labels.items()}


def combine_predictions(out, epoch):
    """Write the predictions of the five networks into one file.

    Returns:
        str: its path.
    """
    of_traits = {
        trait: read_labels(predictions_path(os.path.join(out, trait), epoch),
                           (trait,)) for trait in TRAITS}
    names = of_traits[TRAITS[0]]
    for trait, predictions in of_traits.items():
        if predictions.keys() != names.keys():
            raise ImpressionError(
                '{}: its predictions are for other clips than those of {}; '
                'train it anew'.format(os.path.join(out, trait), TRAITS[0]))
    path = predictions_path(out, epoch)
    write_csv(path, {name: [of_traits[trait][name][0] for trait in TRAITS]
                     for name in names})
    return path


if __name__ == '__main__':
    command_line.run(main)
