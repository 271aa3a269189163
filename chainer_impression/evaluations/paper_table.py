"""One of the paper's tables: ours beside the paper's, in every form.

The paper's columns and order, a bootstrap interval for each of our numbers,
the accuracy on clips of seen and of unseen videos, the other metrics, and what
the labels alone achieve. Computed from predictions in files of the challenge's
own format, so that a second script or person can recompute them.
"""

import json
import os

import numpy

from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations import tables
from chainer_impression.evaluations.baselines import Baselines, seen_videos
from chainer_impression.files import replace_when_done
from chainer_impression.traits import NEUROTICISM_NOTE

_EXPLANATION = (
    'Accuracy is 1 - mean absolute error over {} {} clips, with a bootstrap '
    '95% interval over clips.')
_SEEN = (' Seen are the {} clips whose video gave training clips as well, '
         'unseen the {} others.')
_METRICS = 'Other metrics, which the paper does not report'
_BASELINES = 'What the labels alone achieve, without a look at a clip'


class PaperTable:
    """A table to which rows are added, and which is then written.

    Args:
        title (str): what stands above it.
        first_column (str): the head of the column of names.
        labels (dict): clip name to (5,), of the clips that were predicted.
        training_labels (dict): clip name to (5,); None if there are none at
            hand, and then nothing is said of seen videos and of baselines.
        split (str): what the clips are, such as ``'validation'``.
    """

    def __init__(self, title, first_column, labels, training_labels=None,
                 split='validation'):
        self.title = title
        self._first_column = first_column
        self._names = sorted(labels)
        self._labels = numpy.array([labels[name] for name in self._names])
        self._training_labels = training_labels
        self._seen = None if training_labels is None else \
            seen_videos(self._names, training_labels)
        self._split = split
        self.rows = []

    def add(self, name, path, paper=None):
        """Add the row that a file of predictions makes.

        Args:
            name: what the first column says.
            path: predictions for exactly the table's clips.
            paper: the paper's six numbers, average first.

        Raises:
            ImpressionError: the predictions cannot be read, or are for other
                clips.
        """
        predictions = read_labels(path)
        if sorted(predictions) != self._names:
            raise ImpressionError(
                '{}: holds predictions for other clips than those of the {} '
                'labels'.format(path, self._split))
        self.rows.append(tables.row(
            name, [predictions[clip] for clip in self._names], self._labels,
            self._seen, paper))

    def add_paper(self, name, paper):
        """Add a row of the paper that nothing of ours goes with."""
        self.rows.append(tables.paper_row(name, paper))

    def write(self, folder, stem):
        """Write the table as Markdown, CSV and JSON.

        Args:
            folder: where ``STEM.md``, ``STEM.csv`` and ``STEM.json`` go.
            stem (str): how the three files begin.

        Returns:
            str: the table for a terminal.

        Raises:
            ImpressionError: the folder cannot be written.
        """
        shrinkage, baselines = self._baselines()
        for extension, text in (
                ('md', self._markdown(baselines)),
                ('csv', tables.to_csv(self.rows + baselines, 'row')),
                ('json', json.dumps({
                    'title': self.title, 'note': NEUROTICISM_NOTE,
                    'rows': self.rows, 'baselines': baselines,
                    'shrinkage': shrinkage}, indent=2) + '\n')):
            path = os.path.join(folder, '{}.{}'.format(stem, extension))
            with replace_when_done(path, encoding='utf-8', newline='') as file:
                file.write(text)
        return self._text(baselines)

    def _baselines(self):
        if self._training_labels is None:
            return None, []
        baselines = Baselines(self._training_labels)
        return baselines.shrinkage, [
            tables.row(name, values, self._labels, self._seen)
            for name, values in baselines.predictions(self._names).items()]

    def _explanation(self):
        text = _EXPLANATION.format(len(self._names), self._split)
        if self._seen is not None:
            text += _SEEN.format(self._seen.sum(), (~self._seen).sum())
        return text

    def _markdown(self, baselines):
        first = self._first_column
        parts = ['# ' + self.title, '', self._explanation(), '',
                 tables.to_markdown(self.rows, first)]
        if baselines:
            parts += ['## ' + _BASELINES, '',
                      tables.to_markdown(baselines, 'predictor')]
        parts += ['## ' + _METRICS, '',
                  tables.metrics_to_markdown(self.rows + baselines, first),
                  'Note: {}.'.format(NEUROTICISM_NOTE), '']
        return '\n'.join(parts)

    def _text(self, baselines):
        first = self._first_column
        parts = ['', self.title, tables.to_text(self.rows, first), '',
                 self._explanation(), '']
        if baselines:
            parts += [_BASELINES, tables.to_text(baselines, 'predictor'), '']
        parts += [_METRICS,
                  tables.metrics_to_text(self.rows + baselines, first), '',
                  'Note: {}.'.format(NEUROTICISM_NOTE)]
        return '\n'.join(parts)
