"""A snapshot that knows which run it is of."""

import json

from chainer.serializer import Serializer
from chainer.training import extension

from chainer_impression.errors import ImpressionError
from chainer_impression.run_folder import first_difference


class RunSettings(extension.Extension):
    """Keeps the settings of the run in its snapshots, and compares them.

    A snapshot of a run with another seed or alpha has arrays of the same
    shapes; going on from it would give what no single run gives. Does nothing
    while the Trainer runs. Reports nothing.

    Args:
        settings (dict): everything that the results depend on.
    """

    default_name = 'RunSettings'
    priority = extension.PRIORITY_READER

    def __init__(self, settings):
        self._settings = settings

    @staticmethod
    def trigger(trainer):
        return False

    def serialize(self, serializer):
        """Save the settings, or compare them.

        Raises:
            ImpressionError: the snapshot is of a run with other settings.
        """
        if isinstance(serializer, Serializer):
            serializer('settings', json.dumps(self._settings))
            return
        difference = first_difference(
            json.loads(serializer('settings', '')), self._settings)
        if difference:
            raise ImpressionError(
                'is a snapshot of another run, in which {}'.format(difference))
