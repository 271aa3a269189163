"""Metrics that later papers on the data set report, beside the accuracy.

The challenge ranked by accuracy alone, 1 - mean absolute error
(:mod:`chainer_impression.evaluations.accuracy`). Later work also gives the
coefficient of determination and correlations, which, unlike the accuracy, tell
a predictor from one that always says the mean.
"""

import math
import warnings

import numpy

#: Key of a table's row, and what people read.
METRICS = {
    'r2': 'R2',
    'pearson': 'Pearson correlation',
    'concordance': 'concordance correlation',
}


def metrics(predictions, labels):
    """R2, Pearson and concordance correlation of each trait.

    Args:
        predictions: (n_clips, n_traits).
        labels: the same shape.

    Returns:
        dict: a key of :data:`METRICS` to float64 (1 + n_traits,): the mean
        over the traits first, as those papers average, then each trait.
        ``r2`` is scikit-learn's coefficient of determination (0 for the mean
        of the labels), ``pearson`` SciPy's, ``concordance`` Lin's
        coefficient of 1989 as audmetric has it. NaN where a metric is not
        defined: fewer than two clips, labels that do not vary, and for
        ``pearson`` predictions that do not vary.
    """
    # Importing scikit-learn takes a second, which --help need not wait for.
    import audmetric
    import scipy.stats
    import sklearn.metrics

    predictions = numpy.asarray(predictions, numpy.float64)
    labels = numpy.asarray(labels, numpy.float64)
    columns = list(zip(predictions.T, labels.T, strict=True))
    if len(labels) < 2:
        columns = [(numpy.full(2, math.nan),) * 2] * len(columns)
    functions = {
        'r2': lambda p, t: sklearn.metrics.r2_score(
            t, p, force_finite=False),
        'pearson': lambda p, t: scipy.stats.pearsonr(p, t).statistic,
        'concordance': lambda p, t: audmetric.concordance_cc(t, p),
    }
    with warnings.catch_warnings():
        # SciPy warns of constant predictions, for which NaN says it all.
        warnings.simplefilter('ignore')
        of_traits = {name: [_of_trait(function, *column)
                            for column in columns]
                     for name, function in functions.items()}
    return {name: numpy.array([numpy.mean(values), *values])
            for name, values in of_traits.items()}


def _of_trait(function, predictions, labels):
    if not numpy.ptp(labels) > 0:
        return math.nan
    return float(function(predictions, labels))
