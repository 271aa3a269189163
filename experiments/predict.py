"""The Big Five traits that viewers would attribute to the person in a clip.

Each clip goes through the network whole, as in the test phase of the paper:
all of its sound, every frame at 25 per second, 456 x 256 pixels. The traits
are apparent ones: the first impression of strangers, from 0 to 1, not what
the person is like.
"""

import argparse
import json
import sys

import numpy

from chainer_impression import AudiovisualStream, command_line
from chainer_impression.engines import make_engine
from chainer_impression.errors import ImpressionError
from chainer_impression.links.weights import load_weights
from chainer_impression.read_ahead import open_file, read_clips
from chainer_impression.traits import NEUROTICISM_NOTE, TRAITS

BAR_WIDTH = 20


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter,
        epilog='Note: ' + NEUROTICISM_NOTE + '.')
    parser.add_argument('clips', nargs='+', metavar='CLIP',
                        help='a video with sound, in any common format')
    parser.add_argument(
        '--weights', required=True, metavar='FILE',
        help='trained weights: your own (.npz), a snapshot of a training run, '
             'or the file "model" that the authors released in 2016')
    parser.add_argument('--json', action='store_true',
                        help='one JSON object for each clip, a line each')
    command_line.add_device_argument(parser)
    command_line.add_engine_argument(parser)
    return parser.parse_args()


def predict(engine, clip, parts):
    """The five traits of an opened clip, in the network's order."""
    try:
        traits = engine.predict(next(parts), parts)
    except ValueError as error:  # too short for the first kernel
        raise ImpressionError('{}: {}'.format(clip, error)) from error
    if not numpy.isfinite(traits).all():
        raise ImpressionError('{}: its traits are no numbers; the weights are '
                              'of a training run that diverged'.format(clip))
    return traits


def as_table(clip, traits):
    lines = [clip]
    for trait, value in zip(TRAITS, traits):
        bar = '#' * round(float(value) * BAR_WIDTH)
        lines.append('  {:17} {:.3f}  |{:{}}|{}'.format(
            trait, value, bar, BAR_WIDTH,
            '  high means stable' if trait == 'neuroticism' else ''))
    return '\n'.join(lines)


def as_json(clip, traits):
    return json.dumps({'clip': clip, 'traits': {
        trait: float(value) for trait, value in zip(TRAITS, traits)}})


def main():
    args = parse_arguments()
    device = command_line.open_device(args.device)
    model = AudiovisualStream()
    load_weights(args.weights, model)
    model.to_device(device)
    engine = make_engine(model, args.engine)

    written = as_json if args.json else as_table
    failures = 0
    with command_line.Progress(len(args.clips), 'clips', 'predicting') as bar:
        for clip, parts in read_clips(args.clips, open_file):
            try:
                traits = predict(engine, clip, parts)
            except ImpressionError as error:
                bar.say('predict.py: {}'.format(error))
                failures += 1
            else:
                bar.say(written(clip, traits), file=sys.stdout)
            bar.advance()
    if not args.json and failures < len(args.clips):
        print('Note: {}.'.format(NEUROTICISM_NOTE))
    return 1 if failures else 0


if __name__ == '__main__':
    command_line.run(main)
