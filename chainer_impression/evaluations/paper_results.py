"""The numbers that the paper reports (P, section 3), each with its table.

Columns: the average over the traits, then the traits in the order of
:data:`chainer_impression.traits.TABLE_TRAITS`.
"""

#: Clips of the data set (P, section 3).
N_CLIPS = {'training': 6000, 'validation': 2000, 'test': 2000}

#: Table 1: validation accuracy of the challenge model, by epoch. The average
#: of the first row is the mean of its five numbers.
TABLE_1 = {
    300: (0.906461, 0.905451, 0.911128, 0.902121, 0.907886, 0.905721),
    600: (0.911929, 0.911924, 0.915610, 0.911717, 0.909891, 0.910503),
    900: (0.912132, 0.911983, 0.915466, 0.913077, 0.909705, 0.910429),
}

#: Table 2: test accuracy by rank in the challenge. Rank 3 is this network,
#: after 900 epochs.
TABLE_2 = {
    1: (0.912968, 0.912378, 0.912571, 0.916637, 0.909963, 0.913291),
    2: (0.912063, 0.911677, 0.911867, 0.911854, 0.909917, 0.914997),
    3: (0.910933, 0.911085, 0.910192, 0.913777, 0.908900, 0.910708),
    10: (0.875889, 0.870261, 0.884236, 0.872709, 0.875266, 0.876972),
}

#: This network's rank in the challenge.
OUR_RANK = 3

#: Table 3: validation accuracy of the models that were built after the
#: challenge, beside the challenge model (DNN).
TABLE_3 = {
    'DNN':
        (0.912132, 0.911983, 0.915466, 0.913077, 0.909705, 0.910429),
    '5 x DNN':
        (0.911987, 0.911522, 0.915413, 0.913211, 0.909062, 0.910727),
    'DNN + RNN':
        (0.912158, 0.911676, 0.915761, 0.913300, 0.909056, 0.910996),
}

#: Timing on one chip of a Tesla K80: one training example, and one validation
#: or test clip.
SECONDS_PER_TRAINING_EXAMPLE = 0.050
SECONDS_PER_CLIP = 2.7
