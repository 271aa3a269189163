"""Learning curves of several trainings side by side, drawn from their logs."""

from chainer_impression.figures.canvas import (
    FAINT, INK, PICTURE, SOUND, new_figure, printable)

_COLUMNS = 4


def draw_learning_curves(logs):
    """Draw accuracy over the epochs, a panel for each training.

    Args:
        logs (dict): title to the list of entries that LogReport keeps.

    Returns:
        matplotlib.figure.Figure
    """
    n_columns = min(_COLUMNS, len(logs))
    n_rows = -(-len(logs) // n_columns)
    figure = new_figure(0.3 + 2.8 * n_columns, 0.4 + 2.3 * n_rows,
                        layout='constrained')
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (title, log) in zip(panels, logs.items()):
        _draw(axes, title, log)
    for axes in panels[len(logs):]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=3,
                  fontsize=9, frameon=False)
    figure.supxlabel('epoch', fontsize=9, color=INK)
    figure.supylabel('accuracy', fontsize=9, color=INK)
    return figure


def _draw(axes, title, log):
    for key, label, style in (
            ('main/accuracy', 'training crops',
             dict(color=PICTURE, linewidth=1)),
            ('validation/accuracy', 'validation, whole clips',
             dict(color=SOUND, linewidth=1, marker='o', markersize=5))):
        points = [(entry['epoch'], entry[key]) for entry in log
                  if entry.get(key) is not None]
        if points:
            axes.plot(*zip(*points), label=label, **style)
    steps = [before['epoch'] + 0.5 for before, after in zip(log, log[1:])
             if before.get('alpha') != after.get('alpha')]
    for i, step in enumerate(steps):
        axes.axvline(step, color=FAINT, linewidth=0.8, linestyle=':',
                     label='alpha divided by 10' if i == 0 else None)
    axes.set_title(printable(title), fontsize=9.5, color=INK,
                   parse_math=False)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis='y', nbins=5)
    axes.locator_params(axis='x', nbins=6, integer=True)
    axes.grid(alpha=0.25)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
