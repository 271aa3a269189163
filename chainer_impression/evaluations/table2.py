"""Table 2 of the paper, from predictions for the test clips."""

from chainer_impression.evaluations.paper_results import OUR_RANK, TABLE_2
from chainer_impression.evaluations.paper_table import PaperTable

_TITLE = 'Table 2: test accuracy of the best of the challenge'


def write(folder, predictions, labels, training_labels=None):
    """Compute the table from predictions and write it in three forms.

    ``table2.md``, ``table2.csv`` and ``table2.json`` are written into the
    folder. Ours stands beside rank 3, which is the paper's network; ranks 1, 2
    and 10 are the paper's alone.

    Args:
        folder: where the table goes.
        predictions: path of predictions for the test clips.
        labels (dict): clip name to (5,), of the test clips.
        training_labels (dict): clip name to (5,), or None.

    Returns:
        str: the table for a terminal.

    Raises:
        ImpressionError: the predictions do not fit the labels.
    """
    table = PaperTable(_TITLE, 'rank', labels, training_labels, 'test')
    for rank, paper in TABLE_2.items():
        if rank == OUR_RANK:
            table.add('{} (this network)'.format(rank), predictions, paper)
        else:
            table.add_paper(rank, paper)
    return table.write(folder, 'table2')
