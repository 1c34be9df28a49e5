r"""The point that is due and the point that is not, by kinds: ``answer | truth`` on every line."""

import pytest

DUE = {
    "options with their text": r"""
        B. dogs | B. the dog
        B. the brown dog | (B) a dog
        B. \frac{1}{2} | B. 0.5
        the dog | B. the dog
    """,
    "fractions in words": r"""
        one half | 1/2
        half | 0.5
        two-thirds | 2/3
        three quarters | 0.75
        minus one half | -1/2
    """,
    "several ordinals": r"""
        first and third | 1 and 3
        third and first | 1 and 3
        first, third | Image 1, Image 3
    """,
    "chains": r"""
        2 > 1 > 3 | 2, 1, 3
        B > A > C | B→A→C
        (1)(3) | 1 and 3
    """,
    "yes and no with a reason": r"""
        Yes, they match | Yes
        yes they are the same | Yes
        No, they do not match. | no
        No: the window is open | No
    """,
    "nested boxes": r"""
        \boxed{5} | 5
    """,
    "roundings and versions": r"""
        ~5 | 5
        v1.10 | V 1.10
        1:2 | \frac{1}{2}
        10:2 | 5:1
        90s | 90 seconds
        dogs = 5 | 5 dogs
    """,
    "units": r"""
        7\text{cm} | 7
        7\;\mathrm{cm}^{2} | 7 square centimeters
        7 \mathrm{m\,s^{-1}} | 7 m/s
        7 \frac{\text{m}}{\text{s}} | 7 meters per second
        7 sq. ft. | 7 square feet
        25 mph | 25 miles per hour
        80 mm | 8 cm
        2 hours | 120 minutes
        40°C | 40 degrees
        40 degrees | 40°
        280 K | 280 kelvin
        18 \text{ square units} | 18
        2\sqrt{7} \text{ meters} | 2\sqrt{7}
        2\sqrt{7} | 2\sqrt{7} cm
        27\pi cm^3 | 27\pi
        £12 | 12
        12 € | 12 euros
        \$3.50 | 3.5
    """,
    "counted things": r"""
        12 people | 12
        12 differences | 12
        12 moths | 12
        12 \text{ students} | 12
        6 birds | 6 \text{ birds}
        1 horse | 1
    """,
    "multipliers": r"""
        5\text{ million} | 5,000,000
        1.5 million dollars | 1500000
        300 | 3 hundred
        2 dozen eggs | 24
    """,
    "percentages": r"""
        12.5 percent | \frac{1}{8}
        75 \text{ percent} | 75\%
        12 1/2 \% | 12.5\%
    """,
    "numbers in words": r"""
        seven | 7
        Zero | 0
        seven birds | 7
        8 | eight
        4 birds | four birds
        twenty-two | 22
        one million | 1000000
        minus 6 | -6
        negative six | -6
        the empty set | \emptyset
    """,
    "fractions": r"""
        3 3/8 \text{ inches} | 27/8
        2 3/4 \text{ lb} | 2.75
        -2 1/4 | -2.25
        \frac 3 8 | 0.375
        0.\overline{12} | \frac{4}{33}
        0.1\bar{6} | 1/6
        0.(27) | 3/11
        1.5e3 | 1500
    """,
    "matrices": r"""
        \begin{bmatrix} \frac{1}{2} \\ 0 & -1 \end{bmatrix} | \begin{pmatrix}0.5\\0&-1\end{pmatrix}
        \left[\begin{array}{cc}1&2\\3&4\end{array}\right] | \begin{bmatrix}1&2\\3&4\end{bmatrix}
        \begin{pmatrix}\sqrt{4}\\x+1\end{pmatrix} | \begin{pmatrix}2\\1+x\end{pmatrix}
        \begin{vmatrix}1&2\\3&4\end{vmatrix} | -2
    """,
    "systems": r"""
        \begin{cases} x + y = 3 \\ x - y = 1 \end{cases} | \begin{cases}x-y=1\\x+y=3\end{cases}
        x=1, y=4 | \begin{cases} x=1 \\ y=4 \end{cases}
        (1, 4) | \begin{cases} x=1 \\ y=4 \end{cases}
        a = 2, b = 3 | b = 3, a = 2
    """,
    "sets": r"""
        3 and 1 | 1 and 3
        1, 2 and 4 | 4, 2, and 1
        \{4, 2, 1\} | 1, 2 and 4
        6 or 2 | x = 2 or x = 6
        x = -2 \text{ or } x = 5 | 5, -2
        \sqrt{2} \text{ and } 3 | 3 and \sqrt{2}
        images 4 and 2 | 2 and 4
        Image 1 and Image 3 | 1 and 3
        \pm 2 | 2, -2
        \pm 4 | t = 4 or t = -4
        9 or 7 | t = 7 or 9
        t = 7 or 9 | t = 9 or t = 7
        t = 7 or t = 9 | \{7, 9\}
        ∅ | \{\}
    """,
    "orders": r"""
        Picture 2, picture 1, picture 3 | 2→1→3
        [2, 1, 3] | 2, 1, 3
        B → A → C | B, A, C
        BAC | B→A→C
        4-2-9 | [4, 2, 9]
        [4, 2, 9] | 4-2-9
        4→2→9 | 4 - 2 - 9
        B→D→A | B-D-A
    """,
    "options": r"""
        Option (D) | D
        D | D. False
        D. False | D. false
        D. -3 | D
        The final answer is D. | D
        \textbf{D. a horse} | D
        D) a horse | (D) a horse
        B. Not visible | B
        C. No | C
        (C) Both images show a dog | C
        (B) Vitamin C | B
        (B) A cat on a mat | B
        A, B and D | ABD
        (A)(D) | A, D
        D, B, A | ABD
    """,
    "pictures": r"""
        4 | Picture 4
        Picture four | Image 4
        the second and fourth pictures | 2 and 4
        Picture 4 | the fourth image
        #4 | Image 4
        Image 4 | 4
        the fourth one | 4th image
        The image on the right | right image
        top-left | top left image
        middle | The center image
    """,
    "labels": r"""
        perimeter = 18 \text{ cm} | 18
        \text{Volume} = 12\pi | 12\pi
        V = \pi r^2 h = 12\pi | 12\pi
        \angle BAC = 35^{\circ} | 35
        f(x) = x^2 | x^2
        x^2 | y = x^2
        2 + 3 = 5 | 5
        The answer is 24 | 24
        \therefore x = 4 | 4
    """,
    "roundings": r"""
        \approx 4.2 \text{ cm} | 4.2
        x ≈ 4.2 | 4.2
        approximately 4.2 | 4.2
        \sqrt{3} \approx 1.73 | \sqrt{3}
        \sqrt{3} \approx 1.73 | 1.73
    """,
    "letter case": r"""
        (Y+2)^2 | Y^2+4Y+4
        \frac{P}{Q} | P/Q
        Y + M | M + Y
        E + 1 | 1 + E
        e + 1 | 1 + e
        2 + 3i | 3i + 2
        A = 2\Pi | 2\Pi
        \gamma + 1 | 1 + \gamma
    """,
    "functions": r"""
        tan(x) | \tan x
        exp(x+1) | e^{x+1}
        sqrt((x-1)^2+4) | \sqrt{4+(x-1)^2}
        arctan(1) | \pi/4
        \log_2(8) | 3
        2\cos 45^\circ | \sqrt{2}
        3(4) | 12
        3 + 2.0i | 3+2i
        -infinity | -\infty
    """,
    "dates, times and ranges": r"""
        7:45 p.m. | 7:45 pm
        07:45 PM | 7:45 pm
        7 PM | 7:00 p.m.
        2019/7/4 | 2019-07-04
        14 to 18 | 14-18
        14 – 18 cm | 14-18
        6-11 | 6 - 11
        2:10 | 1:5
        9 - 2 = 7 | 7
    """,
    "words": r"""
        a red car | The red car.
        "blue" | Blue
        红色 | 红色。
    """,
}  # fmt: skip

