"""Validation accuracy: one minus the mean absolute error (P, section 3)."""

import numpy
import scipy.stats

#: Resamplings of the bootstrap, and the seed that makes it repeatable.
_N_RESAMPLES = 2000
_SEED = 0

CONFIDENCE = 0.95


def clip_accuracies(predictions, labels):
    """Accuracy of each prediction.

    Args:
        predictions: (n_clips, n_traits) in [0, 1].
        labels: the same shape.

    Returns:
        numpy.ndarray: float64 (n_clips, 1 + n_traits), 1 - |error|: the
        average over the traits first, then each trait.

    Raises:
        ValueError: the shapes differ, there is no clip, or a value is not
            finite.
    """
    predictions = numpy.asarray(predictions, numpy.float64)
    labels = numpy.asarray(labels, numpy.float64)
    if predictions.shape != labels.shape or predictions.ndim != 2 \
            or predictions.size == 0:
        raise ValueError('predictions {} do not go with labels {}'.format(
            predictions.shape, labels.shape))
    accuracies = 1 - abs(predictions - labels)
    if not numpy.isfinite(accuracies).all():
        raise ValueError('predictions or labels are not finite')
    return numpy.hstack([accuracies.mean(axis=1, keepdims=True), accuracies])


def accuracy(predictions, labels):
    """1 - mean absolute error.

    Args:
        predictions: (n_clips, n_traits).
        labels: the same shape.

    Returns:
        numpy.ndarray: float64 (1 + n_traits,): the average over the traits
        first, then each trait.
    """
    return clip_accuracies(predictions, labels).mean(axis=0)


def bootstrap_interval(accuracies):
    """Where the mean accuracy would lie for other clips of the same kind.

    Args:
        accuracies: float (n_clips, n_columns), see :func:`clip_accuracies`.

    Returns:
        numpy.ndarray: float64 (n_columns, 2), the ends of the 95% percentile
        interval of a bootstrap over clips. NaN for fewer than two clips.
    """
    accuracies = numpy.asarray(accuracies)
    if len(accuracies) < 2:
        return numpy.full((accuracies.shape[1], 2), numpy.nan)
    # Resampled in small batches: all at once would take gigabytes.
    interval = scipy.stats.bootstrap(
        (accuracies,), numpy.mean, n_resamples=_N_RESAMPLES, batch=50,
        confidence_level=CONFIDENCE, method='percentile', axis=0,
        random_state=numpy.random.RandomState(_SEED)).confidence_interval
    return numpy.stack([interval.low, interval.high], axis=1)
