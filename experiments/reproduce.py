"""Everything that the paper reports, in order, and one page that shows it.

Baselines; the challenge model, Table 1; Table 2 on the test clips; five
networks for one trait each and the recurrent network, Table 3; Figures 1 and
2; the timing. At the end OUT/report.html shows all of it beside the paper's
numbers, for a reader without the code.

Given the data set, as cached clips with their labels, the schedule is the
paper's. Without it, demo clips are drawn first and the schedule is scaled down
to minutes on 2 cores; the report says so.

A step is skipped where its result is there and still matches its inputs. The
command can be stopped at any moment, killed too: typed again, it goes on. A
step whose settings or inputs have changed is begun anew, and what it had made
is moved to OUT/superseded.
"""

import argparse
import os

import train_rnn  # the script beside this one, for its defaults
from chainer_impression import command_line, training, training_arguments
from chainer_impression.datasets.clip_cache import cached_clips
from chainer_impression.environment import describe_environment
from chainer_impression.errors import ImpressionError
from chainer_impression.report.page import write_report
from chainer_impression.report.sources import Sources
from chainer_impression.steps import Step, Steps
from chainer_impression.traits import TABLE_TRAITS
from data_prep import demo_scale

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: The settings that an option leaves open: (the paper's, for demo clips).
SCHEDULE = {
    'batchsize': (training.BATCH_SIZE, demo_scale.BATCH_SIZE),
    'epoch': (training.N_EPOCHS, demo_scale.N_EPOCHS),
    'stage_length': (training.STAGE_LENGTH, demo_scale.STAGE_LENGTH),
    'trait_epoch': (training.N_EPOCHS, demo_scale.LAST_TRAIT_EPOCH),
    'rnn_epoch': (train_rnn.N_EPOCHS, train_rnn.N_EPOCHS),
    'rnn_stage_length': (train_rnn.STAGE_LENGTH, train_rnn.STAGE_LENGTH),
}

#: Epochs between snapshots: (of days of training, of minutes).
SNAPSHOT_EVERY = (1, 5)


def parse_arguments():
    at_least = command_line.at_least
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter)
    for split in ('train', 'validation'):
        parser.add_argument(
            '--' + split, nargs=2, metavar=('CACHE', 'LABELS'),
            help='cached {} clips (data_prep.cache_clips makes them) and '
                 'their labels, CSV or pickle (default: demo clips)'.format(
                     split))
    parser.add_argument(
        '--test', nargs='+', metavar=('CACHE', 'LABELS'),
        help='cached test clips and, where there are any, their labels '
             '(default: demo clips, or no Table 2)')
    training_arguments.add_allow_unmatched(parser)
    parser.add_argument('--out', '-o', default='reproduction', metavar='OUT',
                        help='folder for all results and the report')
    help_of = '{} (default: {}, and {} for demo clips)'
    for name, short, what in (
            ('batchsize', ['-b'], 'examples in a mini-batch'),
            ('epoch', ['-e'], 'epochs of the challenge model'),
            ('stage_length', [], 'epochs after which alpha is divided by 10'),
            ('trait_epoch', [], 'the last epoch of the networks for one '
                                'trait, which begin after the first stage'),
            ('rnn_epoch', [], 'epochs of the recurrent network'),
            ('rnn_stage_length', [], 'epochs after which its alpha is divided '
                                     'by 10')):
        parser.add_argument(
            '--' + name.replace('_', '-'), *short, type=at_least(1),
            metavar='N', help=help_of.format(what, *SCHEDULE[name]),
            default=argparse.SUPPRESS)
    parser.add_argument('--seed', type=at_least(0), default=0, metavar='N',
                        help='of every training')
    parser.add_argument('--loaderjob', '-j', type=at_least(1), default=2,
                        metavar='N', help='threads that load examples')
    command_line.add_device_argument(parser)
    args = parser.parse_args()
    if args.test and len(args.test) > 2:
        parser.error('argument --test: takes CACHE and, where there are any, '
                     'LABELS, nothing else')
    return check(args)


