"""A voice for a drawn person: syllables, vowels, breath, as an array of sound.

Speech comes in two steps. :func:`utter` says when the mouth opens, how far and
for which vowel; it knows no cue, because the picture follows it as well.
:func:`voice` turns that into sound, and the cues of the sound go in there.
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import butter, sosfilt

SAMPLE_RATE = 44100       # Hz, as in the clips of the data set
CONTROL_RATE = 200        # Hz, how often pitch, vowel and loudness may turn
TOP_HARMONIC = 4500.0     # Hz, the ceiling of the voiced sound
ROOM_TONE = 10 ** (-66 / 20)   # full scale = 1; no room is silent

# First three resonances (Hz) of five vowels of an adult voice, after
# Peterson and Barney's averages (1952), rounded.
VOWELS = np.array([
    (730, 1190, 2500),    # a
    (550, 1850, 2500),    # e
    (310, 2300, 3000),    # i
    (570, 900, 2450),     # o
    (330, 950, 2300),     # u
], dtype=np.float64)
BANDWIDTHS = np.array((90.0, 120.0, 180.0))  # Hz


class Speaker(NamedTuple):
    """What stays the same in every clip of a video and means nothing."""

    pace: float           # syllables in a second
    tract: float          # length of the vocal tract, as a factor of frequency
    melody: float         # semitones that the pitch wanders within a phrase
    balance: float        # left against right channel, -1 … 1, small


class Utterance(NamedTuple):
    """Speech as the mouth makes it, sampled CONTROL_RATE times a second."""

    opening: np.ndarray   # float64 (n,), 0 closed … 1 wide open
    vowel: np.ndarray     # float64 (n, 3), resonances in Hz
    melody: np.ndarray    # float64 (n,), semitones around the speaker's pitch


def draw_speaker(rng):
    """Draw the meaningless part of a voice (see :class:`Speaker`)."""
    return Speaker(
        pace=rng.uniform(3.8, 5.2),
        tract=rng.uniform(0.96, 1.04),
        melody=rng.uniform(0.6, 1.4),
        balance=rng.uniform(-0.1, 0.1))


def utter(speaker, seconds, rng):
    """Phrases of a few syllables with a breath between them.

    Args:
        speaker (Speaker): whose pace and melody it is.
        seconds (float): length, in seconds.
        rng (numpy.random.Generator): source of the chance.

    Returns:
        Utterance: of ``ceil(seconds * CONTROL_RATE) + 1`` points.
    """
    n_points = int(np.ceil(seconds * CONTROL_RATE)) + 1
    time = np.arange(n_points) / CONTROL_RATE
    opening = np.zeros(n_points)
    melody = np.zeros(n_points)
    vowel = np.tile(VOWELS[0], (n_points, 1))

    # A clip is cut out of running speech: it may start within a phrase.
    now = -rng.uniform(0.0, 0.3)
    while now < seconds:
        n_syllables = int(rng.integers(4, 9))
        for i in range(n_syllables):
            length = rng.uniform(0.8, 1.2) / speaker.pace
            inside = (time >= now) & (time < now + length)
            phase = (time[inside] - now) / length
            width = rng.uniform(0.65, 1.0)
            opening[inside] = width * np.sin(np.pi * phase) ** 0.7
            vowel[inside] = VOWELS[rng.integers(len(VOWELS))]
            # Phrases fall towards their end; each syllable has an accent.
            fall = 1.5 - 3.0 * (i + phase) / n_syllables
            melody[inside] = speaker.melody * (fall + rng.uniform(-1, 1))
            now += length
        now += rng.uniform(0.12, 0.30)

    # The tongue and the vocal cords move gradually: about 50 ms.
    kernel = np.hanning(13)
    kernel /= kernel.sum()

    def smooth(values):
        return np.convolve(np.pad(values, 6, mode='edge'), kernel, 'valid')

    return Utterance(
        opening,
        np.stack([smooth(column) for column in vowel.T], axis=1),
        smooth(melody))


def voice(speaker, utterance, cues, seconds, rng):
    """The sound of an utterance.

    Args:
        speaker (Speaker): whose voice it is.
        utterance (Utterance): what is said, at least ``seconds`` long.
        cues (dict): ``pitch`` in Hz, ``tilt`` of the voiced spectrum in dB
            per octave, ``breath`` in dB relative to the voiced sound,
            ``loudness`` in dB relative to full scale (root mean square of the
            clip); see :mod:`data_prep.demo_cues`.
        seconds (float): length, in seconds.
        rng (numpy.random.Generator): source of the noise.

    Returns:
        numpy.ndarray: float32 ``(n_samples, 2)`` in (-1, 1), 44,100 Hz.
    """
    n_samples = int(round(seconds * SAMPLE_RATE))
    sample_time = np.arange(n_samples) / SAMPLE_RATE
    control_time = np.arange(len(utterance.opening)) / CONTROL_RATE

    pitch = cues['pitch'] * 2.0 ** (utterance.melody / 12.0)
    # A deep voice comes from a long vocal tract, as in people.
    tract = speaker.tract * (cues['pitch'] / 160.0) ** 0.4
    resonances = utterance.vowel * tract

    opening = np.interp(sample_time, control_time, utterance.opening)
    voiced = opening * _harmonics(
        pitch, resonances, cues['tilt'], control_time, sample_time, rng)
    noise = sosfilt(_breath_filter(), rng.standard_normal(n_samples))
    # Breath goes on softly where the mouth is shut between two phrases.
    noise *= 0.15 + 0.85 * opening

    breath = 10 ** (cues['breath'] / 20)
    sound = voiced / _rms(voiced) + breath * noise / _rms(noise)
    sound *= 10 ** (cues['loudness'] / 20) / _rms(sound)
    sound = np.tanh(sound)   # a loud vowel bends before it clips

    sides = np.array((1 + speaker.balance, 1 - speaker.balance))
    stereo = sound[:, None] * sides
    stereo += ROOM_TONE * rng.standard_normal(stereo.shape)
    return np.clip(stereo, -0.999, 0.999).astype(np.float32)


def _harmonics(pitch, resonances, tilt, control_time, sample_time, rng):
    """Voiced sound, a sum of harmonics: float64 (n_samples,), of any level."""
    cycles = np.cumsum(np.interp(sample_time, control_time, pitch))
    phase = 2 * np.pi / SAMPLE_RATE * cycles
    n_harmonics = max(1, int(TOP_HARMONIC / pitch.max()))
    # Each starts anywhere in its cycle, so that no peak towers.
    start = rng.uniform(0, 2 * np.pi, n_harmonics)
    sound = np.zeros(len(sample_time))
    for k in range(1, n_harmonics + 1):
        frequency = k * pitch
        detune = (frequency[:, None] - resonances) / BANDWIDTHS
        gain = 0.03 + 1 / (1 + detune ** 2) @ np.array((1.0, 0.6, 0.35))
        gain *= (frequency / 500.0) ** (tilt / 6.02)
        gain = np.interp(sample_time, control_time, gain)
        sound += gain * np.sin(k * phase + start[k - 1])
    return sound


def _breath_filter():
    """Air through teeth: 3 to 7.5 kHz, within what is left at 16 kHz."""
    return butter(
        2, (3000, 7500), btype='bandpass', fs=SAMPLE_RATE, output='sos')


def _rms(sound):
    return float(np.sqrt(np.mean(np.square(sound)))) + 1e-12
