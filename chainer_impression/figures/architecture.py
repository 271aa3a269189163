"""Figure 1 of the paper: the architecture, as the network itself has it.

Nothing of the network is written here: an example goes through it, and what it
applies on the way is drawn, stage by stage, both streams side by side.
"""

from typing import NamedTuple

import numpy

from chainer_impression.datasets.clip_dataset import AUDIO_CROP, CROP
from chainer_impression.figures.canvas import (
    FAINT, INK, PICTURE, PICTURE_FILL, SOUND, SOUND_FILL, new_figure)
from chainer_impression.figures.network_trace import trace

#: How the streams' links are called in the network, and what people read.
_STREAMS = {
    'aud': ('Auditory stream', SOUND, SOUND_FILL),
    'vis': ('Visual stream', PICTURE, PICTURE_FILL),
}
#: Chainer's names of functions, in words.
_WORDS = {
    'FixedBatchNormalization': 'batch norm',
    'BatchNormalization': 'batch norm',
    'Mean': 'global average pooling',
    'Concat': 'concatenation',
    'LinearFunction': 'fully connected',
    'Tanh': 'tanh',
    '_ + 1': '+ 1',
    '_ * 0.5': '÷ 2',
}


class Stage(NamedTuple):
    """A block of a stream, or what comes after both."""

    name: str           # res3a
    main: list          # of list of Operation: a convolution and what follows
    shortcut: list      # of Operation; empty where it is the identity
    joined: list        # of Operation: the sum and what follows, if any
    input: tuple        # shape without the batch
    output: tuple       # the same
    n_parameters: int


class Architecture(NamedTuple):
    """A network, read off a run of it."""

    streams: dict       # 'aud', 'vis' to a list of Stage
    head: list          # of Operation: what follows both streams
    n_parameters: dict  # 'aud', 'vis', 'fc' and '' for all


def read_architecture(model, n_samples=AUDIO_CROP, side=CROP):
    """Run a silent, black example through a network and read it off.

    Args:
        model (chainer_impression.AudiovisualStream): the network.
        n_samples (int): samples of audio, 16 kHz.
        side (int): pixels of each side of the frame.

    Returns:
        Architecture
    """
    operations = trace(
        model, numpy.zeros((1, 1, 1, n_samples), numpy.float32),
        numpy.zeros((1, 3, side, side), numpy.float32))
    return Architecture(
        {stream: _read_stream(model, stream, operations)
         for stream in _STREAMS},
        [o for o in operations if o.path.split('/')[0] not in _STREAMS],
        {path.lstrip('/'): link.count_params()
         for path, link in model.namedlinks() if path.count('/') < 2})


def _read_stream(model, stream, operations):
    """The stages of a stream: its children, then what it does itself."""
    stages = []
    link = getattr(model, stream)
    for block in link.children():
        path = '{}/{}'.format(stream, block.name)
        of_block = [o for o in operations
                    if o.path == path or o.path.startswith(path + '/')]
        stages.append(_read_block(
            block.name.removesuffix('_relu'), of_block, block.count_params()))
    pooled = [o for o in operations if o.path == stream]
    stages.append(Stage('', [pooled], [], [], pooled[0].input,
                        pooled[-1].output, 0))
    return stages


def _read_block(name, operations, n_parameters):
    main, shortcut, joined = [], [], []
    for o in operations:
        if o.path.endswith('branch1'):  # R: what lies on the shortcut
            shortcut.append(o)
        elif joined or o.label == '_ + _':
            joined.append(o)
        elif o.ksize:
            main.append([o])
        else:
            main[-1].append(o)
    return Stage(name, main, shortcut, joined, operations[0].input,
                 operations[-1].output, n_parameters)


# --- in words ----------------------------------------------------------------

def by(sizes):
    """Sizes as people write them, such as 57 × 57."""
    return ' × '.join(map(str, sizes))