def check(args):
    """Fill in what was left open, and refuse what cannot come to an end."""
    args.demo = not (args.train or args.validation or args.test)
    if not args.demo and not (args.train and args.validation):
        raise ImpressionError(
            'give both --train CACHE LABELS and --validation CACHE LABELS, or '
            'no clips at all for the demo clips')
    for name, defaults in SCHEDULE.items():
        if not hasattr(args, name):
            setattr(args, name, defaults[args.demo])
    if not args.stage_length < min(args.epoch, args.trait_epoch):
        raise ImpressionError(
            '--epoch {} and --trait-epoch {} must be above --stage-length {}, '
            'for the networks for one trait begin after the first stage'
            .format(args.epoch, args.trait_epoch, args.stage_length))
    # Now, rather than after days of training.
    command_line.open_device(args.device)
    if not args.demo:
        labelled = ['train', 'validation']
        if args.test:
            cached_clips(args.test[0])
            labelled += ['test'] * (len(args.test) > 1)
        training_arguments.read_splits(args, *labelled)
    return args


def script(name, *arguments):
    """The arguments of Python that run an experiment."""
    path = os.path.relpath(os.path.join(ROOT, 'experiments', name))
    return (path, *map(str, arguments))


def data_steps(args):
    """The demo clips and their caches; the splits are set to them."""
    def at(*names):
        return os.path.join(args.out, *names)
    draw, *caches = demo_scale.data_commands(at('clips'), at('cache'))
    steps = [Step('clips', 'Demo clips', draw, at('clips'),
                  outputs=(at('clips'),))]
    for split, command in zip(demo_scale.SPLITS, caches):
        cache = at('cache', split)
        steps.append(Step(
            'cache-' + split, 'Cache of the {} clips'.format(split), command,
            cache, (at('clips', split),), (cache,)))
        setattr(args, split, [cache, demo_scale.labels_of(at('clips'),
                                                          split)])
    return steps


