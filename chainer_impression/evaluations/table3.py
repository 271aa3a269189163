"""Table 3 of the paper, from the predictions of its three models."""

from chainer_impression.evaluations.paper_results import TABLE_3
from chainer_impression.evaluations.paper_table import PaperTable

_TITLE = 'Table 3: validation accuracy of the models after the challenge'

DNN, FIVE_DNN, DNN_RNN = TABLE_3


def write(folder, predictions, training_labels, validation_labels):
    """Compute the table from predictions and write it in three forms.

    ``table3.md``, ``table3.csv`` and ``table3.json`` are written into the
    folder.

    Args:
        folder: where the table goes.
        predictions (dict): model, :data:`DNN`, :data:`FIVE_DNN` or
            :data:`DNN_RNN`, to the path of its predictions for the validation
            clips. A model that is left out has the paper's numbers only.
        training_labels (dict): clip name to (5,).
        validation_labels (dict): clip name to (5,).

    Returns:
        str: the table for a terminal.

    Raises:
        ImpressionError: the predictions do not fit the labels.
    """
    table = PaperTable(_TITLE, 'model', validation_labels, training_labels)
    for model, paper in TABLE_3.items():
        if model in predictions:
            table.add(model, predictions[model], paper)
        else:
            table.add_paper(model, paper)
    return table.write(folder, 'table3')
