"""Table 1 of the paper, from the predictions that a run has written."""

import os

from chainer_impression.evaluations.paper_results import TABLE_1
from chainer_impression.evaluations.paper_table import PaperTable

_TITLE = 'Table 1: validation accuracy of the challenge model'


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
    table = PaperTable(_TITLE, 'epoch', validation_labels, training_labels)
    paper_epochs = list(TABLE_1) if len(epochs) == len(TABLE_1) else epochs
    for epoch, paper_epoch in zip(epochs, paper_epochs):
        table.add(epoch, predictions_path(folder, epoch),
                  TABLE_1.get(paper_epoch))
    return table.write(folder, 'table1')