def in_words(operation):
    """An operation with its kernel and stride, such as 3 × 3 conv, 64, …"""
    if not operation.ksize:
        return _WORDS.get(operation.label, operation.label)
    pooling = operation.label.startswith('MaxPooling')
    words = by(operation.ksize) + (
        ' max pooling' if pooling else ' conv, {}'.format(operation.output[0]))
    if any(s > 1 for s in operation.stride):
        words += ', stride {}'.format(by(operation.stride))
    return words


# --- drawing -----------------------------------------------------------------
# One unit is an inch; y points down.

_WIDTH = 10.4
_COLUMN = 4.7       # width of a stream
_LEFT, _RIGHT = 0.25, _WIDTH - 0.25 - _COLUMN
_INNER = 3.3        # width of the boxes inside a residual block
_LINE = 0.19        # height of a line of text
_GAP = 0.36         # between two boxes: an arrow and a shape
_PAD = 0.09
_FONT = 8.5         # points


def draw_architecture(architecture):
    """Draw the architecture.

    Args:
        architecture (Architecture): what was read off a network.

    Returns:
        matplotlib.figure.Figure
    """
    rows = list(zip(*architecture.streams.values(), strict=True))
    heights = [max(map(_height, row)) for row in rows]
    top = 1.25
    joined_at = top + sum(heights) + _GAP * len(rows) + 0.32
    height = joined_at + 2 * (_LINE * 2 + 2 * _PAD) + 2 * _GAP + 0.55

    figure = new_figure(_WIDTH, height)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(height, 0)
    axes.axis('off')
    ends = []
    for (stream, stages), left in zip(architecture.streams.items(),
                                      (_LEFT, _RIGHT)):
        title, colour, fill = _STREAMS[stream]
        middle = left + _COLUMN / 2
        _text(axes, middle, 0.32, title, size=12, weight='bold', color=colour)
        _text(axes, middle, 0.55, '{:,} parameters'.format(
            architecture.n_parameters[stream]), color=FAINT)
        _text(axes, middle, 0.85, 'input  ' + by(stages[0].input))
        y = top
        _arrow(axes, middle, 0.96, y)
        for stage, high in zip(stages, heights):
            _draw_stage(axes, stage, left, y, high, colour, fill)
            y += high
            if stage is not stages[-1]:
                _arrow(axes, middle, y, y + _GAP)
                _text(axes, middle + 0.12, y + _GAP / 2, by(stage.output),
                      ha='left')
                y += _GAP
        ends.append((middle, y, stages[-1]))
    _draw_head(axes, architecture, ends, joined_at)
    return figure


def _height(stage):
    """Height that the box of a stage needs."""
    lines = len(stage.main) + bool(stage.joined) + bool(stage.name)
    return lines * _LINE + (len(stage.main) + 1) * _PAD


def _draw_stage(axes, stage, left, y, height, colour, fill):
    _box(axes, left, y, _COLUMN, height, colour, fill)
    if not stage.name:
        _text(axes, left + _COLUMN / 2, y + height / 2,
              ', '.join(in_words(o) for part in stage.main for o in part))
        return
    baseline = y + _PAD + _LINE / 2
    _text(axes, left + 0.12, baseline, stage.name, ha='left', weight='bold',
          color=colour)
    _text(axes, left + _COLUMN - 0.12, baseline,
          '{:,} parameters'.format(stage.n_parameters), ha='right',
          color=FAINT, size=7.5)
    left += 0.12
    width = _INNER if stage.joined else _COLUMN - 0.24
    y += _PAD + _LINE
    first = y
    for part in stage.main:
        words = ', '.join(map(in_words, part))
        if not stage.joined and part is not stage.main[-1]:
            words += '  →  ' + by(part[-1].output)
        _box(axes, left, y, width, _LINE + _PAD / 2, colour, 'white', line=.6)
        _text(axes, left + width / 2, y + (_LINE + _PAD / 2) / 2, words)
        y += _LINE + _PAD
    if stage.joined:
        _draw_shortcut(axes, stage, left, first, y)


