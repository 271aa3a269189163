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
from chainer_impression.evaluations.metrics import METRICS, metrics
from chainer_impression.traits import TABLE_TRAITS, TRAITS

#: The columns of the paper's tables.
COLUMNS = ('average', *TABLE_TRAITS)
_ORDER = [0, *(1 + TRAITS.index(trait) for trait in TABLE_TRAITS)]

_DIGITS = '{:.6f}'  # as in the paper


def row(name, predictions, labels, seen=None, paper=None):
    """One row of a table.

    Args:
        name: what the first column says.
        predictions: (n_clips, 5) in the network's order.
        labels: (n_clips, 5) in the network's order.
        seen: bool (n_clips,), whether the clip's video gave training clips;
            None if that is not known.
        paper: the paper's six numbers, in the order of :data:`COLUMNS`.

    Returns:
        dict: ``name``, ``clips``; ``accuracy``, ``low``, ``high`` (bootstrap
        95% interval over clips), ``r2``, ``pearson``, ``concordance`` (None
        where they are not defined), ``seen``, ``unseen`` (accuracy on these
        clips, None where there are none) where that is known, and ``paper``
        and ``difference`` (ours - paper's) where it was given: each a
        dictionary from column to number.
    """
    accuracies = clip_accuracies(predictions, labels)[:, _ORDER]
    interval = bootstrap_interval(accuracies)
    result = {
        'name': name,
        'clips': len(accuracies),
        'accuracy': _by_column(accuracies.mean(axis=0)),
        'low': _by_column(interval[:, 0]),
        'high': _by_column(interval[:, 1]),
    }
    for key, values in metrics(predictions, labels).items():
        result[key] = _by_column(values[_ORDER])
    if seen is not None:
        seen = numpy.asarray(seen, bool)
        for part, which in (('seen', seen), ('unseen', ~seen)):
            result[part + ' clips'] = int(which.sum())
            result[part] = _mean_by_column(accuracies[which])
    if paper is not None:
        result['paper'] = _by_column(paper)
        result['difference'] = _by_column(
            accuracies.mean(axis=0) - numpy.array(paper))
    return result


def paper_row(name, paper):
    """A row of the paper that nothing of ours goes with.

    Args:
        name: what the first column says.
        paper: the paper's six numbers, in the order of :data:`COLUMNS`.

    Returns:
        dict: ``name`` and ``paper``, as in :func:`row`.
    """
    return {'name': name, 'paper': _by_column(paper)}


def _mean_by_column(accuracies):
    return _by_column(accuracies.mean(axis=0) if len(accuracies) else
                      [math.nan] * len(COLUMNS))


def _by_column(values):
    # JSON has no NaN.
    return {column: float(value) if math.isfinite(value) else None
            for column, value in zip(COLUMNS, values, strict=True)}


def _lines(rows):
    """Each row as the lines that people read: (name, kind, six texts)."""
    for r in rows:
        lines = []
        if 'accuracy' in r:
            lines.append(('accuracy', _texts(r['accuracy'])))
            lines.append(('95% interval', [
                '–' if low is None else '{:.4f}–{:.4f}'.format(low, high)
                for low, high in zip(r['low'].values(), r['high'].values())]))
        if 'paper' in r:
            lines.append(('paper', _texts(r['paper'])))
        if 'difference' in r:
            lines.append(('difference', _texts(r['difference'], '{:+.6f}')))
        for part in ('seen', 'unseen'):
            if part in r:
                lines.append(('{} videos ({} clips)'.format(
                    part, r[part + ' clips']), _texts(r[part])))
        yield from _named(r['name'], lines)


def _metric_lines(rows):
    for r in rows:
        yield from _named(r['name'], [
            (title, _texts(r[key], '{:.4f}'))
            for key, title in METRICS.items() if key in r])


def _named(name, lines):
    """The first line of a row has its name, the others have none."""
    for kind, texts in lines:
        yield str(name), kind, texts
        name = ''


def _texts(by_column, form=_DIGITS):
    return ['–' if by_column[c] is None else form.format(by_column[c])
            for c in COLUMNS]


def to_markdown(rows, first_column):
    """The table of accuracies in Markdown."""
    return _markdown(_lines(rows), first_column)


def metrics_to_markdown(rows, first_column):
    """The table of the other metrics in Markdown."""
    return _markdown(_metric_lines(rows), first_column)


def _markdown(lines, first_column):
    table = ['| {} | | {} |'.format(first_column, ' | '.join(COLUMNS)),
             '|' + ' --- |' * (2 + len(COLUMNS))]
    table += ['| {} | {} | {} |'.format(name, kind, ' | '.join(texts))
              for name, kind, texts in lines]
    return '\n'.join(table) + '\n'


def to_text(rows, first_column):
    """The table of accuracies for a terminal."""
    return _text(_lines(rows), first_column)


def metrics_to_text(rows, first_column):
    """The table of the other metrics for a terminal."""
    return _text(_metric_lines(rows), first_column)


def _text(lines, first_column):
    table = [(first_column, '', *COLUMNS)]
    table += [(name, kind, *texts) for name, kind, texts in lines]
    widths = [max(map(len, column)) for column in zip(*table)]
    return '\n'.join(
        '  '.join([line[0].ljust(widths[0]), line[1].ljust(widths[1]),
                   *(text.rjust(width) for text, width in
                     zip(line[2:], widths[2:]))]).rstrip()
        for line in table)


def to_csv(rows, first_column):
    """Both tables as CSV: one line for each row and kind of number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow([first_column, 'kind', *COLUMNS])
    for r in rows:
        for kind in ('accuracy', 'low', 'high', 'paper', 'difference', 'seen',
                     'unseen', *METRICS):
            if kind in r:
                writer.writerow([r['name'], kind, *(
                    '' if v is None else repr(v) for v in r[kind].values())])
    return file.getvalue()
