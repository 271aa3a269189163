"""The learning curves, drawn from the log."""

import os

from chainer.training import extension

from chainer_impression.files import replace_when_done


class PlotLog(extension.Extension):
    """Draws loss, accuracy and alpha over the epochs into one picture.

    It is drawn from the log alone, so a resumed run draws the same curves.
    Reports nothing; reads the log of the extension ``LogReport``.

    Args:
        filename (str): the picture, in the Trainer's folder.
    """

    trigger = 1, 'epoch'
    default_name = 'PlotLog'
    # After LogReport, which has the default, 100.
    priority = 40

    def __init__(self, filename='learning-curves.png'):
        self._filename = filename

    def __call__(self, trainer):
        plot_log(trainer.get_extension('LogReport').log,
                 os.path.join(trainer.out, self._filename))


def plot_log(log, path):
    """Draw learning curves.

    Args:
        log (list of dict): what LogReport keeps.
        path: the PNG file to write.
    """
    # The object-oriented interface works without a display and leaves
    # pyplot's global state alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout='constrained')
    FigureCanvasAgg(figure)
    loss, accuracy, alpha = figure.subplots(3, sharex=True)
    _plot(loss, log, 'main/loss', 'training', '-')
    _plot(accuracy, log, 'main/accuracy', 'training', '-')
    _plot(accuracy, log, 'validation/accuracy', 'validation', 'o-')
    _plot(alpha, log, 'alpha', None, '-')
    loss.set_ylabel('mean absolute error')
    accuracy.set_ylabel('accuracy (1 − mean absolute error)')
    accuracy.legend()
    alpha.set_ylabel('alpha of Adam')
    alpha.set_yscale('log')
    alpha.set_xlabel('epoch')
    for axes in (loss, accuracy, alpha):
        axes.grid(alpha=0.3)
    with replace_when_done(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=110)


def _plot(axes, log, key, label, style):
    points = [(entry['epoch'], entry[key]) for entry in log if key in entry]
    if points:
        axes.plot(*zip(*points), style, label=label, markersize=4)
