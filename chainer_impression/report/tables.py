"""The tables of the page, from the rows of the results.

Groups of lines that share a name: what a row of the paper's table became, in
:mod:`chainer_impression.evaluations.tables`.
"""

from typing import NamedTuple

from chainer_impression.evaluations.metrics import METRICS
from chainer_impression.evaluations.tables import COLUMNS

#: Marks a difference that is none.
WITHIN = '≈'
_NOTHING = '–'


class Line(NamedTuple):
    """A line of a table."""

    kind: str    # what its numbers are
    cells: list  # of str, one for each of the columns
    style: str   # a class of the style sheet


class Group(NamedTuple):
    """The lines of one row of the paper's table."""

    name: str
    lines: list


class Table(NamedTuple):
    """A table of the page."""

    caption: str
    first_column: str
    columns: tuple
    groups: list


def beside_paper(caption, first_column, rows):
    """Ours, its interval, the paper's number and the difference."""
    groups = []
    for row in rows:
        lines = []
        if 'accuracy' in row:
            lines += [Line('ours', _cells(row['accuracy']), 'ours'),
                      Line('95% interval', _intervals(row), 'faint')]
        if 'paper' in row:
            lines.append(Line('paper', _cells(row['paper']), 'paper'))
        if 'difference' in row:
            lines.append(Line('difference', _differences(row), 'difference'))
        groups.append(Group(str(row['name']), lines))
    return Table(caption, first_column, COLUMNS, groups)


def of_metrics(caption, first_column, rows):
    """The metrics that the paper does not report."""
    return Table(caption, first_column, COLUMNS, [
        Group(str(row['name']), [
            Line(title, _cells(row[key], '{:.4f}'), '')
            for key, title in METRICS.items()])
        for row in rows if all(key in row for key in METRICS)])


def of_baselines(caption, rows):
    """Accuracies of predictors that the paper knows nothing of."""
    return Table(caption, 'predictor', COLUMNS, [
        Group(str(row['name']), [
            Line('accuracy', _cells(row['accuracy']), 'ours'),
            Line('95% interval', _intervals(row), 'faint')])
        for row in rows])


def of_seen_videos(caption, rows):
    """Accuracy on the clips of seen and of unseen videos."""
    return Table(caption, 'predictor', COLUMNS, [
        Group(str(row['name']), [
            Line('all {}'.format(row['clips']), _cells(row['accuracy']), ''),
            *(Line('{} {}'.format(row[part + ' clips'], part),
                   _cells(row[part]), part) for part in ('seen', 'unseen'))])
        for row in rows if 'seen' in row])


def _cells(by_column, form='{:.6f}'):
    # Rounded first and zero added, lest there be a -0.0000.
    return [_NOTHING if by_column[column] is None
            else form.format(round(by_column[column], 6) + 0.).replace(
                '-', '\u2212') for column in COLUMNS]


def _intervals(row):
    return [_NOTHING if row['low'][column] is None
            else '{:.4f}–{:.4f}'.format(row['low'][column],
                                        row['high'][column])
            for column in COLUMNS]


def _differences(row):
    cells = _cells(row['difference'], '{:+.6f}')
    return [cell + ('\u00a0' + WITHIN if is_within(row, column) else '')
            for cell, column in zip(cells, COLUMNS)]


def is_within(row, column='average'):
    """Whether the paper's number lies in our interval."""
    return row['low'][column] is not None and \
        row['low'][column] <= row['paper'][column] <= row['high'][column]
