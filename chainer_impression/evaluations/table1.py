"""Table 1 of the paper, from the predictions that a run has written."""

import json
import os

import numpy

from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations import tables
from chainer_impression.evaluations.baselines import Baselines, seen_videos
from chainer_impression.evaluations.paper_results import TABLE_1
from chainer_impression.files import replace_when_done
from chainer_impression.traits import NEUROTICISM_NOTE

_TITLE = 'Table 1: validation accuracy of the challenge model'
_EXPLANATION = (
    'Accuracy is 1 - mean absolute error over {clips} validation clips, with '
    'a bootstrap 95% interval over clips. Seen are the {seen} clips whose '
    'video gave training clips as well, unseen the {unseen} others.')
_BASELINES = 'What the labels alone achieve, without a look at a clip'


def predictions_path(folder, epoch):
    """Where a run keeps its validation predictions of an epoch."""
    return os.path.join(folder, 'predictions-epoch-{}.csv'.format(epoch))


def write(folder, epochs, training_labels, validation_labels):
    """Compute the table from a run's predictions and write it in three forms.

    ``table1.md``, ``table1.csv`` and ``table1.json`` are written into the
    folder.

    Args:
        folder: the folder of the run.
        epochs (list of int): the epochs, a row each. Three of them are set
            beside the paper's three, whatever their numbers are.
        training_labels (dict): clip name to (5,).
        validation_labels (dict): clip name to (5,).

    Returns:
        str: the table for a terminal.

    Raises:
        ImpressionError: predictions are missing or do not fit the labels.
    """
    names = sorted(validation_labels)
    labels = numpy.array([validation_labels[name] for name in names])
    seen = seen_videos(names, training_labels)
    paper_epochs = list(TABLE_1) if len(epochs) == len(TABLE_1) else epochs
    rows = []
    for epoch, paper_epoch in zip(epochs, paper_epochs):
        path = predictions_path(folder, epoch)
        predictions = read_labels(path)
        if predictions.keys() != validation_labels.keys():
            raise ImpressionError(
                '{}: holds predictions for other clips than those of the '
                'validation labels'.format(path))
        rows.append(tables.row(
            epoch, [predictions[name] for name in names], labels, seen,
            TABLE_1.get(paper_epoch)))
    baselines = Baselines(training_labels)
    baseline_rows = [tables.row(name, values, labels, seen) for name, values
                     in baselines.predictions(names).items()]
    explanation = _EXPLANATION.format(
        clips=len(names), seen=int(seen.sum()), unseen=int((~seen).sum()))
    note = 'Note: {}.'.format(NEUROTICISM_NOTE)
    forms = {
        'md': '\n'.join([
            '# ' + _TITLE, '', explanation, '',
            tables.to_markdown(rows, 'epoch'), '## ' + _BASELINES, '',
            tables.to_markdown(baseline_rows, 'predictor'), note, '']),
        'csv': tables.to_csv(rows + baseline_rows, 'row'),
        'json': json.dumps({
            'title': _TITLE, 'note': NEUROTICISM_NOTE, 'rows': rows,
            'baselines': baseline_rows,
            'shrinkage': baselines.shrinkage}, indent=2) + '\n',
    }
    for extension, text in forms.items():
        path = os.path.join(folder, 'table1.' + extension)
        with replace_when_done(path, encoding='utf-8', newline='') as file:
            file.write(text)
    return '\n'.join([
        '', _TITLE, tables.to_text(rows, 'epoch'), '', explanation, '',
        _BASELINES, tables.to_text(baseline_rows, 'predictor'), '', note])
