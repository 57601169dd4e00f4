"""The language of a text, by langid.

Importing this module loads the model, which takes a third of a second and 100 MB.
"""

from __future__ import annotations

from py3langid.langid import MODEL_FILE, LanguageIdentifier

CHARACTERS = 4000  # from the start of a text; more of them change next to no answer

_identifier = LanguageIdentifier.from_model_file(MODEL_FILE)


def language_of(text: str) -> str:
    """Return the language of a text, ISO 639-1 where it has a code there."""
    language: str = _identifier.classify(text[:CHARACTERS])[0]
    return language
