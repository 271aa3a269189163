"""What all figures share: they draw without a display and save the same."""

import os

from chainer_impression.errors import ImpressionError
from chainer_impression.files import replace_when_done

#: What a figure can be saved as, and what keeps the day out of the file: the
#: same figure is the same file.
FORMATS = {
    'png': {},
    'svg': {'Date': None},
    'pdf': {'CreationDate': None},
}
DOTS_PER_INCH = 160

# Two colours that also differ in print and to the colour-blind.
SOUND, PICTURE = '#b35c00', '#1f5fa8'
SOUND_FILL, PICTURE_FILL = '#fdf0e1', '#e8f1fb'
INK, FAINT = '#1c1c1c', '#6b6b6b'


def new_figure(width, height, **options):
    """An empty figure.

    The object-oriented interface of Matplotlib works without a display and
    leaves pyplot's global state alone.

    Args:
        width (float): inches.
        height (float): inches.
        options: what else goes to :class:`matplotlib.figure.Figure`.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), facecolor='white', **options)
    FigureCanvasAgg(figure)
    return figure


def format_of(path):
    """The format that a file's extension asks for.

    Raises:
        ImpressionError: it is none of :data:`FORMATS`.
    """
    extension = os.path.splitext(path)[1].removeprefix('.').lower()
    if extension not in FORMATS:
        raise ImpressionError(
            '{}: a figure is saved as one of {}; give it such an ending'
            .format(path, ', '.join('.' + name for name in FORMATS)))
    return extension


def save(figure, path):
    """Save a figure in the format of the file's extension.

    Args:
        figure (matplotlib.figure.Figure): the figure.
        path: the file; it is replaced when the new one is complete.

    Raises:
        ImpressionError: the extension is unknown, or the file cannot be
            written.
    """
    extension = format_of(path)
    with replace_when_done(path, 'wb') as file:
        save_as(figure, file, extension)


def save_as(figure, file, extension):
    """Write a figure in one of :data:`FORMATS` into an open file."""
    import matplotlib
    # The ids in an SVG are drawn at random unless they are salted.
    with matplotlib.rc_context({'svg.hashsalt': 'figure'}):
        figure.savefig(file, format=extension, dpi=DOTS_PER_INCH,
                       metadata=FORMATS[extension])


def printable(name):
    """A clip's name as a figure can show it, whatever bytes it is made of."""
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}'
                   for c in name)
