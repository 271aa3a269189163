"""Assemble Table 3 of the paper from the predictions of its three models.

Predictions are what train_challenge.py, finetune_traits.py and train_rnn.py
leave: predictions-epoch-E.csv in the folder of each. A model that is left out
has the paper's numbers only. OUT gets table3.md, .csv and .json.
"""

from chainer_impression import command_line, training_arguments
from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations import table3
from chainer_impression.files import make_folder

MODELS = {'dnn': table3.DNN, 'five_dnn': table3.FIVE_DNN,
          'dnn_rnn': table3.DNN_RNN}


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    for name, model in MODELS.items():
        parser.add_argument(
            '--' + name.replace('_', '-'), metavar='PREDICTIONS',
            help='validation predictions of {}, CSV'.format(model))
    parser.add_argument('--train', required=True, metavar='LABELS',
                        help='training labels, CSV or pickle')
    parser.add_argument('--validation', required=True, metavar='LABELS',
                        help='validation labels, CSV or pickle')
    training_arguments.add_out(parser, 'results/table3')
    return parser.parse_args()


def main():
    args = parse_arguments()
    predictions = {model: getattr(args, name)
                   for name, model in MODELS.items() if getattr(args, name)}
    if not predictions:
        raise ImpressionError('there are no predictions; pass those of one '
                              'model at least, such as --dnn PREDICTIONS')
    train, validation = read_labels(args.train), read_labels(args.validation)
    training_arguments.check_apart(
        train, validation, args.train, args.validation)
    make_folder(args.out)
    print(table3.write(args.out, predictions, train, validation))


if __name__ == '__main__':
    command_line.run(main)
