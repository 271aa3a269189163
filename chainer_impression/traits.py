"""The Big Five personality traits and the two orders they are written in."""

#: Order of the network's output and of the challenge's label files.
TRAITS = (
    'extraversion',
    'agreeableness',
    'conscientiousness',
    'neuroticism',
    'openness',
)

#: Order of the columns of the paper's tables (P, tables 1 to 3).
TABLE_TRAITS = (
    'openness',
    'agreeableness',
    'conscientiousness',
    'neuroticism',
    'extraversion',
)

#: Goes wherever a person reads a value of neuroticism. In the data set's
#: labels neuroticism correlates with extraversion at +0.80: annotators were
#: asked for its opposite, emotional stability, and the column kept its name.
NEUROTICISM_NOTE = (
    'neuroticism is labelled the other way round in the challenge\'s data: '
    'a high value means emotionally stable'
)


def in_table_order(values):
    """Reorder values from the network's order to that of the paper's tables.

    Args:
        values: sequence of five values in the order of :data:`TRAITS`.

    Returns:
        list: the same values in the order of :data:`TABLE_TRAITS`.
    """
    by_trait = dict(zip(TRAITS, values, strict=True))
    return [by_trait[trait] for trait in TABLE_TRAITS]
