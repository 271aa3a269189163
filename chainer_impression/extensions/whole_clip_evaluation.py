"""Validation on whole clips, as the paper tests (P 2.3)."""

import os

import chainer
import numpy
from chainer.training import extension

from chainer_impression.datasets.labels import write_csv
from chainer_impression.engines import make_engine
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations.accuracy import accuracy
from chainer_impression.evaluations.table1 import predictions_path
from chainer_impression.prediction import predict_clips
from chainer_impression.traits import TRAITS


class WholeClipEvaluation(extension.Extension):
    """Predicts whole validation clips and reports their accuracy.

    Each clip's prediction is written to a CSV in the challenge's own format,
    ``predictions-epoch-E.csv`` in the Trainer's folder, from which tables are
    computed. Reports

    - ``validation/accuracy``: 1 - mean absolute error over clips and traits,
    - ``validation/accuracy/TRAIT`` for each of the traits.

    Args:
        clips: a :class:`~chainer_impression.datasets.clip_dataset.WholeClips`.
        labels (dict): clip name to (n_traits,); it has each of the clips.
        make_engine: called with the model; gives what predicts with it, see
            :func:`chainer_impression.engines.make_engine`.
        traits: the traits that the model predicts, in its order.

    Raises:
        ImpressionError: a resumed run lacks the predictions of an epoch
            before its snapshot, from which its tables are to be computed.
    """

    trigger = 1, 'epoch'
    default_name = 'validation'
    # Before LogReport, which has the default, 100.
    priority = chainer.training.PRIORITY_WRITER

    def __init__(self, clips, labels, make_engine=make_engine, traits=TRAITS):
        self._clips = clips
        self._labels = labels
        self._make_engine = make_engine
        self._traits = traits

    def initialize(self, trainer):
        for entry in trainer.get_extension('LogReport').log:
            path = predictions_path(trainer.out, entry['epoch'])
            if 'validation/accuracy' in entry and not os.path.exists(path):
                raise ImpressionError(
                    '{}: is missing, and the snapshot is of a later epoch; '
                    'copy it from the folder of the run that made it, or '
                    'begin in another --out'.format(path))

    def __call__(self, trainer):
        model = trainer.updater.get_optimizer('main').target
        predictions = self.predict(model)
        write_csv(predictions_path(trainer.out, trainer.updater.epoch),
                  predictions, self._traits)
        names = list(predictions)
        average, *of_traits = accuracy(
            numpy.array([predictions[name] for name in names]),
            numpy.array([self._labels[name] for name in names]))
        chainer.report({'validation/accuracy': average})
        chainer.report({'validation/accuracy/' + trait: value
                        for trait, value in zip(self._traits, of_traits)})

    def predict(self, model):
        """The model's prediction for each clip.

        Returns:
            dict: clip name to float32 (n_traits,).
        """
        return predict_clips(
            self._make_engine(model), self._clips, 'validating')


class FeatureEvaluation(WholeClipEvaluation):
    """The same for a recurrent network, from features of whole clips.

    Args:
        features (dict): clip name to float32 (n_time_points, n_features).
        labels (dict): clip name to (5,); it has each of the clips.
    """

    def __init__(self, features, labels):
        super().__init__(features, labels)

    def predict(self, model):
        return {name: model.predict(features)
                for name, features in self._clips.items()}

