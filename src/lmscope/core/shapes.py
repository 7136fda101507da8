"""Axis names that every tensor annotation uses, and what each counts.

Annotations are jaxtyping shapes (`Float[Tensor, "token model"]`); in tests each one is checked.

| axis | counts |
|---|---|
| batch | contexts of one forward pass |
| pos | positions of a context |
| token | positions of many contexts in one flat list |
| model | coordinates of the residual stream |
| read, write | coordinates of the site that a dictionary reads, writes |
| latent | coordinates of a dictionary |
| k | kept latents of one token |
| head, kv_head | attention heads; heads of keys and values |
| query, key | positions that attend, positions attended to |
| head_dim | coordinates of one head |
| hidden | neurons of a feed-forward layer |
| vocab | token ids |
| context | contexts of a corpus |
| prompt | rows of a soft prompt |
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Int[Tensor, "batch pos"]
"""Vocabulary ids."""
PositionMask = Bool[Tensor, "batch pos"]
"""True where a position holds text (False: padding)."""
Embeds = Float[Tensor, "batch pos model"]
"""Rows that stand in for token embeddings."""
Logits = Float[Tensor, "batch pos vocab"]
"""Next-token (or masked-token) scores before the softmax."""
Activations = Float[Tensor, "token width"]
"""Values of one site at many positions."""
