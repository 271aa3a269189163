"""Figure 1 of the paper: the architecture, drawn from the network itself.

An example of 50176 samples and 224 x 224 pixels goes through the network, and
what it applies on the way is drawn: each stage of both streams side by side,
with kernels, strides, shapes and parameters.
"""

import argparse

from chainer_impression import AudiovisualStream, command_line
from chainer_impression.figures import canvas
from chainer_impression.figures.architecture import (
    draw_architecture, read_architecture)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter)
    parser.add_argument('--out', '-o', default='figure1.png', metavar='FILE',
                        help='the picture, .png, .svg or .pdf')
    return parser.parse_args()


def main():
    args = parse_arguments()
    canvas.format_of(args.out)
    canvas.save(draw_architecture(read_architecture(AudiovisualStream())),
                args.out)
    print('{}: the architecture'.format(args.out))


if __name__ == '__main__':
    command_line.run(main)