def experiment_steps(args):
    """What the paper reports.

    Args:
        args: with ``train``, ``validation``, ``test`` (or None) and settings.

    Returns:
        list of Step: each after those whose outputs it reads.
    """
    def at(*names):
        return os.path.join(args.out, *names)
    splits = ('--train', *args.train, '--validation', *args.validation)
    labels = ('--train', args.train[1], '--validation', args.validation[1])
    data = (*args.train, *args.validation)
    unmatched = ('--allow-unmatched',) * args.allow_unmatched
    schedule = ('--batchsize', args.batchsize, '--stage-length',
                args.stage_length, '--seed', args.seed, *unmatched)
    device = ('--device', args.device)
    snapshots = ('--snapshot-every', str(SNAPSHOT_EVERY[args.demo]))
    loading = (*device, '--loaderjob', str(args.loaderjob), *snapshots)
    predictions = 'predictions-epoch-{}.csv'.format
    weights = at('challenge', 'model.npz')
    first_stage = at('challenge', 'snapshot-epoch-{}.npz'.format(
        args.stage_length))
    dnn = at('challenge', predictions(args.epoch))
    five_dnn = at('traits', predictions(args.trait_epoch))
    rnn = at('rnn', 'run')
    dnn_rnn = os.path.join(rnn, predictions(args.rnn_epoch))
    features = at('rnn', 'features')

    steps = [
        Step('baselines', 'Baselines',
             script('baselines.py', *labels, '--json'), at('baselines'),
             labels[1::2], (at('baselines', 'baselines.json'),),
             prints=at('baselines', 'baselines.json')),
        Step('challenge', 'Challenge model, Table 1',
             script('train_challenge.py', *splits, '--epoch', args.epoch,
                    *schedule, '--out', at('challenge')), at('challenge'),
             data, (dnn, weights, first_stage, *results_of(at('challenge')),
                    at('challenge', 'table1.json')), extra=loading)]
    if args.test:
        table = (at('test', 'table2.json'),) if len(args.test) > 1 else ()
        steps.append(Step(
            'test', 'Test clips, Table 2',
            script('evaluate_test.py', '--test', *args.test, '--weights',
                   weights, '--train', args.train[1], *unmatched,
                   '--out', at('test')), at('test'),
            (*args.test, weights, args.train[1]),
            (at('test', 'predictions.csv'), *table), extra=device))
    return steps + [
        Step('traits', '5 × DNN',
             script('finetune_traits.py', *splits, '--weights', first_stage,
                    '--from-epoch', args.stage_length, '--epoch',
                    args.trait_epoch, *schedule, '--out', at('traits')),
             at('traits'), (*data, first_stage),
             (five_dnn, at('traits', 'settings.json'), *(
                 at('traits', trait, 'log.json') for trait in TABLE_TRAITS)),
             extra=loading),
        Step('rnn', 'DNN + RNN',
             script('train_rnn.py', *splits, '--weights', weights,
                    '--features', features, '--epoch', args.rnn_epoch,
                    '--batchsize', args.batchsize, '--stage-length',
                    args.rnn_stage_length, '--seed', args.seed, *unmatched,
                    '--out', rnn),
             at('rnn'), (*data, weights), (dnn_rnn, *results_of(rnn)),
             extra=(*device, *snapshots)),
        Step('table3', 'Table 3',
             script('table3.py', *labels, '--dnn', dnn, '--five-dnn', five_dnn,
                    '--dnn-rnn', dnn_rnn, '--out', at('table3')), at('table3'),
             (*labels[1::2], dnn, five_dnn, dnn_rnn),
             (at('table3', 'table3.json'),)),
        Step('figure1', 'Figure 1',
             script('plot_architecture.py', '--out',
                    at('figure1', 'figure1.svg')), at('figure1'),
             outputs=(at('figure1', 'figure1.svg'),)),
        Step('figure2', 'Figure 2',
             script('plot_examples.py', '--predictions', dnn, '--cache',
                    args.validation[0], '--labels', args.validation[1],
                    '--out', at('figure2', 'figure2.png')), at('figure2'),
             (dnn, *args.validation), (at('figure2', 'figure2.png'),)),
        Step('timing', 'Timing',
             script('benchmark.py', '--only', 'device', *device, '--out',
                    at('timing')), at('timing'),
             outputs=(at('timing', 'benchmark.json'),)),
    ]


def results_of(folder):
    """What the report reads of every training."""
    return (os.path.join(folder, 'log.json'),
            os.path.join(folder, 'settings.json'))


def sources(args, steps):
    """Where the report finds what the steps made."""
    def at(*names):
        return os.path.join(args.out, *names)
    done = {step.name for step in steps}
    labelled = 'test' in done and len(args.test) > 1
    return Sources(
        demo=args.demo,
        baselines=at('baselines', 'baselines.json'),
        table1=at('challenge', 'table1.json'),
        table2=at('test', 'table2.json') if labelled else None,
        table3=at('table3', 'table3.json'),
        figure1=at('figure1', 'figure1.svg'),
        figure2=at('figure2', 'figure2.png'),
        timing=at('timing', 'benchmark.json'),
        logs={'Challenge model': at('challenge', 'log.json'),
              'DNN + RNN': at('rnn', 'run', 'log.json'),
              **{'5 × DNN: ' + trait: at('traits', trait, 'log.json')
                 for trait in TABLE_TRAITS}},
        settings={'Challenge model': at('challenge', 'settings.json'),
                  '5 × DNN': at('traits', 'settings.json'),
                  'DNN + RNN': at('rnn', 'run', 'settings.json')})


def main():
    args = parse_arguments()
    environment = describe_environment()
    with Steps(args.out, ROOT, environment) as runner:
        steps = data_steps(args) if args.demo else []
        steps += experiment_steps(args)
        runner.run(steps)
        path = os.path.join(args.out, 'report.html')
        write_report(path, sources(args, steps), [
            (step, runner.records[step.name]) for step in steps])
    print('\n{}: open it in a browser'.format(path))


if __name__ == '__main__':
    command_line.run(main)
