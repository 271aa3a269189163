"""Measure speed, memory and quality on the machine at hand.

Every claim is a ratio between peers that are measured in turns, in one run:
the median over the rounds, with the lowest and the highest. Each peer has a
process, and as many cores and threads as the others. Absolute times depend on
the machine and on what else it does.

parts:
{parts}
"""

import argparse
import json
import os
import tempfile

from benchmarks import (
    caching, examples, materials, measure, network_speed, report)
from chainer_impression import command_line
from chainer_impression.errors import ImpressionError
from chainer_impression.files import make_folder, replace_when_done
from chainer_impression.training import BATCH_SIZE
from data_prep.cache_clips import n_cores

#: Name of a part, its title, what measures it.
PARTS = {
    'caching': ('Caching clips', caching.speed),
    'quality': ('Quality of cached clips', caching.quality),
    'examples': ('Training examples out of the cache', examples.examples),
    'training': ('Training, stock Chainer and PyTorch as peers',
                 network_speed.training),
    'frames': ('Frames through the visual stream', network_speed.frames),
    'clips': ('Whole clips', network_speed.clips),
    'device': ('The paper\'s timing', network_speed.device),
}


def parse_arguments():
    at_least = command_line.at_least
    parser = argparse.ArgumentParser(
        description=__doc__.format(parts='\n'.join(
            '  {:9} {}'.format(name, title)
            for name, (title, _) in PARTS.items())),
        formatter_class=command_line.HelpFormatter)
    parser.add_argument('--only', type=parse_parts, default=list(PARTS),
                        metavar='PART,…', help='parts to measure (default: '
                        'all)')
    parser.add_argument(
        '--clips', nargs='+', default=[], metavar='FILE',
        help='clips to work on (default: those of the folder clips in '
             'FIRST_IMPRESSIONS_SAMPLES, else one that is drawn)')
    parser.add_argument('--batch', '-b', type=at_least(1), metavar='N',
                        default=BATCH_SIZE, help='examples in a mini-batch')
    parser.add_argument('--rounds', type=at_least(1), metavar='N', default=3,
                        help='how often each peer is measured')
    parser.add_argument('--threads', type=at_least(1), metavar='N',
                        default=n_cores(), help='cores for each peer')
    parser.add_argument(
        '--limit', type=at_least(0, float), metavar='S', default=25.,
        help='seconds that one measurement of one peer may take; larger ones '
             'are left out')
    parser.add_argument(
        '--out', '-o', metavar='OUT', help='folder for benchmark.json, '
        'benchmark.md and growth.png (default: none is written)')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--json', action='store_true',
                      help='print the results as JSON')
    form.add_argument('--markdown', action='store_true',
                      help='print the tables of the README')
    parser.add_argument('--quick', action='store_true',
                        help='tiny sizes, to see that everything runs')
    command_line.add_device_argument(parser)
    return parser.parse_args()


def parse_parts(text):
    names = text.split(',')
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(
                'there is no part {!r}, only {}'.format(
                    name, ', '.join(PARTS)))
    return [name for name in PARTS if name in names]


class Bench:
    """What the parts share: settings, materials, and what to tell.

    Attributes:
        missing (dict): peer to a sentence that says why it is not compared
            with.
        pools (dict): what computes in the peers, to their names.
    """

    def __init__(self, args, folder):
        self.batch = 2 if args.quick else args.batch
        self.rounds = 1 if args.quick else args.rounds
        self.threads, self.limit = args.threads, args.limit
        self.quick, self.device = args.quick, args.device
        self.materials = materials.Materials(
            folder, args.clips, args.quick,
            n_cached=4 if args.quick else max(32, args.batch))
        self.missing, self.pools = {}, {}

    def grid(self, peers, sizes, argument, rounds=None):
        """:func:`benchmarks.measure.grid` with the settings of this run."""
        return measure.grid(peers, sizes, argument, rounds or self.rounds,
                            self.limit, warm_up=not self.quick and not rounds)

    def note_missing(self, peer, error):
        self.missing.setdefault(peer, '{}: {}'.format(peer, error))

    def note_pools(self, peer):
        for pool in peer.pools:
            peers = self.pools.setdefault(pool, [])
            if peer.name not in peers:
                peers.append(peer.name)


def main():
    args = parse_arguments()
    if args.threads > n_cores():
        raise ImpressionError(
            '--threads {}: this process may use {} cores only'.format(
                args.threads, n_cores()))
    if args.out:
        make_folder(args.out)
    with tempfile.TemporaryDirectory(prefix='benchmark-') as folder:
        result = measure_parts(args, Bench(args, folder))
    forms = {'json': json.dumps(result, indent=2) + '\n',
             'md': report.to_markdown(result)}
    if args.out:
        for extension, text in forms.items():
            path = os.path.join(args.out, 'benchmark.' + extension)
            with replace_when_done(path, encoding='utf-8') as file:
                file.write(text)
        report.plot(result, os.path.join(args.out, 'growth.png'))
    if args.json or args.markdown:
        print(forms['json' if args.json else 'md'], end='')
    else:
        print(report.to_text(result))


def measure_parts(args, bench):
    """Measure what was asked for.

    Returns:
        dict: ``machine``, ``conditions`` (sentences), ``parts`` (each with
        ``part``, ``title``, ``rows``, ``growth``), ``missing``.
    """
    load = os.getloadavg()[0]
    # First of all, for a clip that cannot be read is found out by it.
    conditions = [bench.materials.description]
    parts = []
    with command_line.Progress(len(args.only), 'parts', 'measuring') as bar:
        for name in args.only:
            title, part = PARTS[name]
            bar.say('measuring: {}'.format(title))
            rows, growth = part(bench)
            parts.append({'part': name, 'title': title, 'rows': rows,
                          'growth': growth})
            bar.advance()
    conditions.append(
        'load of the machine {:.1f} before and {:.1f} after{}'.format(
            load, os.getloadavg()[0],
            '; it was busy, so absolute times mean little, and peers whose '
            'threads wait for one another (OpenMP, OpenBLAS: PyTorch, stock '
            'Chainer) lose more than the others'
            if load > 0.5 * bench.threads else ''))
    conditions += ['{} loaded in {}'.format(pool, ', '.join(peers))
                   for pool, peers in bench.pools.items()]
    if bench.quick:
        conditions.append('--quick: sizes too small to mean anything')
    return {'machine': report.machine(bench.threads),
            'conditions': conditions, 'parts': parts,
            'missing': bench.missing}


if __name__ == '__main__':
    command_line.run(main)
