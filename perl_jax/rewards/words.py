"""Words that an answer may or may not carry beside its value."""

import re


def words(text: str) -> frozenset[str]:
    """The words of a text, as a table."""
    return frozenset(text.split())


SCALES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12,
}  # fmt: skip
"""Words that multiply the number before them."""

PICTURE = (
    r"(?:image|picture|photo|photograph|figure|pic|img|fig\.?|snapshot|frame|panel|slide|scan"
    r"|screenshot|drawing|view|scene|sample|x-ray)"
)
"""A pattern for the nouns that name a picture."""

OPTION = r"(?:option|choice|answer)"
"""A pattern for the nouns that name an option."""

ORDINALS = {
    word: number
    for number, words in enumerate(
        ("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th", "sixth 6th",
         "seventh 7th", "eighth 8th", "ninth 9th", "tenth 10th"), 1
    )
    for word in words.split()
}  # fmt: skip

_TO_NINETEEN = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
CARDINALS = {word: number for number, word in enumerate(_TO_NINETEEN.split())} | {
    word: 10 * number for number, word in enumerate(_TENS.split(), 2)
}
"""Words for whole numbers."""

# They end like a plural, but change, doubt or deny the number before them, or count in parts.
_NO_NOUNS = words("""
    plus minus less times perhaps unless besides sometimes always is was has does as this thus
    its yes afterwards otherwise guess others us ours yours hers nevertheless nonetheless
    regardless dozens hundreds thousands millions billions trillions pairs couples scores
    halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths hundredths
    thousandths percents zeros zeroes ones twos threes fours fives sixes sevens eights nines tens
    answers options choices numbers values digits decimals
    equals exceeds makes powers factorials squares cubes roots multiples factors primes doubles
    triples wrongs mistakes errors lies falses negatives opposites inverses reciprocals
    thous lakhs crores grosses myriads quadrillions quintillions googols kilos megas gigas mils
    quadruples quintuples multiplies logs logarithms exponents radicals complements remainders
    negations pluses minuses sums quotients percentages permilles basis tenfolds
    guesses doubts estimates approximations possibilities maybes alternatives candidates bounds
    limits minimums maximums minima maxima averages means ranges intervals uncertainties
    nots nones nopes noes lots ands ors ifs buts ths nds rds sts trios triplets quartets quintets
    unknowns corrections exceptions denials assumptions suggestions claims
    believes thinks says supposes seems appears becomes contradicts fails lacks needs misses
    differs changes follows works remains
""")
_PARTS = re.compile(r".*(?:ieths|nths|rths|fths|xths|hths|dths)")
_NO_PARTS = words("months widths breadths")
_PLURALS = words("people men women children feet teeth mice geese sheep fish deer oxen cattle")
# After "1": nouns for what pictures show. A list, as a single word can be an operator as well.
_SINGULARS = words("""
    person man woman child boy girl baby player rider student dog cat bird horse cow sheep fish
    bear duck elephant zebra giraffe animal car bus truck bike bicycle motorcycle train boat
    plane airplane vehicle image picture photo photograph object item book ball bottle cup
    glass bowl plate fork knife spoon chair table bed sofa bench lamp window door house
    building tree flower apple banana orange pizza cake sandwich donut clock phone laptop
    keyboard umbrella bag box hat shoe circle triangle rectangle cube cylinder sphere cone
    block line point angle side digit letter word face hand leg arm eye sign light kite
    skateboard surfboard toy step move way time coin card
""")

_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|presumably|either|unsure|uncertain|guess"
    r"|alternatively|instead|not sure|or so|or not|not the|isn't the|is not|isn't|wasn't)\b"
    r"|^\s*(?:or|and|but|is|are|was|nor)\b(?=\s+\S)|^\s*[?!]|^\s*-+\s+[A-Za-z]"
    r"|\b(?:is|are|was|be|not)\b.*\b(?:wrong|incorrect|false|correct|right|true)\b"
    r"|\b(?:answer|option|choice)s?\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:not|no|never|isn't|wrong|incorrect|false|except|unless|if|nor|neither|without|or|and"
    r"|minus|maybe|perhaps|but|probably|possibly|guess|instead|at least|at most|more than|less than"
    r"|bounds?|lower limit|upper limit|estimated?|previous|earlier|former|rather|other|another|any"
    r"|some|one of|different|unlike|opposite|negative|inverse|reciprocal|excluding|up to"
    r"|unknown|unsure|uncertain|candidates?|alternatives?|false|error|mistaken?|assum\w*|suppos\w*"
    r"|reject\w*|exclu\w*|eliminat\w*|discard\w*|ruled|crossed|avoid\w*|remov\w*|skip\w*|dropped"
    r"|ignor\w*|doubt\w*|options?|choices?|cannot|can't|impossible|invalid|bad|fake|trap|decoy"
    r"|distractor|unlikely|refus\w*|dismiss\w*|disprov\w*|refut\w*|contradict\w*|fail\w*"
    r"|guess\w*|almost|nearly|over|under|half|double|twice|times|plus|factorial|squared|cubed|percent)\b",
    re.IGNORECASE,
)
# "one of = 5" ends before it has named anything.
_HANGING = re.compile(
    r"\b(?:of|to|by|for|with|than|from|in|at|on|as|the|a|an|is|are|was|be|its|this|that|these)\s*:?$",
    re.IGNORECASE,
)


def is_counted_noun(word: str, one: bool) -> bool:
    """Whether a word says what a number counts: a plural, or after ``one`` a known singular."""
    word = word.casefold()
    if one and word in _SINGULARS:
        return True
    if word in _PLURALS:
        return True
    plural = re.fullmatch(r"[a-z]{2,}s", word) and not word.endswith(
        ("ss", "ness", "less", "wards")
    )
    is_part = _PARTS.fullmatch(word) and word not in _NO_PARTS
    return bool(plural) and not is_part and word not in _NO_NOUNS


def hedges(text: str) -> bool:
    """Whether the text of an option doubts, denies or offers something else."""
    return _HEDGE.search(text) is not None


def denies(text: str) -> bool:
    """Whether the words before an equals sign could deny what follows."""
    return _DENIAL.search(text) is not None or _HANGING.search(text) is not None