def _draw_shortcut(axes, stage, left, first, y):
    """The line around the convolutions, and the sum that it leads to."""
    middle, right = left + _INNER / 2, left + _INNER
    beside, sum_y = left + _COLUMN - 0.36, y + _LINE / 2
    axes.plot([middle, middle], [y - _PAD / 2, sum_y - 0.07], color=INK, lw=.8)
    _text(axes, middle, sum_y, '+', size=11, weight='bold')
    _text(axes, middle - 0.12, sum_y, 'then ' + ', '.join(
        map(in_words, stage.joined[1:])), ha='right')
    axes.plot([right, beside, beside], [first + 0.05, first + 0.05, sum_y],
              color=INK, lw=0.8)
    axes.annotate('', (middle + 0.08, sum_y), (beside, sum_y),
                  arrowprops=dict(arrowstyle='-|>', lw=0.8, color=INK,
                                  shrinkA=0, shrinkB=0, mutation_scale=8))
    lines = [in_words(o) for o in stage.shortcut] or ['identity']
    lines = [piece for line in lines for piece in line.split(', stride')]
    for i, line in enumerate(lines):
        line = 'stride' + line if line.startswith(' ') else line
        _text(axes, beside - 0.08, (first + sum_y) / 2 + 0.02
              + (i - (len(lines) - 1) / 2) * 0.14, line, ha='right', size=7)


def _draw_head(axes, architecture, ends, y):
    """The concatenation of both streams, and what is left of the network."""
    middle = _WIDTH / 2
    concatenation, linear, *scaling = architecture.head
    high = 2 * (_LINE + _PAD)
    for x, end, stage in ends:
        _arrow(axes, x, end, y)
        _text(axes, x + 0.12, (end + y) / 2, by(stage.output), ha='left')
    _box(axes, _LEFT, y, _WIDTH - 2 * _LEFT, _LINE + 2 * _PAD, INK, '#f3f3f3')
    _text(axes, middle, y + _PAD + _LINE / 2, '{} → {}, layer 5'.format(
        in_words(concatenation), by(concatenation.output)))
    y += _LINE + 2 * _PAD
    _arrow(axes, middle, y, y + _GAP)
    _text(axes, middle + 0.12, y + _GAP / 2, by(concatenation.output),
          ha='left')
    y += _GAP
    _box(axes, middle - 2.3, y, 4.6, high, INK, '#f3f3f3')
    _text(axes, middle, y + _PAD + _LINE / 2, '{}, {} → {}  ({:,} parameters)'
          .format(in_words(linear), by(linear.input), by(linear.output),
                  architecture.n_parameters['fc']))
    _text(axes, middle, y + high - _PAD - _LINE / 2, ', '.join(
        map(in_words, scaling)))
    y += high
    _arrow(axes, middle, y, y + _GAP)
    _text(axes, middle + 0.12, y + _GAP / 2, by(linear.output), ha='left')
    _text(axes, middle, y + _GAP + 0.12, 'traits in [0, 1]', weight='bold')
    _text(axes, middle, y + _GAP + 0.36, '{:,} parameters in all'.format(
        architecture.n_parameters['']), color=FAINT)


def _box(axes, x, y, width, height, colour, fill, line=1.2):
    from matplotlib.patches import FancyBboxPatch
    axes.add_patch(FancyBboxPatch(
        (x + 0.05, y + 0.05), width - 0.1, height - 0.1,
        boxstyle='round,pad=0.05,rounding_size=0.06', facecolor=fill,
        edgecolor=colour, linewidth=line))


def _text(axes, x, y, text, size=_FONT, color=INK, ha='center', **options):
    axes.text(x, y, text, size=size, color=color, ha=ha,
              va='center_baseline', **options)


def _arrow(axes, x, top, bottom):
    axes.annotate('', (x, bottom), (x, top), arrowprops=dict(
        arrowstyle='-|>', lw=1, color=INK, shrinkA=0, shrinkB=0,
        mutation_scale=9))
