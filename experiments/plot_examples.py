"""Figure 2 of the paper: five validation clips and their predicted traits.

The middle frame of each clip, and below it a bar for each predicted trait in
the order of the paper's tables, the label beside it where it is known. The
clips are named with --clips, or chosen by a rule: those at equal distances in
the order of their mean predicted trait, from the lowest to the highest.
"""

import argparse

from chainer_impression import command_line
from chainer_impression.datasets.clip_cache import CachedClip, cached_clips
from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.figures import canvas
from chainer_impression.figures.examples import (
    N_EXAMPLES, RULE, Example, check_clips, choose_clips, draw_examples)
from chainer_impression.traits import NEUROTICISM_NOTE


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter,
        epilog='Note: ' + NEUROTICISM_NOTE + '.')
    parser.add_argument(
        '--predictions', required=True, metavar='CSV',
        help='predictions, such as predictions-epoch-900.csv of a training '
             'run')
    parser.add_argument('--cache', required=True, metavar='CACHE',
                        help='the cached clips that were predicted')
    parser.add_argument('--labels', metavar='LABELS',
                        help='their labels, CSV or pickle')
    parser.add_argument('--clips', nargs='+', action='extend', metavar='NAME',
                        help='clips to show, as the predictions name them; '
                             'one that begins with a dash as --clips=NAME')
    parser.add_argument('--number', '-n', type=command_line.at_least(1),
                        default=N_EXAMPLES, metavar='N',
                        help='clips to choose where none is named')
    parser.add_argument('--out', '-o', default='figure2.png', metavar='FILE',
                        help='the picture, .png, .svg or .pdf')
    return parser.parse_args()


def read_examples(names, predictions, cache, labels):
    """The clips of the figure, with the middle frame of each."""
    paths = cached_clips(cache)
    for name in names:
        if name not in paths:
            raise ImpressionError('{}: holds no clip named {}; is it the '
                                  'cache that was predicted?'.format(
                                      cache, name))
        clip = CachedClip(paths[name])
        yield Example(name, clip.read_frame(clip.n_frames // 2),
                      predictions[name], labels.get(name))


def main():
    args = parse_arguments()
    canvas.format_of(args.out)
    predictions = read_labels(args.predictions)
    labels = read_labels(args.labels) if args.labels else {}
    if args.clips:
        check_clips(args.clips, predictions, args.predictions)
    names = args.clips or choose_clips(predictions, args.number)
    examples = list(read_examples(names, predictions, args.cache, labels))
    canvas.save(draw_examples(examples, '' if args.clips else RULE), args.out)
    print('{}: {}'.format(args.out, ', '.join(names)))


if __name__ == '__main__':
    command_line.run(main)
