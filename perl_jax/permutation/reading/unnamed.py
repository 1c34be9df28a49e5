"""Finds sentences that depend on the order of the images although they name none of them."""

import re

from perl_jax.permutation.reading.words import POSITION, SIDE, compiled

# Sentences about a row of images, whether or not another one names an image.
_NAMED = (
    r"(?<!\bin )(?<!\bof )(?<!\bfrom )(?<!\bon )(?<!\bto )(?<!\bwith )"
    rf"(?:\bNOUN\s*#?\d{{1,2}}|\bthe\s+{POSITION}\s+NOUN"
    r"|\b(?:which|what)\s+(?:(?:one\s+)?of\s+the\s+)?(?:NOUN|option|choice|candidate|answer)s?)"
)
_PLACE = (
    r"(?:(?:shown|placed|located|displayed|positioned|situated|directly|immediately|just)\s+)*(?:(?:on|at|in|to)\s+(?:the\s+)?"
    r"(?:far\s+)?(?:left|right|top|bottom|middle|cent(?:er|re)|start|beginning|end|front|back|same\s+row)\b|(?:left|right)\s+of\b"
    r"|above\b|below\b|beside\b|adjacent\b|next\s+to\b|between\b|first\b|last\b|at\s+an?\s+(?:odd|even)\b)"
)
_ANY_NAMED = (
    rf"(?:(?:the\s+)?NOUN\s*#?\d|the\s+(?:{POSITION}|{SIDE}|other|next|\w+est|\w+er)\s+NOUN\b"
    r"|(?:each|every|another|any)\s+NOUN\b)"
)
_AIMS = (
    r"(?:(?:looks|faces|points|stares|gazes|walks|runs|flies|heads|leans|moves|turns|smiles|waves|barks|shoots|throws)"
    r"|(?:is|are)\s+(?:look|fac|point|star|gaz|walk|runn|fly|head|lean|mov|turn|smil|wav|bark|shoot|throw)ing"
    r"|\b(?:do|does|did)\b[^.?!]{0,60}\b(?:look|face|point|stare|gaze|walk|run|fly|head|lean|move|turn|smile|wave)"
    r"|(?<!\bby )(?<!\bafter )(?<!\bbefore )(?<!\bwhen )(?<!\bwhile )(?<=[a-z] )looking"
    r"|(?:facing|pointing|gazing|staring|turned|directed|oriented|aimed))"
)
_OF_SOME = (
    r"(?:in\s+which|on\s+which|where|that|which|to\s+(?:be|show|contain|have|feature)|showing|containing"
    r"|(?:of|from|with|by|taken)(?!\s+(?:(?:the|an?)\s+)?(?:first|last|second|third|other|image|picture|photo|left"
    r"|right|images|pictures|photos|pair|set|series|row|two|three|four)\b))"
)
"""What follows an ordinal that counts only some of the images: "the first image with a dog"."""
_ROWS = (
    (
        "layout_reference",  # "the dog in image 1 looks at the dog in image 2", across the row
        rf"\b{_AIMS}\s+(?:(?:up|down|right|directly|straight)\s+)?(?:(?:at|to|toward|towards|into|away\s+from)\s+)?"
        rf"(?:(?:the|a|an)\s+(?:\w+\s+){{1,2}}(?:in|of|on)\s+)?{_ANY_NAMED}"
        r"|\bNOUN\b[^.?!]{0,60}\band\b[^.?!]{0,60}\bNOUN\b[^.?!]{0,30}\b(?:look|fac|point|star|gaz|walk|turn|head|lean)\w*"
        r"\s+(?:(?:at|to|toward|towards|away\s+from)\s+)?(?:each\s+other|one\s+another)\b",
    ),
    (
        "layout_reference",  # "what is next to the second image"
        r"\b(?:next\s+to|beside|besides|(?:left|right)\s+of|above|below|adjacent\s+to|near|close\s+to)\s+"
        rf"(?:(?:the\s+)?NOUN\s*#?\d|the\s+(?:{POSITION}|{SIDE})\s+NOUN\b)",
    ),
    (
        "sequence_word",  # "image 1 is followed by image 2": in time, or in the row?
        rf"\b(?:followed|preceded)\s+by\s+{_ANY_NAMED}|\bNOUN\s*#?\d{{1,2}}\s+(?:directly\s+|immediately\s+)?"
        rf"(?:follows|precedes|succeeds)\s+{_ANY_NAMED}|\bdo(?:es)?\s+NOUN\s*#?\d{{1,2}}\s+(?:follow|precede|succeed)\b",
    ),
    (
        "reference_out_of_range",  # "the images are numbered from 0", "label the images 3, 2, 1"
        r"\bNOUNs\s+(?:are|were|have\s+been)\s+(?:numbered|indexed|counted|labell?ed|lettered|named|called)\b"
        r"|\bNOUN\s+(?:has|have|gets?|is\s+given|carries)\s+(?:the\s+)?(?:index|number|label|name|letter|tag)\b"
        r"|\bNOUN\s+is\s+(?:called|named|labell?ed|numbered|denoted)\b"
        r"|\b(?:number|label|index|letter|call|name|count)\s+(?:the|these|all)\s+NOUNs\b|\bstart(?:s|ing)?\s+(?:to\s+)?count\w*"
        r"|\b(?:zero|one|0|1)-(?:index|bas)ed\b|\b(?:numbering|indexing|counting)\b",
    ),
    (
        "layout_reference",  # "is image 1 left of image 2", "which image is on top"
        rf"{_NAMED}\s+(?:(?:is|are|was|comes?|lies|stands|appears)\s+)?(?:not\s+)?{_PLACE}"
        r"|\b(?:left|right)\s+of\s+(?:the\s+one|that)\s+(?:in|of)\s+(?:the\s+\w+\s+)?NOUN\b"
        r"|\b(?:surround|flank|enclose|neighbou?r|border)(?:s|ed|ing)?\s+(?:by\s+)?(?:the\s+)?NOUN\s*#?\d"
        r"|\b(?:successors?|predecessors?|neighbou?rs?\s+of|its\s+neighbou?rs?|(?:two|both)\s+neighbou?rs)\b"
        r"|\bNOUNs?\b[^.?!]{0,30}\d\s*,?\s*(?:etc\b|and\s+so\s+(?:on|forth)\b|\.\.|\u2026)",
    ),
    (
        "layout_reference",  # "equal to its number", "the image to its right", "the first photo of"
        r"\b(?:to|as|than|with|by|equals?|match(?:es)?)\s+(?:its|their)\s+(?:own\s+)?(?:number|index|position|place|rank)s?\b"
        r"(?!\s+of)"
        r"|\b(?:NOUN|one|that)s?\s+(?:\w+\s+)?(?:to|on|at)\s+(?:its|their)\s+(?:\w+\s+)?(?:left|right)\b"
        rf"|(?<!given the )\b{POSITION}[^\S\n]+NOUN[^\S\n]+{_OF_SOME}\b"
        # BLINK's jigsaw: "Given the first image with the lower right corner missing".
        rf"|(?<=given the )\b{POSITION}[^\S\n]+NOUN[^\S\n]+"
        rf"(?!with\s+(?:\w+\s+){{1,5}}missing\b){_OF_SOME}\b"
        r"|\bNOUNs\s+\w+\s+(?:the\s+)?\w+\s+\d+\s*(?:to|through|-|\u2013)\s*\d"
        rf"|\b(?:come|comes|go|goes|rank|ranks)\s+{POSITION}\b",
    ),
    (
        "sequence_word",  # "the sum of the numbers of the images", "is the index of the image even"
        r"\b(?:sum|add|total|product|average|difference|multiply|subtract)\b[^.?!]{0,30}\b(?:numbers?|index|indices|indexes"
        r"|positions?)\s+of\s+(?:the|all|these)\s+(?:\w+\s+)?NOUNs?\b"
        r"|\b(?:is|are|does|do)\s+the\s+(?:numbers?|index|indices|positions?)\s+of\s+(?:the|an?|these)\s+(?:\w+\s+)?NOUN\b"
        r"|\bNOUN\s+(?:numbers|indices|index|positions?)\b",
    ),
    (
        "set_not_expressible",  # "from image 2 on", "up to image 3", "image 2 and later"
        r"\b(?:up\s+to|until|till|through|past|beyond|since|(?:start|begin|end|count)ing\s+(?:with|at|from|in))"
        rf"\s+(?:the\s+)?(?:NOUN\s*#?\d|{POSITION}\s+NOUN\b)"
        rf"|(?:\bNOUN\s*#?\d{{1,3}}|\b{POSITION}\s+NOUN)\s+(?:on(?=\s*[,.?!]|\s+(?:all|every|each|there|the\s+NOUNs)\b)"
        r"|onwards?|upwards?|forwards?|(?:and|or)\s+(?:later|up|onwards?|following|beyond|above|below|after|before"
        r"|earlier|the\s+rest)\b)",
    ),
    (
        "sequence_word",  # "from which image on", "when does the dog appear", "completes the row"
        r"\b(?:from|until|till|since|up\s+to|after|before|at|by|(?:start|begin|end)ing\s+\w+)\s+which\s+(?:of\s+the\s+)?NOUNs?\b"
        r"(?!\s+(?:can|do|does|did|is|are)\s+(?:you|we|i|one)\b)"
        r"|(?:^|[.?!:\n]\s*)when\s+(?:does|do|did|is|are|was|were|will)\b"
        r"|\b(?:break|complet|continu|follow|fill|fit|extend|violat|disrupt)\w*\s+(?:in(?:to)?\s+)?(?:the|this|a)\s+(?:pattern|row|gap"
        r"|sequence|series|order|progression|analogy|blank|grid|matrix|story)\b"
        r"|\bNOUN\s+(?:continues|fits\s+between|belongs\s+(?:after|before|between))\b"
        r"|\b(?:start|middle|beginning|end|climax|opening)\s+of\s+the\s+(?:story|sequence|series|process|comic|event|plot)\b"
        rf"|\b{POSITION}\s+NOUN\b[^.?!]{{0,30}}\bever\b",
    ),
    (
        "sequence_word",  # "put the images side by side"
        r"\bside[- ]by[- ]side\b|\b(?:stitch|overlay|superimpose|glue|tile)\w*\b"
        r"|\b(?:stack|place|put|lay|set|move|arrange)d?\s+(?:(?:the|these|both|all|two)\s+)*NOUNs?\b"
        r"|\bNOUNs?\s+(?:\d\s+)?(?:are|is|were)\s+(?:put|placed|laid|stacked|moved|joined|arranged)\b"
        r"|\b(?:in\s+a\s+row|in\s+turn|countdown|alternat\w+)\b",
    ),
    (
        "layout_reference",  # "counting from the end", "swap the images"
        r"\bcount(?:ing|ed)?\s+(?:\w+\s+)?from\b|\b(?:in|from)\s+(?:the\s+)?(?:reversed?|opposite)\s+order\b"
        r"|\b(?:swap|exchang|switch|revers|shuffl|reorder|rearrang|permut)(?:e|s|es|ed|ing|ping|ped)?\b"
        r"[^.?!]{0,40}?\b(?:NOUNs?|\d)\b"
        r"|\bNOUNs\s+(?:are|were|is|be)\s+(?:swapped|exchanged|switched|reversed|shuffled)\b"
        r"|\bfrom\s+the\s+(?:left|right|end|start|front|back)\b(?=\s*[,?]|\s+(?:is|shows?|which)\b)",
    ),
    (
        "layout_reference",  # "the odd-numbered images", "the outer pictures"
        r"\b(?:odd|even)(?:[- ](?:numbered|indexed))?\s+NOUNs\b"
        r"|\b(?:odd|even)[- ](?:numbered|indexed)\b"
        r"|\b(?:outermost|innermost)\b|\b(?:closest|nearest|next)\s+to\s+(?:the\s+)?(?:middle|cent(?:er|re)|edges?)\b"
        r"|\b(?:outer|inner|flanking|alternate|every\s+(?:other|second|third))"
        r"\s+(?:two\s+)?(?:NOUN|one)s?\b",
    ),
    (
        "sequence_word",  # "are the images sorted", "the pictures get darker", "begins with"
        r"\bNOUNs\s+(?:are|were|is|be)?\s*(?:\w+\s+)?(?:sorted|ordered|arranged|ranked|shuffled)\b"
        r"|\b(?:ascending|descending)\b|\bNOUNs\b[^.?!]{0,40}\b(?:increas|decreas)(?:e|es|ing)\b"
        r"|\b(?:get|gets|getting|got|gotten|grow|grows|growing|grew|turn|turns|turning|turned)\s+"
        r"(?:(?:any|much|even|slightly)\s+)?(?:\w{2,}er|more|less|worse|dark|light|bright|big|small)\b"
        r"|\b(?:NOUNs|set|series|row|album|collection)\s+(?:begin|start|end|open|close)s?\s+with\b"
        r"|\b(?:gradual|increasing|decreasing|progressive|steadi|successive)ly\b",
    ),
    (
        "sequence_word",  # "what word do the letters in the images spell"
        r"\bNOUNs\b[^.?!]{0,40}\b(?:form|spell|make\s+up|combine\s+to|concatenate|say|tell|mean|stand\s+for)\b"
        r"|\b(?:put|join|string|place|take|taken|read|write|written|combined?)\b[^.?!]{0,40}\btogether\b"
        r"|\b(?:form|spell|concatenat|combin|join)(?:e|s|es|ed|ing)?\b[^.?!]{0,40}\bNOUNs\b"
        r"|\bread\s+(?:(?:all|across|out)\s+)?(?:of\s+)?(?:the\s+)?(?:\w+\s+)?(?:across\s+the\s+)?NOUNs\b"
        r"[^.?!]{0,20}\b(?:as|together|across|to)\b",
    ),
    (
        "ambiguous_side",  # "do they look at each other across the images"
        r"\b(?:each\s+other|one\s+another)\b[^.?!]{0,30}\bacross\b[^.?!]{0,30}\bNOUNs\b",
    ),
    (
        "ambiguous_reference",
        r"\bhere\b(?!\s+(?:is|are)\b)[^.?!]{0,60}\bthere\b(?!\s+(?:is|are|was|were)\b)",
    ),
    (
        "ambiguous_reference",  # a picture of history, of a page or of an album
        rf"\b(?:took|invented|made|produced|published|sold|painted|developed)\s+the\s+(?:very\s+)?{POSITION}"
        rf"\s+NOUN\b|\b{POSITION}\s+NOUN\s+(?:ever|in\s+(?:the\s+)?(?:history|world)"
        rf"|on\s+(?:the|this|that)\s+(?:wall|page|shelf|site|website))\b|\w['\u2019]s\s+{POSITION}\s+NOUN\b",
    ),
    (
        "set_not_expressible",  # "image 1 to image 3", where nothing changes or is compared
        r"^(?:(?!\b(?:from|compar\w*|similar|clos\w+|identical|equal|relative|prefer\w*|match\w*|next|added"
        r"|chang\w*|turn\w*|transform\w*|convert\w*|transition\w*|correspond\w*|attribut\w*|belong\w*|refer\w*"
        r"|superior|inferior|due|according|respect)\b)[^.?!\n]){0,120}"
        r"\bNOUN\s*#?\d{1,2}\s+(?:to|through|thru|till|until|up\s+to)\s+NOUN\s*#?\d",
    ),
)
_VERDICTS = re.compile(
    r"(?i)\W*(?:(?:yes|no|true|false)(?:\W+(?:yes|no|true|false)\b)+|[yn]{2,8}|[tf]{2,8}"
    r"|[yntf01](?:\W+[yntf]\b)+)\W*"
)
_WORDS = re.compile(
    r"(?i)\bwhat\b[^?]*\b(?:says?|reads?|written|printed|spells?|label|sign|title|headline|text|words?)\b"
)
_POINTS = r"\W*(?:the\s+)?(?:this|that|these|those|other|another)(?:\s+(?:ones?|NOUNs?))?\W*"


def find_rows(text: str, nouns: tuple[str, ...], *, sequences: bool) -> tuple[str, str] | None:
    """The reason and the words by which a text speaks of the images as a row; None if it does not.

    With ``sequences`` the rule accounts for words of sequence.
    """
    for reason, pattern in _ROWS:
        if sequences and reason == "sequence_word":
            continue
        if found := compiled(pattern, nouns).search(text):
            return reason, found[0]
    return None


def asks_for_words(question: str) -> bool:
    """Whether a question asks for words in a picture, so that "Picture 2" may be such words."""
    return _WORDS.search(question) is not None


def is_pointing(answer: str, nouns: tuple[str, ...]) -> bool:
    """Whether an answer only points: "that one"."""
    return compiled(_POINTS, nouns).fullmatch(answer) is not None


def lists_verdicts(answer: str) -> bool:
    """Whether an answer gives several verdicts, one for each image: "yes no yes", "YNY"."""
    return _VERDICTS.fullmatch(answer) is not None
