"""Results of every experiment, made up: what a report can be built from."""

import json

import numpy

from chainer_impression.datasets.labels import write_csv
from chainer_impression.evaluations import table1, table2, table3, tables
from chainer_impression.evaluations.baselines import Baselines, seen_videos
from chainer_impression.figures import canvas
from chainer_impression.report.sources import Sources
from chainer_impression.steps import Step
from chainer_impression.traits import TRAITS

SCHEDULE = {'batchsize': 10, 'epoch': 45, 'stage-length': 15, 'alpha': 0.0002,
            'weight-decay': 0.0, 'seed': 0, 'validate-every': None}


def split(n, prefix, seed):
    """Labels of n clips: clip name to (5,)."""
    random = numpy.random.RandomState(seed)
    return {'{}{}.00{}.mp4'.format(prefix, i, seed): values
            for i, values in enumerate(random.uniform(.2, .8, (n, 5)))}


def make(folder, clip_name=None, environment=None, test_labels=True):
    """Write results into a folder.

    Args:
        folder (pathlib.Path): an empty folder.
        clip_name (str): a name, for a step's command and a setting.
        environment (dict): what the steps ran in.
        test_labels (bool): whether there is a Table 2.

    Returns:
        tuple: ``Sources``, and pairs of a step and its record.
    """
    train = split(30, 'a', 0)
    validation = {**split(6, 'a', 1), **split(6, 'b', 1)}
    test = split(6, 'c', 2)
    random = numpy.random.RandomState(3)

    def predict(name, labels):
        path = folder / name
        write_csv(path, {clip: numpy.clip(values + random.normal(0, .1, 5),
                                          0, 1)
                         for clip, values in labels.items()})
        return str(path)
    for epoch in (15, 30, 45):
        predict('predictions-epoch-{}.csv'.format(epoch), validation)
    table1.write(str(folder), [15, 30, 45], train, validation)
    table2.write(str(folder), predict('test.csv', test), test, train)
    table3.write(str(folder), {
        model: predict(model.replace(' ', '') + '.csv', validation)
        for model in (table3.DNN, table3.FIVE_DNN, table3.DNN_RNN)},
        train, validation)

    baselines = Baselines(train)
    seen = seen_videos(validation, train)
    _dump(folder / 'baselines.json', {
        'training clips': len(train), 'validation clips': len(validation),
        'validation clips of seen videos': int(seen.sum()),
        'shrinkage': baselines.shrinkage, 'rows': [
            tables.row(name, values, list(validation.values()), seen)
            for name, values in baselines.predictions(validation).items()]})
    _dump(folder / 'settings.json', {
        'experiment': 'challenge', **SCHEDULE,
        'train': clip_name or '30 clips'})
    _dump(folder / 'log.json', [{
        'epoch': e, 'main/accuracy': .8 + e / 400,
        'alpha': 2e-4 / (1 + e // 3),
        **({'validation/accuracy': .85} if e % 3 == 2 else {})}
        for e in range(9)])
    _dump(folder / 'benchmark.json', {
        'conditions': ['a drawn clip'], 'parts': [{
            'title': 'The paper\'s timing', 'rows': [{
                'what': 'a training example', 'value': 51.2, 'low': 50,
                'high': 53, 'unit': 'ms', 'note': 'batches of 10'}]}]})
    for name in ('figure1.svg', 'figure2.png'):
        canvas.save(canvas.new_figure(2, 1), str(folder / name))

    def at(name):
        return str(folder / name)
    step = Step('challenge', 'Challenge model', (
        'experiments/train_challenge.py', '--train', clip_name or 'cache'),
        str(folder))
    record = {'seconds': 12.3, 'environment': environment or {
        'python': '3.12', 'processor': 'a'}}
    return Sources(
        demo=True, baselines=at('baselines.json'), table1=at('table1.json'),
        table2=at('table2.json') if test_labels else None,
        table3=at('table3.json'), figure1=at('figure1.svg'),
        figure2=at('figure2.png'), timing=at('benchmark.json'),
        logs={title: at('log.json') for title in (
            'Challenge model', 'DNN + RNN', *TRAITS)},
        settings={title: at('settings.json') for title in (
            'Challenge model', '5 × DNN', 'DNN + RNN')}), [(step, record)]


def _dump(path, value):
    path.write_text(json.dumps(value), encoding='utf-8')
