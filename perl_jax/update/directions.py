"""The directions of updates that are not elementwise: Muon's and Adafactor's."""

import math
import re
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from perl_jax.models.paths import OUTER_MATRICES, STACKED, within

_MUON_MOMENTUM = 0.95
# Scales an orthogonal update to the root mean square of AdamW's, arXiv 2502.16982 section 2.2, so
# that both kinds of parameters share a learning rate and a weight decay.
_MUON_RMS = 0.2
# Adafactor's cap on the root mean square of an update, arXiv 1804.04235 section 6.
_ADAFACTOR_CLIP = 1.0


def muon(
    dtype: jnp.dtype, params: Mapping[str, Any], adam: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Muon for hidden matrices, ``adam`` for all else; the momentum has the dtype."""
    labels = {
        path: "muon" if _is_hidden_matrix(path, value.shape) else "adam"
        for path, value in params.items()
    }
    into_and_out = optax.contrib.MuonDimensionNumbers(reduction_axis=-1, output_axis=-2)
    numbers = {
        path: into_and_out if label == "muon" else optax.MaskedNode()
        for path, label in labels.items()
    }
    orthogonal = optax.contrib.scale_by_muon(
        beta=_MUON_MOMENTUM, mu_dtype=dtype, weight_dimension_numbers=numbers
    )

    def match_rms(update: Any, _: Any) -> jax.Array:
        return update * (_MUON_RMS * math.sqrt(max(update.shape[-2:])))

    muon = optax.chain(orthogonal, optax.stateless_with_tree_map(match_rms))
    return optax.partition({"muon": muon, "adam": adam}, labels)


def adafactor(params: Mapping[str, Any]) -> optax.GradientTransformation:
    """Adafactor without first moment, of each layer's parameters by themselves."""
    # optax factors the two largest axes, of which a layer axis may be one, and clips whole arrays.
    # Mapped over the layers, both see one layer's parameter at a time.
    each = optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(_ADAFACTOR_CLIP))
    mapped = optax.GradientTransformation(jax.vmap(each.init), jax.vmap(each.update))
    labels = {path: _stack(path) or "single" for path in params}
    transformations: dict[Hashable, optax.GradientTransformation] = {
        label: mapped if label in STACKED else each for label in labels.values()
    }
    return optax.partition(transformations, labels)


def _stack(path: str) -> str | None:
    """The stack of layers that a parameter belongs to, if any."""
    return next((module for module in STACKED if within(path, module)), None)


def _is_hidden_matrix(path: str, shape: tuple[int, ...]) -> bool:
    rank = len(shape) - (_stack(path) is not None)
    return rank == 2 and not re.fullmatch(OUTER_MATRICES, path)
