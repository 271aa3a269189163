"""Tables of accuracy in the paper's columns and order (P, section 3).

A row is a dictionary that JSON can hold; the forms that people read, Markdown,
CSV and plain text, are made from the same rows.
"""

import csv
import io
import math

import numpy

from chainer_impression.evaluations.accuracy import (
    bootstrap_interval, clip_accuracies)
from chainer_impression.traits import TABLE_TRAITS, TRAITS

#: The columns of the paper's tables.
COLUMNS = ('average', *TABLE_TRAITS)
_ORDER = [0, *(1 + TRAITS.index(trait) for trait in TABLE_TRAITS)]

_DIGITS = '{:.6f}'  # as in the paper


def row(name, predictions, labels, seen, paper=None):
    """One row of a table.

    Args:
        name: what the first column says.
        predictions: (n_clips, 5) in the network's order.
        labels: (n_clips, 5) in the network's order.
        seen: bool (n_clips,), whether the clip's video gave training clips.
        paper: the paper's six numbers, in the order of :data:`COLUMNS`.

    Returns:
        dict: ``name``, ``clips``; ``accuracy``, ``low``, ``high`` (bootstrap
        95% interval over clips), ``seen``, ``unseen`` (accuracy on these
        clips, None where there are none), and ``paper`` and ``difference``
        (ours - paper's) where it was given: each a dictionary from column to
        number.
    """
    accuracies = clip_accuracies(predictions, labels)[:, _ORDER]
    seen = numpy.asarray(seen, bool)
    interval = bootstrap_interval(accuracies)
    result = {
        'name': name,
        'clips': len(accuracies),
        'seen clips': int(seen.sum()),
        'unseen clips': int((~seen).sum()),
        'accuracy': _by_column(accuracies.mean(axis=0)),
        'low': _by_column(interval[:, 0]),
        'high': _by_column(interval[:, 1]),
        'seen': _mean_by_column(accuracies[seen]),
        'unseen': _mean_by_column(accuracies[~seen]),
    }
    if paper is not None:
        result['paper'] = _by_column(paper)
        result['difference'] = _by_column(
            accuracies.mean(axis=0) - numpy.array(paper))
    return result


def _mean_by_column(accuracies):
    return _by_column(accuracies.mean(axis=0) if len(accuracies) else
                      [math.nan] * len(COLUMNS))


def _by_column(values):
    # JSON has no NaN.
    return {column: None if math.isnan(value) else float(value)
            for column, value in zip(COLUMNS, values, strict=True)}


def _lines(rows):
    """Each row as the lines that people read: (name, kind, six texts)."""
    for r in rows:
        yield r['name'], 'accuracy', _texts(r['accuracy'])
        yield '', '95% interval', [
            '–' if low is None else '{:.4f}–{:.4f}'.format(low, high)
            for low, high in zip(r['low'].values(), r['high'].values())]
        if 'paper' in r:
            yield '', 'paper', _texts(r['paper'])
            yield '', 'difference', _texts(r['difference'], '{:+.6f}')
        for part in ('seen', 'unseen'):
            yield '', '{} videos ({} clips)'.format(
                part, r[part + ' clips']), _texts(r[part])


def _texts(by_column, form=_DIGITS):
    return ['–' if by_column[c] is None else form.format(by_column[c])
            for c in COLUMNS]


def to_markdown(rows, first_column):
    """The table in Markdown."""
    lines = ['| {} | | {} |'.format(first_column, ' | '.join(COLUMNS)),
             '|' + ' --- |' * (2 + len(COLUMNS))]
    lines += ['| {} | {} | {} |'.format(name, kind, ' | '.join(texts))
              for name, kind, texts in _lines(rows)]
    return '\n'.join(lines) + '\n'


def to_text(rows, first_column):
    """The table for a terminal."""
    table = [(first_column, '', *COLUMNS)]
    table += [(str(name), kind, *texts) for name, kind, texts in _lines(rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    return '\n'.join(
        '  '.join([line[0].ljust(widths[0]), line[1].ljust(widths[1]),
                   *(text.rjust(width) for text, width in
                     zip(line[2:], widths[2:]))]).rstrip()
        for line in table)


def to_csv(rows, first_column):
    """The table as CSV: one line for each row and kind of number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow([first_column, 'kind', *COLUMNS])
    for r in rows:
        for kind in ('accuracy', 'low', 'high', 'paper', 'difference', 'seen',
                     'unseen'):
            if kind in r:
                writer.writerow([r['name'], kind, *(
                    '' if v is None else repr(v) for v in r[kind].values())])
    return file.getvalue()
