"""Finds words that would make a rewritten text wrong: sequences, layouts, unclear nouns and sides.

What a scan has understood is masked already. Each finding is a doubt, never a rewrite: a text with
one that concerns a moved image is not permuted.
"""

import re

from perl_jax.permutation.reading.placeholders import UNDERSTOOD
from perl_jax.permutation.reading.scan import Scan
from perl_jax.permutation.reading.words import NUMBER, POSITION, misspells_a_place

# Reasons and patterns of doubtful words. The token that names a slot may be a number, a position or
# a side; with ``many``, or without a token, it is not known which images are meant.
_WORDS = (
    (
        "ambiguous_noun",  # "Figure 2"
        r"\bOTHERs?\.?\s*[-_#]?\s*\(?(?P<token>\d+)"
        r"(?P<many>\)?\s*(?:,|and|or|&|[-\u2013])?\s*\d)?",
    ),
    ("ambiguous_noun", rf"\b(?P<token>{POSITION})\s+OTHER(?P<many>s?)\b"),  # "the second chart"
    (
        "ambiguous_noun",  # "the left panel"
        r"\b(?P<token>left|right|middle|center|central)(?:-?most|[- ]hand)?\s+OTHERs?\b",
    ),
    (
        "ambiguous_side",  # "the one on the left"
        r"\b(?:OTHER|one|ones|that|those)s?\s+(?:on|to|at|in)\s+the\s+"
        r"(?P<token>left|right|middle)\b",
    ),
    (
        "ambiguous_side",  # "the image shown on the left"
        r"\bNOUN\s+\w+(?:ing|ed)\s+(?:on|to|at|in)\s+the\s+(?P<token>left|right)\b",
    ),
    (
        "ambiguous_side",  # "image (left)"
        r"(?:[\0\a]|\bNOUNs?)\s*[,(]\s*(?:(?:on|to|at)\s+)?(?:the\s+)?"
        r"(?P<token>left|right|middle)(?:\s+side)?\s*[,)]",
    ),
    ("ambiguous_side", r"(?:^|[\n.;]\s*)(?P<token>left|right|middle)\s*[:=]"),  # "Left: a dog"
    (
        "ambiguous_reference",
        r"\bthis\b[^.?!]{0,60}\b(?:that\s+(?:one|NOUN)\b|(?:than|to|from|as|like|or|with)\s+that\s*[?.!])",
    ),
    (
        "layout_reference",  # "the image next to image 1"
        r"\bNOUNs?\s+(?:(?:that|which)\s+)?(?:(?:is|are|lies|comes|stands|placed|shown|located)\s+)?"
        r"(?:(?:right|just|directly|immediately)\s+)?(?:next\s+to|beside|besides|near|nearest|closest|between"
        r"|in\s+between|adjacent|to\s+the\s+(?:left|right)\s+of|(?:left|right)\s+of)\s+(?:to\s+)?"
        r"(?:the\s+)?(?:NOUN\s*#?)?\a",
    ),
    (
        "layout_reference",
        r"\b(?:neighbou?rs?|left|right|side)\s+of\s+(?:the\s+)?NOUN\s*#?\a+\s*(?:is|show)",
    ),
    (
        "layout_reference",  # "the image in the first row"
        rf"\bNOUNs?\s+(?:(?:is|are|shown)\s+)?(?:in|of|on)\s+(?:(?:the\s+)?{POSITION}\s+(?:row|column|line)\b"
        r"|(?:row|column)\s+\d)",
    ),
    (
        "ambiguous_side",  # "the photo most to the left"
        r"\bNOUN\s+(?:most|furthest|farthest|closest|nearest|all\s+the\s+way)\s+(?:to|on|at)?\s*(?:the\s+)?"
        r"(?:left|right)\b|\b(?:left|right)\s+most\s+NOUN\b",
    ),
    (
        "named_image",
        r"\bNOUNs?\s+(?-i:[b-z\u03b1-\u03c9]|ii|iii|iv|vi{0,3}|ix)\b(?![-'\u2019])",
    ),  # "image b"
    ("ambiguous_reference", rf"\b(?:no\.|number|#)\s*(?P<token>{NUMBER})\s+NOUN\b"),
    ("ambiguous_reference", rf"\b(?:{POSITION}|left|right|middle)-NOUNs?\b"),
    (
        "named_image",  # "Figure A", "image labelled A"
        r"\bOTHERs?\s+\(?(?-i:[A-HJ-Z])\b|\bNOUN\s+(?:labell?ed|marked|numbered|called|named)"
        r"\s+(?:as\s+)?\W?(?:\d|(?-i:[A-Z])\b)",
    ),
    (
        "group_reference",  # "image pair 2"
        rf"\bNOUN\s+(?:pair|set|group|row)\s+#?(?:\d|(?-i:[A-Z])\b|{NUMBER}\b)"
        rf"|\b(?:{POSITION})\s+(?:pair|set)\b(?!\s+of\b)",
    ),
    (
        "layout_reference",  # "the top image"
        r"\b(?:top|bottom|upper|lower|above|below)(?:[- ](?:left|right|middle|row))?\s+NOUN\b"
        r"|\bNOUN\s+(?:(?:shown|displayed)\s+)?(?:(?:at|on|in)\s+(?:the\s+)?(?:top|bottom)"
        r"|above|below)\b",
    ),
    ("respectively", r"\brespective(?:ly)?\b"),
    ("former_latter", r"\bthe\s+(?:former|latter)\b"),
)
_SEQUENCE = (
    r"\b(?:the\s+(?:current|resulting|result|updated|opposite|new))\s+NOUN\b|"
    r"\b(?:next|previous|preceding|subsequent|prior)\s+(?:image|picture|photo|photograph|frame)s?\b"
    r"|\bfollowing\s+(?:image|picture|photo|photograph|frame)\b"
    r"|\b(?:consecutive|successive|adjacent|neighbou?ring|alternate|alternating)\b"
    r"|\bin\s+(?:(?:the|this|that|their)\s+)?(?:\w+\s+)?order\b(?!\s+to\b)"
    r"|\b(?:sequence|sequences|sequential|sequentially|chronological|chronologically|timeline)\b"
    r"|\bhappen(?:s|ed|ing)?\s+next\b|\bcomes?\s+(?:next|before|after|first|last)\b"
    r"|\bbefore\s+and\s+after\b|\bover\s+time\b|\bprogress(?:es|ion|ively)\b"
    r"|\b(?:image|picture|photo|frame)s?\s+(?:(?:directly|immediately|right|just)\s+)?"
    r"(?:before|after|preceding|following)\s+(?:it|this|that|image|picture|photo|frame|[\0\a])"
    r"|\b(?:image|picture|photo|photograph|frame)s\s+(?:that\s+)?(?:come\s+)?"
    r"(?:before|after|preceding|following|until|up\s+to)\b"
    r"|\bfrom\s+(?:the\s+)?first\s+to\s+(?:the\s+)?last\b"
    r"|\b(?:image|picture|photo)s\b[^.?!]{0,200}\bfrom\s+left\s+to\s+right\b"
    r"|\bfrom\s+left\s+to\s+right\b[^.?!]{0,200}\b(?:image|picture|photo)s\b"
)
# Words of change that leave open which image comes first.
_CHANGE = (
    r"\b(?:what|which|any|how\s+many|some)\s+new\s+\w+"
    r"|\bone\s+(?:NOUN\s+)?(?:in)?to\s+(?:the\s+other|another)\b"
    r"|\b(?:at|by)\s+the\s+(?:end|start|beginning)\b(?!\s+of\b)|\bin\s+the\s+(?:end|beginning)\b(?!\s+of\b)"
    r"|\bat\s+first\b(?!\s+(?:glance|sight|look|light)\b)|\bin\s+between\b"
    r"|\b(?:has|have|had)\s+(?:been\s+)?(?:moved|shifted|turned|rotated|gone|opened|closed|painted"
    r"|repainted|cut|fallen|arrived|risen|melted|stopped|started|swapped|switched)\b"
    r"|\b(?:has|have|had)\s+(?:the|any|an?|he|she|it|they)\b[^.?!\a]{0,60}\b(?:moved|shifted|turned|rotated"
    r"|gone|opened|closed|fallen|arrived|risen|melted|left|stopped|started)\b"
    r"|\b(?:how\s+)?did\s+(?:the|any|an?|he|she|it|they)\b[^.?!\a]{0,60}\b(?:turn|move|shift|rotate|open"
    r"|close|fall|rise|leave|arrive|stop|melt|heal|get|go|develop)\b"
    r"|\bstill\s+(?:there|here|visible|present)\b|\bnot\s+yet\b|\bwhat\s+(?:was|is)\s+the\s+outcome\b"
)
# Roles of images that their order gives them.
_ROLE = (
    r"\b(?:query|template|anchor|base|baseline|test|candidate|probe|positive|negative|main|support"
    r"|gallery|master|front|back|rear|east|west|north|south|eastern|western|northern|southern)"
    r"\s+(?:NOUN|one)s?\b(?!\s+(?:frames?|albums?|books?)\b)"
    r"|\b(?:with|to|from|than|against|at|match(?:es)?)\s+(?:the\s+)?(?:baseline|query|template)\b"
    r"|\bthe\s+(?:query|template)\b|\b(?:anchor|reference)\b[^.?!]{0,80}\b(?:query|positive|negative|template"
    r"|candidates?|test|probe|hypothesis)\b"
)
_REFERENCE = r"\breference(?:\s+NOUN)?\b[^.?!]{0,80}\b(?:the\s+)?other\b"
_OPTION = rf"\b(?:{POSITION}|top|bottom)\s+(?:option|choice|candidate|answer\s+choice)\b"
_BARE_LIST = re.compile(
    r"(?<![\w.])\d{1,2}(?:\s*(?:,\s*(?:and|or)|,|\band|\bor)\s*\d{1,2}\b){1,20}"
    r"(?=\s*(?:[?.;:)\n]|or\b|$))"
)
# Sides that can only lie inside an image: directions, parts of a thing, relations, corners.
_INSIDE = re.compile(
    r"(?i)\b(?:fac|point|look|turn|head|lean|angl|tilt|aim|direct|orient|go|mov|walk|runn?|fly|swim"
    r"|driv|gaz|star|bend|curv|slant)(?:e|s|es|ed|ing|t)?\s+"
    r"(?:(?:slightly|directly|mostly|more)\s+)?"
    r"(?:(?:to|toward|towards)\s+)?(?:(?:the|its|their|his|her)\s+)?(?:left|right)\b"
    r"|\b(?:left|right)[- ](?:facing|pointing|turned|leaning|angled?s?)\b"
    r"|\b(?:left|right)\s+(?:hand|paw|leg|foot|arm|eye|ear|wing|shoulder|thumb|knee|claw)s?\b"
    r"|\bto\s+the\s+(?:left|right)\s+of\b|\b(?:top|upper|bottom|lower)[- ](?:left|right)\b"
)


