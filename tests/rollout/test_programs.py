"""What the sampler's programs compute."""

import jax
import jax.numpy as jnp
from flax import nnx

from perl_jax.flops import count_in_jaxpr
from perl_jax.models.policy import PromptInputs
from perl_jax.rollout import programs


def test_a_prefill_leaves_out_hidden_states_of_the_last_layer_that_no_token_is_drawn_from(model):
    prompts, length = 3, 32
    shape, config = jax.ShapeDtypeStruct, model.config
    tokens = shape((prompts, length), jnp.int32)
    inputs = PromptInputs(
        tokens, shape((3, *tokens.shape), jnp.int32), shape(tokens.shape, bool), tokens, None
    )
    features = shape((1, 4, *config.feature_shape), jnp.float32)
    definition, parameters = nnx.split(model)
    traced = programs.prefill.trace(definition, None, parameters, features, inputs)
    counted = count_in_jaxpr(traced.jaxpr)
    whole = config.text_operations(
        tokens=prompts * length, pairs=prompts * length**2, predicted=prompts
    )
    # One of these layers, but for keys and values.
    assert 0.6 / config.text.num_layers < 1 - counted / whole < 1 / config.text.num_layers
