"""Writes a trained network as an ONNX file, for programs in any language.

The file takes a whole clip in one call: the decoded sound, float32 in [-1, 1]
at 16,000 Hz, and the decoded pictures, uint8 RGB at 25 per second; nothing
else has to be prepared. It gives the five traits, from 0 to 1, and the 512
pooled features they were computed from. Clips may have any length, pictures
any size; the network was trained on 456 x 256 pixels.

Parts of the network, for programs that do not hold a clip in memory:
  auditory   audio  -> maps, whose mean over the columns are 256 features
  visual     frames -> 256 features of each frame, to be averaged
  head       the 256 auditory and 256 visual features -> traits
"""

import argparse

from chainer_impression import AudiovisualStream, command_line
from chainer_impression.engines import extra
from chainer_impression.files import replace_when_done
from chainer_impression.links.weights import load_weights
from chainer_impression.traits import NEUROTICISM_NOTE

PARTS = ('whole', 'auditory', 'visual', 'head')


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter,
        epilog='Note: ' + NEUROTICISM_NOTE + '; the file says so too.')
    parser.add_argument(
        '--weights', required=True, metavar='FILE',
        help='trained weights: your own (.npz), a snapshot of a training run, '
             'or the file "model" that the authors released in 2016')
    parser.add_argument('--out', '-o', required=True, metavar='FILE',
                        help='the ONNX file to write')
    parser.add_argument('--part', choices=PARTS, default='whole',
                        help='what of the network to write')
    return parser.parse_args()


def main():
    args = parse_arguments()
    graph = extra.require('graph')
    model = AudiovisualStream()
    load_weights(args.weights, model)
    proto = graph.PARTS[args.part](model)
    with replace_when_done(args.out, 'wb') as file:
        file.write(proto.SerializeToString())
    for kind, values in (('in', proto.graph.input),
                         ('out', proto.graph.output)):
        for value in values:
            print('{:4}{:9}{}'.format(
                kind, value.name, graph.metadata(proto)[value.name]))


if __name__ == '__main__':
    command_line.run(main)