def find_doubts(scan: Scan) -> None:
    """Adds the doubts of a text that has been read to its scan."""
    scan.begin_pass()
    for reason, pattern in _WORDS:
        _find_words(scan, reason, pattern)
    for named in scan.find(r"\b(?P<word>[^\W\d_]{3,8})\s+(?:NOUN|one)s?\b"):
        if misspells_a_place(named["word"]):
            scan.doubt("ambiguous_reference", named[0])
    if re.search(r"(?i)\b(?:which|what)\b", scan.text):
        _find_bare_lists(scan)
    if not scan.reader.sequences:
        _find_words(scan, "sequence_word", f"{_SEQUENCE}|{_CHANGE}|{_ROLE}")
        if UNDERSTOOD not in scan.text:  # no image is said to be the reference
            _find_words(scan, "sequence_word", _REFERENCE)
    if scan.reader.letters_follow:
        _find_words(scan, "ambiguous_reference", _OPTION)
    if scan.reader.strict_sides:
        outside = _INSIDE.sub(" ", scan.text)
        if match := re.search(r"(?i)\b\w*\s*\b(?:left|right)(?:-?most)?\b", outside):
            scan.doubt("ambiguous_side", match[0])


def _find_words(scan: Scan, reason: str, pattern: str) -> None:
    for match in scan.find(pattern):
        groups = match.groupdict()
        token = groups.get("token")
        if token is None or groups.get("many"):
            scan.doubt(reason, match[0])
        elif scan.reader.read(token):  # a side that names no slot lies inside an image
            scan.doubt(reason, match[0], token)


def _find_bare_lists(scan: Scan) -> None:
    """Doubts about "which two match: 1 and 2 or 1 and 3?"; all of the images are a set."""
    everything = list(range(scan.reader.num_slots))
    for match in _BARE_LIST.finditer(scan.text):
        numbers = re.findall(r"\d+", match[0])
        slots = sorted(int(number) - scan.reader.base for number in numbers)
        if set(slots) <= set(everything) and slots != everything:
            scan.doubt("ambiguous_reference", match[0], *numbers)
