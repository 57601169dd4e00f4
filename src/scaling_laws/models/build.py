"""The model of an architecture."""

from __future__ import annotations

from scaling_laws.models.architecture import Architecture, Kind
from scaling_laws.models.language_model import LanguageModel
from scaling_laws.models.lstm import LSTM
from scaling_laws.models.transformer import Transformer

MODELS: dict[Kind, type[LanguageModel]] = {
    "transformer": Transformer,
    "universal": Transformer,
    "lstm": LSTM,
}


def build(architecture: Architecture) -> LanguageModel:
    """Return the untrained model, its weights drawn from PyTorch's global generator."""
    return MODELS[architecture.architecture](architecture)
