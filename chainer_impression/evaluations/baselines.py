"""What labels alone achieve, without a look at a clip.

The data set cut each video into up to six clips, and most validation clips
come from a video that gave training clips as well. A predictor that knows
nothing but which video a clip is from is therefore a strong one, and the
accuracy of a network has to be read beside it.
"""

import numpy
import scipy.optimize

from chainer_impression.datasets.labels import video_of


def seen_videos(names, training_names):
    """Which clips come from a video that gave training clips.

    Args:
        names: n names of clips.
        training_names: names of the training clips.

    Returns:
        numpy.ndarray: bool (n,).
    """
    videos = {video_of(name) for name in training_names}
    return numpy.array([video_of(name) in videos for name in names], bool)


class Baselines:
    """Predictors that were fitted to the training labels.

    Args:
        training (dict): clip name to (5,) labels.

    Attributes:
        shrinkage (float): the factor of the shrunken video mean, chosen on
            the training labels alone: 0 is the training mean, 1 the plain
            mean of the video.
    """

    def __init__(self, training):
        self._names = list(training)
        labels = numpy.array([training[name] for name in self._names])
        self.mean = labels.mean(axis=0)
        self.median = numpy.median(labels, axis=0)
        self._by_video = {}
        for name, label in zip(self._names, labels):
            self._by_video.setdefault(video_of(name), []).append(label)
        self._video_means = {
            video: numpy.mean(of_video, axis=0)
            for video, of_video in self._by_video.items()}
        self.shrinkage = self._choose_shrinkage()

    def predictions(self, names):
        """The prediction of each baseline for each clip.

        Args:
            names: n names of clips.

        Returns:
            dict: name of the baseline to float64 (n, 5).
        """
        names = list(names)
        means = numpy.array([self._video_means.get(video_of(name), self.mean)
                             for name in names])
        return {
            'training mean': numpy.tile(self.mean, (len(names), 1)),
            'training median': numpy.tile(self.median, (len(names), 1)),
            'video mean': means,
            'shrunken video mean':
                self.mean + self.shrinkage * (means - self.mean),
        }

    def _choose_shrinkage(self):
        """The factor that predicts each training clip best from the others.

        Each training clip of a video with several is predicted from the other
        ones (leave one out). No validation label is looked at.
        """
        targets, others = [], []
        for of_video in self._by_video.values():
            if len(of_video) > 1:
                of_video = numpy.array(of_video)
                targets.append(of_video)
                others.append((of_video.sum(axis=0) - of_video)
                              / (len(of_video) - 1))
        if not targets:
            return 0.0
        targets = numpy.concatenate(targets)
        others = numpy.concatenate(others)

        def error(factor):
            guess = self.mean + factor * (others - self.mean)
            return abs(guess - targets).mean()
        return float(scipy.optimize.minimize_scalar(
            error, bounds=(0, 1), method='bounded').x)
