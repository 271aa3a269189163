"""What the labels alone achieve on the validation clips, without any clip.

Four predictors, fitted to the training labels: their mean; their median; for
each validation clip the mean of the training clips of the same video (the
training mean where there is none); and that mean shrunk towards the training
mean by one factor, chosen on the training labels alone. Accuracy is 1 - mean
absolute error, over all validation clips and over those whose video gave
training clips (seen) and did not (unseen).
"""

import json

from chainer_impression import command_line, training_arguments
from chainer_impression.datasets.labels import read_labels
from chainer_impression.evaluations import tables
from chainer_impression.evaluations.baselines import Baselines, seen_videos
from chainer_impression.traits import NEUROTICISM_NOTE


def parse_arguments():
    parser = training_arguments.parser(__doc__)
    parser.add_argument('--train', required=True, metavar='LABELS',
                        help='training labels, CSV or pickle')
    parser.add_argument('--validation', required=True, metavar='LABELS',
                        help='validation labels, CSV or pickle')
    parser.add_argument('--json', action='store_true',
                        help='print the results as JSON')
    return parser.parse_args()


def main():
    args = parse_arguments()
    training = read_labels(args.train)
    validation = read_labels(args.validation)
    training_arguments.check_apart(
        training, validation, args.train, args.validation)

    baselines = Baselines(training)
    seen = seen_videos(validation, training)
    rows = [tables.row(name, predictions, list(validation.values()), seen)
            for name, predictions in
            baselines.predictions(validation).items()]
    if args.json:
        print(json.dumps({
            'training clips': len(training),
            'validation clips': len(validation),
            'validation clips of seen videos': int(seen.sum()),
            'shrinkage': baselines.shrinkage,
            'rows': rows}, indent=2))
        return
    print('{} training clips; {} validation clips, {:.1%} of them from a '
          'video that gave training clips'.format(
              len(training), len(validation), seen.mean()))
    print(tables.to_text(rows, 'predictor'))
    print()
    print(tables.metrics_to_text(rows, 'predictor'))
    print()
    print('The video mean is shrunk by {:.3f}, which predicts each training '
          'clip best from the others of its video.'.format(
              baselines.shrinkage))
    print('Note: {}.'.format(NEUROTICISM_NOTE))


if __name__ == '__main__':
    command_line.run(main)
