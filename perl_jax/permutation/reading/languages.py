"""Finds words of other languages than English, which are not read."""

import re

# Words for pictures and their order: one of them is enough.
_PICTURES = """
bild bilder bildes fotografie fotografia imagen imágenes imagem imagens immagine immagini
afbeelding afbeeldingen obraz obrazy obrazek zdjęcie resim gambar hình kép bilde billede kuva
fotos première deuxième troisième dernière dernier erste ersten zweite zweiten dritte dritten
letzte primera primero segunda segundo tercera última primeira terceira seconda terza tweede
eerste derde pierwszy gauche droite rechts izquierda derecha esquerda direita sinistra destra
"""
# Two of them are enough: each alone may be a name, or a word of a title.
_COMMON = """
que qui quoi quel quelle quels est sont une des les dans avec sur pour cette ces et le la du
zeigt das der dem ein eine einen ist sind auf mit und welche welches welcher nicht wie viele im
el los las una unos en para qué cuál cuántos muestra hay es cual uma um nos qual quantos mostra
há são il lo un uno nel nella che cosa quale quanti è sono di de het een wat welke toont zijn
hoeveel niet jest na zdjęciu ile który czy są nie jak apa yang pada adalah dan ini berapa
"""
_ENGLISH = """
the is are in of and to what which does do how there this these that with for it on at by from
or be has have you not can than both each all any other one more same show shows
"""
_PICTURE_WORDS = frozenset(_PICTURES.split())
_COMMON_WORDS = frozenset(_COMMON.split())
_ENGLISH_WORDS = frozenset(_ENGLISH.split())
# Sides, where they are the whole text; in an English one they mean something else.
_ALONE = ("links", "dos", "deux", "zwei", "eins", "tres", "uno", "due", "trois", "primo", "terzo")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def foreign_word(text: str) -> str | None:
    """A word that shows that a text is not English; None where the text may be English."""
    words = _WORD.findall(text.lower())
    if len(words) == 1 and words[0] in _ALONE:
        return words[0]
    if found := next((word for word in words if word in _PICTURE_WORDS), None):
        return found
    foreign = [word for word in words if word in _COMMON_WORDS]
    english = sum(word in _ENGLISH_WORDS for word in words)
    few = len(set(foreign)) < 2 or len(foreign) <= english
    return None if few else foreign[0]
