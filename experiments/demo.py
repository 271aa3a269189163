"""The whole way on a bare machine: clips, cache, training, Table 1, baselines.

The clips are drawn ones and few, and the schedule is scaled down to minutes,
so the numbers say that the parts work together, not how good the network of
the paper is. Each command is printed as a person would type it.
"""

import argparse
import json
import os
import time

from chainer_impression import command_line
from chainer_impression.errors import ImpressionError
from chainer_impression.subcommands import run_command
from data_prep.demo_cues import CUES
from data_prep.demo_scale import (
    BATCH_SIZE, N_EPOCHS, STAGE_LENGTH, data_commands, labels_of)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter)
    parser.add_argument('--out', '-o', default='demo', metavar='OUT',
                        help='folder for clips, cache and results')
    command_line.add_device_argument(parser)
    return parser.parse_args()


def run(*command):
    """Run a command of the project, printed as a person would type it."""
    status = run_command(command, ROOT)
    if status:
        raise ImpressionError('the demo stopped: the command above ended with '
                              'status {}'.format(status))


def script(name):
    """The path of an experiment as seen from the current folder."""
    return os.path.relpath(os.path.join(ROOT, 'experiments', name))


def only_in(stream):
    """The traits of the drawn people that show in one stream alone."""
    streams = {}
    for cue in CUES:
        streams.setdefault(cue.trait, set()).add(cue.stream)
    return [trait for trait, where in streams.items() if where == {stream}]


def verdict(folder):
    """Compare network and training mean on clips of unseen videos.

    Returns:
        bool: the network is better for a trait that can only be seen and for
        one that can only be heard.
    """
    with open(os.path.join(folder, 'table1.json'), encoding='utf-8') as file:
        table = json.load(file)
    network = table['rows'][-1]['unseen']
    mean = {row['name']: row for row in table['baselines']}[
        'training mean']['unseen']
    print('\nMean absolute error on the {} clips of unseen videos, network '
          'against training mean:'.format(table['rows'][-1]['unseen clips']))
    better = {}
    for stream, verb in (('picture', 'seen'), ('sound', 'heard')):
        for trait in only_in(stream):
            ours, theirs = 1 - network[trait], 1 - mean[trait]
            better.setdefault(stream, []).append(ours < theirs)
            print('  {:17} can only be {:5}  {:.3f} against {:.3f}: {}'.format(
                trait, verb, ours, theirs,
                'better' if ours < theirs else 'not better'))
    return all(map(any, better.values()))


def main():
    args = parse_arguments()
    start = time.monotonic()
    clips, cache, out = (os.path.join(args.out, name)
                         for name in ('clips', 'cache', 'challenge'))
    for command in data_commands(clips, cache):
        run(*command)
    run(script('train_challenge.py'),
        '--train', os.path.join(cache, 'train'),
        labels_of(clips, 'train', 'pickle'),
        '--validation', os.path.join(cache, 'validation'),
        labels_of(clips, 'validation', 'pickle'),
        '--batchsize', str(BATCH_SIZE), '--epoch', str(N_EPOCHS),
        '--stage-length', str(STAGE_LENGTH),
        '--snapshot-every', str(STAGE_LENGTH),
        '--device', args.device, '--out', out)
    run(script('baselines.py'),
        '--train', labels_of(clips, 'train'),
        '--validation', labels_of(clips, 'validation'))
    better = verdict(out)
    print('\nThese clips are drawn ones, and the training was {} epochs '
          'instead of 900: the\npaper\'s column is there for the layout, not '
          'for comparison.\nLearning curves: {}. Trained weights: {}. '
          '{:.0f} s in all.'.format(
              N_EPOCHS, os.path.join(out, 'learning-curves.png'),
              os.path.join(out, 'model.npz'), time.monotonic() - start))
    if not better:
        raise ImpressionError(
            'the network is not better than the training mean on unseen '
            'videos, which says that something is wrong with the training')


if __name__ == '__main__':
    command_line.run(main)
