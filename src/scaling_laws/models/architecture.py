"""Architecture of a language model: all that the shapes of its tensors depend on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Kind = Literal["transformer", "universal", "lstm"]


class Architecture(BaseModel):
    """One architecture of the paper: Transformer, Universal Transformer or LSTM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Kind = "transformer"
    n_layer: Natural
    """Blocks or recurrent layers, each with weights of its own."""
    d_model: Count
    """Width of the residual stream, or of the LSTM's state."""
    n_head: Natural = 0
    """Attention heads; 0 for an LSTM."""
    d_ff: Natural = 0
    """Width of the feed-forward layer; 0 for an LSTM."""
    n_ctx: Count
    """Context length in tokens."""
    vocab_size: Count
    reuse: Count = 1
    """Times that a Universal Transformer passes through its blocks."""
    tied_head: bool = True
    """Whether the head's matrix is the token embedding's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _is_one_that_can_be_built(self) -> Self:
        if self.architecture == "lstm":
            if self.n_layer == 0 or self.n_head or self.d_ff:
                raise ValueError(
                    f"an LSTM has layers, and neither heads nor feed-forward layers; found "
                    f"n_layer = {self.n_layer}, n_head = {self.n_head}, d_ff = {self.d_ff}"
                )
        elif not self.n_head or self.d_model % self.n_head or not self.d_ff:
            raise ValueError(
                f"n_head = {self.n_head} must divide d_model = {self.d_model}, and d_ff = "
                f"{self.d_ff} be positive"
            )
        if (self.reuse > 1) != (self.architecture == "universal"):
            raise ValueError(
                f"reuse = {self.reuse}: a Universal Transformer has 2 or more, all others have 1; "
                f"found architecture = {self.architecture}"
            )
        return self