NOT_DUE = {
    "another text beside the letter": r"""
        B. the cat | B. the dog
        (B) yes | B. no
        B: 5 | B. 6
    """,
    "several numbers in brackets": r"""
        (1)(2) | 2
        (1) (2) | 2
        (1)(2) | 1 and 3
    """,
    "other things": r"""
        dogs = 5 | 5 cats
        number of dogs = 5 | 5 cats
    """,
    "roundings of what is no number": r"""
        about Image 2 | Image 2
        \approx Image 2 | Image 2
        roughly the cat | the cat
        ~B | B
    """,
    "marks that deny": r"""
        !cat | cat
        !!yes | yes
        ~cat | cat
        ¬cat | cat
    """,
    "decades, ratios, versions and digits": r"""
        1990s | 1990
        2020s | 2020
        10:2 | 5
        4:2 | 2.0
        v1.10 | v1.1
        1.2.30 | 1.2.3
        5 zeros | 5
        5 nines | 5
    """,
    "verdicts that are taken back": r"""
        Yes, no | Yes
        Yes, but only in part | Yes
        Yes, they don't match | Yes
        Yes, or maybe they differ | Yes
        No, that is right | No
        no, yes | no
        yes, sometimes | yes
    """,
    "nested boxes": r"""
        \boxed{B} or C | B
        not \boxed{5} | 5
    """,
    "multipliers": r"""
        7 lakhs | 7
        7 crores | 7
        7 grosses | 7
        7K | 7
        7 | 7K
        7k | 7
        7 twentieths | 7
        7 twelfths | 7
        5 million | 5
        5 | 5 thousand
        5 dozen eggs | 5
        5 pairs | 5
        5 halves | 5
        twice 5 | 10
    """,
    "numbers in words": r"""
        seven | 8
        seven or eight | 7
        seven hundred fifty | 700
        seven and a half | 7
        seventy-one | 70
        one third | 1
        one of seven | 7
        seven birds | 7 cows
        minus 6 | 6
        9 minus 6 | -6
        five-six | 5
        Picture four | Image 5
        fourth and second | 2 and 3
        the second or fourth pictures | 2 and 4
    """,
    "operators": r"""
        5 squared | 5
        5 prime | 5
        5 less | 5
        5 plus | 5
        5 o | 5
        5 times 3 | 15
        5 6 | 11
        (3)(4) | 7
        {5}{6} | 11
        5 \phantom{6} | 11
        \max(5, 6) | 5
    """,
    "bounds": r"""
        at least 5 | 5
        5+ | 5
        \geq 5 | 5
        > 5 | 5
        5 \text{ or so} | 5
    """,
    "doubts and denials": r"""
        lower bound = 8 | 8
        upper bound = 8 | 8
        one of = 8 | 8
        the value of = 8 | 8
        guess = 8 | 8
        another value = 8 | 8
        8 guesses | 8
        8 doubts | 8
        8 estimates | 8
        D: false | D
        D. wrong | D
        D. Incorrect. | D
        (D) excluded | D
        D. - no | D
        D. unlikely | D
        D. not this | D
        D. ✗ | D
        D. ? | D
        +-4 | -4
        -+4 | -4
        7 +- 2 | 5
        not 5 | 5
        5? | 5
        5 \text{ is wrong} | 5
        \text{5 or 6} | 5
        5 \text{ if } x > 0 | 5
        wrong answer = 5 | 5
        maybe yes | yes
        yes but no | yes
        not the second image | second image
    """,
    "measures in two units": r"""
        5 feet 6 inches | 5
        5'6" | 5
        5 lb 3 oz | 5
        5 h 30 min | 5
        5:30 | 5
    """,
    "other units": r"""
        35 cm | 35\%
        35 kg | 35\%
        35 horses | 35\%
        35\% | 35 kg
        60\% | 60^\circ
        60^\circ C | 60^\circ
        60°F | 60°
        8 M | 8 m
        8 S | 8 s
        5 dollars | 5 euros
        5 cm^2 | 5 cm
        60 km | 60 km/h
        5 dogs | 5 cats
        2\sqrt{3} cm | 2\sqrt{3} mm
        2\sqrt{3} million | 2\sqrt{3}
    """,
    "dates, times and ranges": r"""
        2008 | 2019-07-04
        2019-04-07 | 2019-07-04
        7/4/2020 | 4/7/2020
        7.75 | 7:45
        6:105 | 7:45
        15:90 | 7:45
        7:45 am | 7:45 pm
        2:15 | 2:15 pm
        11:30 pm | 5:15 pm
        8:30 EST | 4:15 EST
        -1 | 1998-1999
        2010-2011 | 1998-1999
        -4 | 14-18
        15-19 | 14-18
        -4 cm | 14-18 cm
        15-19 cm | 14-18 cm
        14-18 kg | 14-18 cm
        15m-19m | 14m-18m
        18 to 14 | 14-18
        14-18 | -4
        3% - 5% | 4% - 6%
        May 3 - May 5 | May 4 - May 6
        444-9998 | 445-9999
        5-2-8 | 4-2-9
        4-9-2 | 4-2-9
        B-A-D | B-D-A
        1-2-3 | 1, 2 and 3
    """,
    "several options": r"""
        B/C | B
        B (or C) | B
        B. Actually C | B
        (B) cat (C) dog | B
        A. see option C | A
        A: is not right | A
        (A) not sure | A
        neither B nor C | B
        B B C | B
    """,
    "several values": r"""
        5 = 6 | 6
        x = 6 = 5 | 5
        5 \approx 6 | 6
        5.44 \approx 5.4 | 5.4
        \sqrt{3} \approx 1.8 | \sqrt{3}
        5 \pm 1 | 5
        6 \in 5 | 5
        x = 4 or 5 | 4
        4_{5} | 4
        5$6 | 56
        (3\quad x = 9) | 9
        x = 3 or even \approx 2.4 | 2.4
        x = 3 \cup \approx 2.4 | 2.4
        x = 7 \text{ cm} \approx 2.4 | 2.4
        f(x) = x^3 = e^{x} | e^{x}
        x = 2i+1 = 2\pi | 2\pi
        factorial times x = 4 | 4
        0.\overline{6}: 8 | 0.\overline{6}
        0.\overline{6}\; -3 | -3
        6 \fbox{5} | 5
        @ \frac{1}{2} | 0.5
        5 \cup \frac{1}{2} | 0.5
    """,
    "sets and orders": r"""
        2 or 3 | 2 and 3
        2, 3, 4 | 2 and 3
        3, 2 | 2, 3
        CA | A, C
        2, 1 | x = 1, y = 2
        2 and 1 | x = 1 and y = 2
        [4, 5] = 1 and 2 | 1 and 2
        B, D. A | B, D
        B, D) (6 | B, D
        [1, 2] | (1, 2)
    """,
    "one of several values": r"""
        7 | t = 9 or t = 7
        t = 7 | t = 9 or t = 7
        -4 | t = 4, t = -4
        7 | p = 9, q = 7
        q = 7 | p = 9, q = 7
        7 | p = 9 and q = 7
        7 | p = 9; q = 7
        7 | birds = 9, cows = 7
        7 | p = 9 q = 7
        7 | p = 9 / q = 7
        7 | p = 9 \mid q = 7
        p = 9 \land q = 7 | 7
        p = 9 \lor p = 7 | 7
        7 | 9, 7
        B | B, D
        B | BD
    """,
    "other variables": r"""
        s = 9 or s = 7 | t = 9 or t = 7
        p = 9, r = 7 | p = 9, q = 7
        \pm 4 | p = 4, q = -4
        (9, 7) | t = 9 or t = 7
        [7, 9] | t = 9 or t = 7
    """,
    "or where all are asked": r"""
        B or D | BD
        D or B | B, D
        A, B or D | ABD
        B/D | BD
        B or D | B→D
        5 or 9 | 5, 9
        5 or 9 | [5, 9]
        9 or 5 | 9→5
        5 or 9 | \{5, 9\}
        5 \text{ or } 9 | (5, 9)
        p = 5 or q = 9 | p = 5, q = 9
        p = 5 or p = 9 | 5 and 9
        p = 5 or p = 9 | [5, 9]
        image = 5 or image = 9 | 5, 9
        red or blue | red, blue
        Image 4 or Image 2 | Image 4, Image 2
        x = 1 or y = 4 | \begin{cases} x=1 \\ y=4 \end{cases}
    """,
    "matrices": r"""
        \begin{pmatrix}1&2\end{pmatrix} | \begin{pmatrix}1\\2\end{pmatrix}
        \begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&2\\4&3\end{pmatrix}
        \begin{vmatrix}1&2\\3&4\end{vmatrix} | \begin{pmatrix}1&2\\3&4\end{pmatrix}
        \begin{cases}x=4\\y=1\end{cases} | \begin{cases}x=1\\y=4\end{cases}
    """,
    "letter case": r"""
        \Pi | \pi
        \Omega | \omega
        \gamma | \Gamma
        (Y+2)^2 | y^2+4y+4
        P/Q | \frac{p}{q}
        E | e
        E^2 | e^2
        I | i
        2+3I | 2+3i
        \cos Y | \cos y
        RT | rt
        Rt+1 | rt+1
        y = M + 2 | y = m + 2
    """,
    "small numbers": r"""
        1e-18 | 1e-19
        10^{-40} | 0
        \pi \cdot 10^{-20} | 3.14 \cdot 10^{-20}
        \sqrt{3}+10^{-100} | \sqrt{3}
        10^{-30}x | 10^{-31}x
        x + 10^{-20} | x
        x^2 + 10^{-20} | x^2
        (10^{-20}, \infty) | (0, \infty)
        x > 10^{-20} | x > 0
        \begin{pmatrix}10^{-20}\end{pmatrix} | \begin{pmatrix}0\end{pmatrix}
    """,
    "roundings": r"""
        1.414214 | \sqrt{2}
        0.333333 | 0.\overline{3}
        22/7 | \pi
    """,
    "pictures": r"""
        2 | Image 3
        Image 12 | Image 1
        second to last image | second image
        the left and right images | left
        top left | left
        2 cats | Image 2
    """,
    "words": r"""
        silent | listen
        der | red
        yes = red | red
        green = six cups | six cups
        green \approx six cups | 6 cups
        the second picture = Image 1 | Image 1
        dog, cat | dog
    """,
}  # fmt: skip


def lines(text):
    rows = [tuple(part.strip() for part in line.split(" | ")) for line in text.strip().splitlines()]
    assert all(len(row) == 2 for row in rows), rows
    return rows


def other_scores(grader, text, wanted):
    rows = lines(text)
    grades = grader.grade([rf"\boxed{{{answer}}}" for answer, _ in rows], [t for _, t in rows])
    return [(*row, grade) for row, grade in zip(rows, grades, strict=True) if grade.score != wanted]


@pytest.mark.parametrize("kind", DUE)
def test_an_answer_that_says_the_truth_in_another_way_earns_its_point(grader, kind):
    assert other_scores(grader, DUE[kind], 1.0) == []


@pytest.mark.parametrize("kind", NOT_DUE)
def test_an_answer_that_says_something_else_earns_nothing(grader, kind):
    assert other_scores(grader, NOT_DUE[kind], 0.0) == []
