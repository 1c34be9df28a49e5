import jax
import jax.numpy as jnp

from perl_jax.attention import KeyValues, attend
from perl_jax.flops import count_in_jaxpr, count_in_kernels
from perl_jax.kernels import Kernel
from perl_jax.mesh import SHARD_AXES, TENSOR_AXIS, make_mesh
from tests.counting import count_flops

A = jnp.zeros((3, 5))
B = jnp.zeros((5, 7))
PRODUCT = 2 * 3 * 5 * 7


def test_a_product_counts_two_operations_for_each_multiply_add():
    assert count_flops(lambda a, b: a @ b, A, B) == PRODUCT


def test_batch_axes_multiply():
    a, b = jnp.zeros((2, 3, 5)), jnp.zeros((2, 5, 7))
    assert count_flops(lambda a, b: jnp.einsum("nij,njk->nik", a, b), a, b) == 2 * PRODUCT


def test_a_scan_counts_its_length():
    def layers(a, b):
        return jax.lax.scan(lambda carry, _: (carry, a @ b), 0, None, length=28)

    assert count_flops(layers, A, B) == 28 * PRODUCT


def test_a_while_loop_counts_the_steps_it_is_said_to_take():
    def loop(a, b):
        def body(carry):
            return carry[0] + 1, a @ b

        return jax.lax.while_loop(lambda carry: carry[0] < 9, body, (0, a @ b))

    assert count_flops(loop, A, B, steps=9) == 10 * PRODUCT


def test_a_conditional_counts_its_most_expensive_branch():
    def branches(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: (a @ b) @ b.T @ b)

    assert count_flops(branches, A, B) == 3 * PRODUCT


def test_functions_inside_functions_count_once():
    inner = jax.jit(jax.checkpoint(lambda a, b: a @ b))
    assert count_flops(lambda a, b: inner(a, b), A, B) == PRODUCT


def test_a_gradient_counts_its_products():
    def loss(a, b):
        return (a @ b).sum()

    assert count_flops(jax.grad(loss, argnums=(0, 1)), A, B) == 3 * PRODUCT


def test_a_traced_program_counts_as_its_function():
    traced = jax.jit(lambda a, b: a @ b).trace(A, B)
    assert count_in_jaxpr(traced.jaxpr) == PRODUCT


def test_a_kernel_counts_all_steps_of_its_grid_on_every_device():
    def attended(queries, keys):
        own = KeyValues(keys, keys, jnp.ones(keys.shape[:3], bool))
        return attend(queries, own, kernel=kernel)

    queries, keys = jnp.zeros((4, 1, 256, 6, 8)), jnp.zeros((4, 1, 1280, 2, 8))
    # Scores, and sums of values; the keys are padded to 1536, three blocks.
    products = 2 * 2 * 4 * 256 * 1536 * 6 * 8
    kernel = Kernel("tpu")
    assert count_flops(attended, queries, keys) == products
    kernel = kernel.on(make_mesh(fsdp=4, tensor=2), SHARD_AXES, TENSOR_AXIS)
    assert count_flops(attended, queries, keys) == products


def test_operations_of_kernels_are_told_from_the_others():
    def attended(queries, keys, b):
        own = KeyValues(keys, keys, jnp.ones(keys.shape[:3], bool))
        return attend(queries, own, kernel=Kernel("tpu")) @ b

    queries, keys = jnp.zeros((4, 1, 256, 6, 8)), jnp.zeros((4, 1, 1280, 2, 8))
    traced = jax.make_jaxpr(attended)(queries, keys, jnp.zeros((8, 7)))
    products = 2 * 2 * 4 * 256 * 1536 * 6 * 8
    assert count_in_kernels(traced) == products
    assert count_in_jaxpr(traced) == products + 2 * 4 * 256 * 6 * 8 * 7
    assert count_in_kernels(jax.make_jaxpr(lambda a, b: a @ b)(A, B)) == 0


def test_blocks_that_a_kernel_passes_over_do_not_count():
    """A causal row of three blocks compares two thirds of them; five sixths are expected."""

    def attended(queries, keys):
        own = KeyValues(keys, keys, jnp.ones(keys.shape[:3], bool))
        slots = jnp.arange(1536)[None, None]
        return attend(queries, own, query_slots=slots, kernel=Kernel("tpu")).sum()

    x = jnp.zeros((1, 1, 1536, 2, 8))
    whole = 2 * 1536 * 1536 * 2 * 8
    assert count_in_kernels(jax.make_jaxpr(attended)(x, x)) == 2 * whole * 5 / 6
    # Backward, scores are computed twice: two products forward, three and four backward.
    of_both = jax.make_jaxpr(jax.grad(attended, argnums=(0, 1)))(x, x)
    assert count_in_kernels(of_both) == (2 + 3 + 4) * whole * 5 / 6
