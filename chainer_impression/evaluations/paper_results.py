"""The numbers that the paper reports, each with its section.

Columns: the average over the traits, then the traits in the order of
:data:`chainer_impression.traits.TABLE_TRAITS`.
"""

#: Table 1: validation accuracy of the challenge model, by epoch. The average
#: of the first row is the mean of its five numbers.
TABLE_1 = {
    300: (0.906461, 0.905451, 0.911128, 0.902121, 0.907886, 0.905721),
    600: (0.911929, 0.911924, 0.915610, 0.911717, 0.909891, 0.910503),
    900: (0.912132, 0.911983, 0.915466, 0.913077, 0.909705, 0.910429),
}
