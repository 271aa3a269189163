"""Figure 2 of the paper: clips, and a bar for each of their predicted traits.
"""

from typing import NamedTuple

import numpy

from chainer_impression.errors import ImpressionError
from chainer_impression.figures.canvas import (
    FAINT, INK, SOUND, new_figure, printable)
from chainer_impression.traits import (
    NEUROTICISM_NOTE, TABLE_TRAITS, in_table_order)

BAR = '#7fa8d6'

#: Clips in the paper's figure.
N_EXAMPLES = 5

#: How clips are chosen that nobody names; goes below the figure.
RULE = ('Clips: those at equal distances in the order of their mean predicted '
        'trait, from the lowest to the highest.')


class Example(NamedTuple):
    """A clip of the figure."""

    name: str
    frame: numpy.ndarray        # uint8 (height, width, 3), RGB
    prediction: numpy.ndarray   # (5,), in the network's order
    label: numpy.ndarray        # the same, or None where it is not known


def choose_clips(predictions, n=N_EXAMPLES):
    """Choose clips that are spread over what was predicted.

    Args:
        predictions (dict): clip name to (5,).
        n (int): how many; all if there are fewer.

    Returns:
        list of str: names, from the lowest mean predicted trait to the
        highest, at equal distances in that order.
    """
    # By name where the means are equal, so that the choice is always the same.
    names = sorted(predictions,
                   key=lambda name: (numpy.mean(predictions[name]), name))
    places = numpy.linspace(0, len(names) - 1, min(n, len(names)))
    return [names[int(round(place))] for place in places]


def check_clips(names, predictions, source):
    """Refuse names of clips that were not predicted, or named twice.

    Raises:
        ImpressionError: there are such.
    """
    for name in names:
        if name not in predictions:
            raise ImpressionError(
                '{}: holds no prediction for a clip named {}; its clips are '
                'named like {}'.format(source, name, min(predictions)))
        if names.count(name) > 1:
            raise ImpressionError('{} is named twice'.format(name))


def draw_examples(examples, note=''):
    """Draw thumbnails, and below each a bar for each trait.

    Args:
        examples (list of Example): the clips, from left to right.
        note (str): goes below the figure.

    Returns:
        matplotlib.figure.Figure
    """
    figure = new_figure(0.4 + 2.3 * len(examples) + 1.0, 3.9,
                        layout='constrained')
    grid = figure.subplots(2, len(examples), squeeze=False,
                           height_ratios=[1.3, 1.6])
    for i, (example, (picture, bars)) in enumerate(zip(examples, grid.T)):
        # Every pixel as it is; the viewer scales.
        picture.imshow(example.frame, interpolation='none')
        picture.set_axis_off()
        # A name may hold a dollar sign, which would begin a formula.
        picture.set_title(printable(example.name), fontsize=9, color=INK,
                          parse_math=False)
        _draw_bars(bars, example, names=i == 0)
    labelled = any(example.label is not None for example in examples)
    figure.legend(*_legend(labelled), loc='outside upper center', ncols=2,
                  fontsize=9, frameon=False)
    figure.supxlabel('\n'.join(filter(None, [
        'Note: {}.'.format(NEUROTICISM_NOTE), note])), fontsize=8.5,
        color=FAINT, parse_math=False)
    return figure


def _draw_bars(axes, example, names):
    places = numpy.arange(len(TABLE_TRAITS))
    values = in_table_order(example.prediction)
    axes.barh(places, values, height=0.62, color=BAR)
    for place, value in zip(places, values):
        axes.text(1.03, place, '{:.2f}'.format(value), va='center_baseline',
                  fontsize=8, color=INK)
    if example.label is not None:
        axes.scatter(in_table_order(example.label), places, marker='D', s=26,
                     color=SOUND, edgecolor='white', linewidth=0.8, zorder=3,
                     clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ['0', '0.5', '1'], fontsize=8)
    axes.set_yticks(places, [
        trait + ('\n(high: stable)' if trait == 'neuroticism' else '')
        for trait in TABLE_TRAITS] if names else [''] * len(places),
        fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)


def _legend(labelled):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    handles = {'predicted': Patch(color=BAR)}
    if labelled:
        handles['label'] = Line2D([], [], linestyle='', marker='D',
                                  color=SOUND)
    return list(handles.values()), list(handles)
