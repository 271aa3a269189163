"""Predict the test clips and replicate Table 2 of the paper.

Each clip goes through the network whole (section 2.3). The predictions are
written to OUT/predictions.csv, in the format that the challenge took; without
LABELS that is all. With them the table is computed from that file: table2.md,
.csv and .json, beside the challenge's ranks 1, 2, 3 (this network) and 10. The
command can be stopped at any moment; the same command goes on where it was.
"""

import os

import chainer_impression
from chainer_impression import command_line, run_folder, training_arguments
from chainer_impression.datasets.clip_cache import cached_clips
from chainer_impression.datasets.clip_dataset import WholeClips, match_labels
from chainer_impression.datasets.labels import read_labels
from chainer_impression.engines import make_engine
from chainer_impression.evaluations import table2
from chainer_impression.links.weights import digest, load_weights
from chainer_impression.prediction import predict_clips


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    parser.add_argument(
        '--test', nargs='+', required=True, metavar=('CACHE', 'LABELS'),
        help='cached test clips (data_prep.cache_clips makes them) and, where '
             'there are any, their labels, CSV or pickle')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help=training_arguments.WEIGHTS_HELP)
    parser.add_argument('--train', metavar='LABELS',
                        help='training labels, CSV or pickle, which tell '
                             'clips of seen videos from the others and what '
                             'the labels alone achieve (default: not said)')
    training_arguments.add_out(parser, 'results/test')
    training_arguments.add_allow_unmatched(parser)
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    args = parser.parse_args()
    if len(args.test) > 2:
        parser.error('argument --test: takes CACHE and, where there are any, '
                     'LABELS, nothing else')
    return args


def main():
    args = parse_arguments()

    # Data
    device = command_line.open_device(args.device)
    cache, *labels_path = args.test
    if labels_path:
        clips, labels = match_labels(cache, *labels_path, args.allow_unmatched)
    else:
        clips, labels = cached_clips(cache), None
    train_labels = None if args.train is None else read_labels(args.train)
    training_arguments.check_apart(
        train_labels or (), clips, args.train, cache)

    # Model
    model = chainer_impression.AudiovisualStream()
    load_weights(args.weights, model)
    settings = {'experiment': 'test', 'weights': digest(model)[:12],
                'engine': args.engine, 'test': run_folder.fingerprint(clips)}
    model.to_device(device)

    # Run
    path = os.path.join(args.out, 'predictions.csv')
    with run_folder.open_run(args.out, settings):
        predict_clips(make_engine(model, args.engine), WholeClips(clips),
                      'testing', path)
        print('predictions for {} clips: {}'.format(len(clips), path))
        if labels is None:
            print('There is no Table 2, for no labels were given: pass them '
                  'after the cache, --test CACHE LABELS.')
        else:
            print(table2.write(args.out, path, labels, train_labels))


if __name__ == '__main__':
    command_line.run(main)
