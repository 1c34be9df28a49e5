"""The optimizers against arithmetic by hand, NumPy in float64, torch, and themselves."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.mesh import make_mesh
from perl_jax.update.optimizer import (
    OPTIMIZERS,
    OptimizerConfig,
    applied_updates,
    apply_gradients,
    learning_rate_schedule,
    make_optimizer,
)

# The vision stack is deeper than its matrices are wide.
SHAPES = {
    "text.embed_tokens.weight": (11, 6),
    "text.layers.input_layernorm.weight": (3, 6),
    "text.layers.self_attn.q_proj.weight": (3, 8, 6),
    "text.layers.self_attn.q_proj.bias": (3, 8),
    "text.norm.weight": (6,),
    "vision.blocks.mlp.up_proj.weight": (6, 5, 4),
    "vision.patch_embed.weight": (4, 12),
    "vision.merger.ln_q.weight": (4,),
    "vision.merger.hidden.weight": (8, 8),
    "lm_head.weight": (11, 6),
}
VECTORS = [path for path in SHAPES if "norm" in path or "ln_q" in path or path.endswith("bias")]
MATRICES = [path for path in SHAPES if path not in VECTORS]
MUON_MATRICES = [
    path for path in MATRICES
    if path not in ("text.embed_tokens.weight", "vision.patch_embed.weight", "lm_head.weight")
]  # fmt: skip
# One of each kind: quick to compile.
FEW = {
    path: SHAPES[path]
    for path in (
        "text.embed_tokens.weight",
        "text.layers.self_attn.q_proj.weight",
        "text.norm.weight",
    )
}
USUAL = {"learning_rate": 0.1, "schedule": "linear", "weight_decay": 0.3, "max_grad_norm": 1.0}
PLAIN = {"weight_decay": 0.0, "max_grad_norm": None}


def arrays(seed, shapes=SHAPES, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        path: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for path, shape in shapes.items()
    }


@functools.cache
def compiled(config, total, shapes):
    """The optimizer's compiled init and update for parameters of these shapes."""
    params = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes}
    optimizer = make_optimizer(config, total, params)
    return jax.jit(optimizer.init), jax.jit(functools.partial(apply_gradients, optimizer))


def compiled_for(config, params, total=100):
    return compiled(config, total, tuple((path, value.shape) for path, value in params.items()))


def run(config, params, gradients, total=100):
    """Parameters and state after one update for each of the gradients, and all stats."""
    init, step = compiled_for(config, params, total)
    state, seen = init(params), []
    for gradient in gradients:
        params, state, stats = step(params, state, gradient)
        seen.append({name: float(value) for name, value in stats.items()})
    return params, state, seen


def assert_same_bits(got, want):
    got, want = jax.tree.leaves_with_path(got), jax.tree.leaves_with_path(want)
    assert [path for path, _ in got] == [path for path, _ in want]
    for (path, a), (_, b) in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path


def test_two_adamw_updates_by_hand():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.1, max_grad_norm=None)
    weight = {"lm_head.weight": jnp.full((1, 1), 1.0)}
    gradients = [{"lm_head.weight": jnp.full((1, 1), value)} for value in (0.5, -0.25)]
    # Update 1: the corrected moments are 0.5 and 0.25, so 1 - 0.1 (1 + 0.1 · 1) = 0.89.
    first, _, _ = run(config, weight, gradients[:1])
    assert float(first["lm_head.weight"][0, 0]) == pytest.approx(0.89, abs=1e-6)
    # Update 2: m = 0.9 · 0.05 - 0.1 · 0.25 = 0.02, over 1 - 0.9² = 0.19;
    # v = 0.999 · 0.00025 + 0.001 · 0.0625 = 0.00031225, over 1 - 0.999² = 0.001999.
    direction = (0.02 / 0.19) / math.sqrt(0.00031225 / 0.001999)
    assert direction == pytest.approx(0.26634, abs=1e-5)
    second, _, stats = run(config, weight, gradients)
    expected = 0.89 - 0.1 * (direction + 0.1 * 0.89)
    assert float(second["lm_head.weight"][0, 0]) == pytest.approx(expected, abs=1e-6)
    assert stats[1]["optimizer/grad_norm"] == pytest.approx(0.25)
    assert stats[1]["optimizer/update_norm"] == pytest.approx(0.89 - expected, abs=1e-6)
    assert stats[1]["optimizer/param_norm"] == pytest.approx(expected, abs=1e-6)
    assert stats[1]["optimizer/skipped"] == 0


def numpy_adamw(config, params, gradients, rates):
    """AdamW with global-norm clipping in float64, written from the papers."""
    params = {path: np.asarray(value, np.float64) for path, value in params.items()}
    first = {path: np.zeros_like(value) for path, value in params.items()}
    second = {path: np.zeros_like(value) for path, value in params.items()}
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = math.sqrt(sum(np.sum(np.asarray(g, np.float64) ** 2) for g in gradient.values()))
        scale = min(1.0, config.max_grad_norm / norm)
        for path in params:
            g = scale * np.asarray(gradient[path], np.float64)
            first[path] = config.b1 * first[path] + (1 - config.b1) * g
            second[path] = config.b2 * second[path] + (1 - config.b2) * g**2
            direction = (first[path] / (1 - config.b1**t)) / (
                np.sqrt(second[path] / (1 - config.b2**t)) + config.epsilon
            )
            decay = config.weight_decay if path in MATRICES else 0.0
            params[path] = params[path] - rate * (direction + decay * params[path])
    return params


def test_adamw_with_clip_mask_warmup_and_cosine_is_that_of_numpy():
    config = OptimizerConfig(
        learning_rate=0.02, schedule="cosine", warmup_updates=3, final_scale=0.1, b1=0.8, b2=0.95,
        epsilon=1e-3, weight_decay=0.3, max_grad_norm=5.0,
    )  # fmt: skip
    params = arrays(0)
    gradients = [arrays(seed, scale=0.1 * seed) for seed in range(1, 13)]
    rates = [0.02 * (t + 1) / 3 for t in range(3)] + [
        0.02 * (0.1 + 0.9 * (1 + math.cos(math.pi * t / 9)) / 2) for t in range(9)
    ]
    got, _, stats = run(config, params, gradients, total=12)
    assert (
        stats[0]["optimizer/grad_norm"] < 5 < stats[-1]["optimizer/grad_norm"]
    )  # The clip acts, and not always.
    want = numpy_adamw(config, params, gradients, rates)
    for path in SHAPES:
        np.testing.assert_allclose(got[path], want[path], rtol=2e-5, atol=2e-6, err_msg=path)


@pytest.mark.parity
def test_adamw_is_that_of_torch():
    torch = pytest.importorskip("torch")
    config = OptimizerConfig(learning_rate=0.02, weight_decay=0.3, max_grad_norm=4.0)
    params, gradients = arrays(0, FEW), [arrays(seed, FEW) for seed in range(1, 6)]
    theirs = {path: torch.tensor(np.array(value)) for path, value in params.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [theirs[path] for path in FEW if path in MATRICES], "weight_decay": 0.3},
            {"params": [theirs[path] for path in FEW if path in VECTORS], "weight_decay": 0.0},
        ],
        lr=0.02,
    )
    for gradient in gradients:
        for path, value in theirs.items():
            value.grad = torch.tensor(np.array(gradient[path]))
        torch.nn.utils.clip_grad_norm_(theirs.values(), 4.0)
        optimizer.step()
    ours, _, _ = run(config, params, gradients)
    for path in FEW:
        np.testing.assert_allclose(ours[path], theirs[path].numpy(), rtol=1e-5, atol=1e-6)


def test_of_a_real_model_every_matrix_decays_and_no_vector(model):
    params = {
        ".".join(map(str, path)): leaf[...]
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }
    params = {path: value + 1.0 for path, value in params.items()}
    config = OptimizerConfig(learning_rate=0.5, weight_decay=0.5)
    zero = {path: jnp.zeros_like(value) for path, value in params.items()}
    after, _, _ = run(config, params, [zero])
    shrunk = {path for path in params if not np.array_equal(after[path], params[path])}
    stacked = ("text.layers.", "vision.blocks.")
    matrices = {
        path for path, value in params.items() if value.ndim - path.startswith(stacked) == 2
    }
    assert shrunk == matrices
    assert len(params) > len(matrices) > 10
    for path in matrices:  # Decoupled: no moment, no clip, only learning rate times decay.
        np.testing.assert_allclose(after[path], 0.75 * params[path], rtol=1e-6)


def test_paths_that_do_not_decay_are_matched_whole():
    params = arrays(0, FEW)
    zero = {path: jnp.zeros_like(value) for path, value in params.items()}
    config = OptimizerConfig(
        learning_rate=0.5, weight_decay=0.5, no_decay=(r"text\.[en].*", "text")
    )
    after, _, _ = run(config, params, [zero])
    for path in FEW:
        factor = 1.0 if path.startswith(("text.e", "text.n")) else 0.75
        np.testing.assert_allclose(after[path], factor * params[path], rtol=1e-6, err_msg=path)


def values(total, counts, **settings):
    schedule = learning_rate_schedule(OptimizerConfig(learning_rate=2.0, **settings), total)
    return [float(schedule(count)) for count in counts]


def test_a_factor_scales_all_that_moves_a_parameter_and_the_first_match_counts():
    rates = (("vision.merger.*", 0.5), ("vision.*", 0.1), (r"lm_head\.weight", 0.0))
    params, gradients = arrays(0), arrays(1)
    moved = []
    for given in ((), rates):
        config = OptimizerConfig(learning_rate=0.1, weight_decay=0.3, rates=given)
        after, state, _ = run(config, params, [gradients], total=10)
        assert int(applied_updates(state)) == 1
        moved.append({path: np.asarray(after[path] - params[path]) for path in params})
    plain, scaled = moved
    for path in SHAPES:
        factor = 0.1 if path.startswith("vision") else 1.0
        factor = 0.5 if path.startswith("vision.merger") else factor
        factor = 0.0 if path == "lm_head.weight" else factor
        np.testing.assert_allclose(scaled[path], factor * plain[path], rtol=1e-4, atol=1e-6)


def test_a_factor_for_no_trained_parameter_is_refused():
    config = OptimizerConfig(rates=(("vision", 0.1),))
    with pytest.raises(ValueError, match=r"rates: 'vision' matches no trained parameter"):
        make_optimizer(config, 10, arrays(0))
    with pytest.raises(ValueError, match="rates: expected regular expressions"):
        OptimizerConfig(rates=(("(", 0.1),))


def test_schedules_have_their_values_at_the_boundaries():
    linear = values(14, [0, 1, 3, 4, 9, 13, 14, 99], schedule="linear", warmup_updates=4)
    assert linear == pytest.approx([0.5, 1.0, 2.0, 2.0, 1.0, 0.2, 0.0, 0.0], abs=1e-6)
    linear = values(10, [0, 5, 10, 11], schedule="linear", final_scale=0.25)
    assert linear == pytest.approx([2.0, 1.25, 0.5, 0.5], abs=1e-6)
    cosine = values(10, [0, 5, 10], schedule="cosine", final_scale=0.25)
    assert cosine == pytest.approx([2.0, 2.0 * (0.25 + 0.75 / 2), 0.5], abs=1e-6)
    cosine = values(11, [0, 1, 6, 11], schedule="cosine", warmup_updates=1)
    assert cosine == pytest.approx([2.0, 2.0, 1.0, 0.0], abs=1e-6)
    constant = values(10, [0, 1, 2, 9, 50], warmup_updates=2, final_scale=0.5)
    assert constant == pytest.approx([1.0, 2.0, 2.0, 2.0, 2.0])


def test_an_update_uses_the_learning_rate_of_the_updates_before_it():
    # A constant gradient makes AdamW's direction 1: what is taken off is the learning rate.
    config = OptimizerConfig(
        learning_rate=0.3, schedule="linear", warmup_updates=2, epsilon=1e-12, **PLAIN
    )
    params = {"text.norm.weight": jnp.zeros(1)}
    gradients = [{"text.norm.weight": jnp.ones(1)}] * 5
    _, state, stats = run(config, params, gradients, total=5)
    steps = [seen["optimizer/update_norm"] for seen in stats]
    assert steps == pytest.approx([0.15, 0.3, 0.3, 0.2, 0.1], rel=1e-4)
    assert int(applied_updates(state)) == 5


def test_a_run_shorter_than_its_warmup_is_refused():
    config = OptimizerConfig(warmup_updates=10)
    with pytest.raises(ValueError, match="warmup_updates: expected fewer than the run's 10 upd"):
        learning_rate_schedule(config, 10)
    with pytest.raises(ValueError, match="total_updates: expected at least 1; got 0"):
        make_optimizer(OptimizerConfig(), 0, arrays(0))


def test_a_clipped_gradient_moves_like_the_same_gradient_scaled_down():
    params = {"text.norm.weight": jnp.ones(1), "lm_head.weight": jnp.ones((1, 1))}
    of = lambda a, b: {"text.norm.weight": jnp.full(1, a), "lm_head.weight": jnp.full((1, 1), b)}  # noqa: E731
    # Norms 5 and 0.5: with a bound of 1 the first is divided by 5, the second stays.
    clipped, state, stats = run(
        OptimizerConfig(learning_rate=0.1, max_grad_norm=1.0), params, [of(3.0, 4.0), of(0.3, -0.4)]
    )
    scaled, wanted, _ = run(
        OptimizerConfig(learning_rate=0.1, max_grad_norm=None),
        params,
        [of(0.6, 0.8), of(0.3, -0.4)],
    )
    assert [seen["optimizer/grad_norm"] for seen in stats] == pytest.approx([5.0, 0.5])
    for path in params:
        np.testing.assert_allclose(clipped[path], scaled[path], rtol=1e-6)
        for moment in ("mu", "nu"):
            got, want = (optax.tree.get(each, moment)[path] for each in (state, wanted))
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.reliability("F38")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_bad_gradient_changes_no_bit_and_is_forgotten(name):
    config = OptimizerConfig(name=name, **USUAL)
    params, first, last = arrays(0), arrays(1), arrays(2)
    before, state, _ = run(config, params, [first])
    _, step = compiled_for(config, params)
    for bad in (math.nan, -math.inf, 1e25):  # The last is finite, but its square is not.
        damaged = dict(first)
        damaged["vision.merger.ln_q.weight"] = first["vision.merger.ln_q.weight"].at[2].set(bad)
        after, same, stats = step(before, state, damaged)
        assert_same_bits(after, before)
        assert_same_bits(same, state)
        assert int(applied_updates(same)) == 1
        assert int(stats["optimizer/skipped"]) == 1
        assert not np.isfinite(stats["optimizer/grad_norm"])
        assert float(stats["optimizer/update_norm"]) == 0.0
        norm = math.sqrt(sum(np.sum(np.square(value)) for value in before.values()))
        assert float(stats["optimizer/param_norm"]) == pytest.approx(norm, rel=1e-5)
    resumed, resumed_state, stats = step(after, same, last)
    never, never_state, _ = run(config, params, [first, last])
    assert int(stats["optimizer/skipped"]) == 0
    assert_same_bits(resumed, never)
    assert_same_bits(resumed_state, never_state)


@pytest.mark.reliability("F39")
def test_a_finite_gradient_whose_update_is_not_finite_changes_nothing():
    config = OptimizerConfig(learning_rate=0.1)
    params = arrays(0, FEW)
    before, state, _ = run(config, params, [arrays(1, FEW)])
    damaged = jax.tree.map(lambda x: x, state)
    optax.tree.get(damaged, "nu")["text.norm.weight"] = jnp.full(6, jnp.nan)
    _, step = compiled_for(config, params)
    after, same, stats = step(before, damaged, arrays(2, FEW))
    assert int(stats["optimizer/skipped"]) == 1
    assert np.isfinite(stats["optimizer/grad_norm"])
    assert_same_bits(after, before)
    assert_same_bits(same, damaged)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_a_mesh_and_with_donated_buffers_it_is_the_same_update(name):
    shapes = {"text.layers.mlp.up_proj.weight": (3, 16, 8), "text.layers.mlp.up_proj.bias": (3, 16)}
    config = OptimizerConfig(name=name, learning_rate=0.1)
    params, gradients = arrays(0, shapes), arrays(1, shapes)
    want, _, expected = run(config, params, [gradients])
    mesh = make_mesh(data=1, fsdp=4, tensor=2)
    parts = (PartitionSpec(None, "tensor", "fsdp"), PartitionSpec(None, "tensor"))
    placed, spread = (
        {
            path: jax.device_put(tree[path], NamedSharding(mesh, part))
            for path, part in zip(shapes, parts, strict=True)
        }
        for tree in (params, gradients)
    )
    optimizer = make_optimizer(config, 100, params)
    state = jax.jit(optimizer.init)(placed)
    update = jax.jit(functools.partial(apply_gradients, optimizer), donate_argnums=(0, 1))
    got, _, stats = update(placed, state, spread)
    assert all(value.is_deleted() for value in placed.values())
    for path in shapes:
        np.testing.assert_allclose(got[path], want[path], rtol=1e-5, atol=1e-6)
        assert got[path].sharding.spec == parts[list(shapes).index(path)]
    for stat, value in expected[0].items():
        assert float(stats[stat]) == pytest.approx(value, rel=1e-5)


def separate(params, path, layer):
    """One layer of a stacked parameter, under a path that is not stacked."""
    return {f"vision.merger.{path.rsplit('.', 1)[-1]}": params[path][layer]}


@pytest.mark.parametrize("path", [path for path in SHAPES if "layers" in path or "blocks" in path])
def test_muon_on_a_stack_is_muon_on_each_layer(path):
    config = OptimizerConfig(name="muon", learning_rate=0.1, weight_decay=0.2, max_grad_norm=None)
    # Layers of very different sizes: what is not kept apart shows.
    scales = 10.0 ** jnp.arange(SHAPES[path][0]).reshape(-1, *[1] * (len(SHAPES[path]) - 1))
    trees = [arrays(seed, {path: SHAPES[path]}) for seed in range(4)]
    params, *gradients = [{path: tree[path] * (scales + 0 * tree[path])} for tree in trees]
    stacked, _, _ = run(config, params, gradients)
    for layer in range(SHAPES[path][0]):
        alone = separate(params, path, layer)
        if "norm" in path:
            alone = {"text.norm.weight": params[path][layer]}
        (name,) = alone
        single, _, _ = run(config, alone, [{name: g[path][layer]} for g in gradients])
        np.testing.assert_allclose(stacked[path][layer], single[name], rtol=2e-5, atol=1e-6)


def numpy_muon(gradients, momentum=0.95):
    """Directions of Muon in float64: Nesterov momentum, five quintic Newton-Schulz iterations."""
    average, directions = np.zeros_like(gradients[0]), []
    for t, g in enumerate(gradients, start=1):
        average = momentum * average + (1 - momentum) * g
        ahead = momentum * average / (1 - momentum ** (t + 1)) + (1 - momentum) * g / (
            1 - momentum**t
        )
        x = ahead / np.linalg.norm(ahead)
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        directions.append(x)
    return directions


def test_muon_takes_near_orthogonal_steps_of_the_size_of_adamws():
    config = OptimizerConfig(name="muon", learning_rate=0.1, **PLAIN)
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(6, 10)) for _ in range(3)]
    path = "vision.merger.hidden.weight"
    params, _, _ = run(
        config, {path: jnp.zeros((6, 10))}, [{path: jnp.asarray(g, jnp.float32)} for g in gradients]
    )
    directions = numpy_muon(gradients)
    scale = 0.1 * 0.2 * math.sqrt(10)
    np.testing.assert_allclose(params[path], -scale * sum(directions), rtol=1e-3, atol=1e-5)
    singular = np.linalg.svd(directions[-1], compute_uv=False)
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    # So an element's root mean square is about a fifth of the learning rate.
    assert np.sqrt(np.mean((scale * directions[-1]) ** 2)) == pytest.approx(0.02, rel=0.25)


def test_what_muon_does_not_orthogonalise_gets_adamw():
    params, gradients = arrays(0), [arrays(seed) for seed in (1, 2, 3)]
    muon, _, _ = run(OptimizerConfig(name="muon", **USUAL), params, gradients)
    adamw, _, _ = run(OptimizerConfig(name="adamw", **USUAL), params, gradients)
    for path in SHAPES:
        same = np.allclose(muon[path], adamw[path], rtol=1e-6, atol=1e-7)
        assert same == (path not in MUON_MATRICES), path


def numpy_adafactor(params, gradients, rate):
    """Adafactor on one factored matrix in float64, without the scale of the parameter."""
    params, rows, columns = np.asarray(params, np.float64), 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        g = np.asarray(g, np.float64)
        decay = 1 - t**-0.8
        rows = decay * rows + (1 - decay) * np.mean(g**2 + 1e-30, axis=1)
        columns = decay * columns + (1 - decay) * np.mean(g**2 + 1e-30, axis=0)
        update = g / np.sqrt(np.outer(rows, columns) / np.mean(rows))
        params = params - rate * update / max(1.0, np.sqrt(np.mean(update**2)))
    return params


def test_adafactor_on_a_stack_is_adafactor_on_each_layer():
    # More layers than rows, so that the layer axis is among the two largest; layers of different
    # sizes, and spikes, so that factors and clips shared between layers would show.
    path, layers = "text.layers.mlp.up_proj.weight", 140
    config = OptimizerConfig(name="adafactor", learning_rate=0.1, **PLAIN)
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-3, 3, (layers, 1, 1))
    draw = lambda: sizes * rng.normal(size=(layers, 128, 130)) ** 5  # noqa: E731
    params = {path: jnp.zeros((layers, 128, 130))}
    gradients = [{path: jnp.asarray(draw(), jnp.float32)} for _ in range(3)]
    stacked, state, _ = run(config, params, gradients)
    for layer in (0, 77, 139):
        want = numpy_adafactor(params[path][layer], [g[path][layer] for g in gradients], 0.1)
        np.testing.assert_allclose(stacked[path][layer], want, rtol=1e-4, atol=1e-5)
        single, _, _ = run(
            config,
            {"vision.merger.hidden.weight": params[path][layer]},
            [{"vision.merger.hidden.weight": g[path][layer]} for g in gradients],
        )
        (alone,) = single.values()
        np.testing.assert_allclose(stacked[path][layer], alone, rtol=1e-5, atol=1e-5)
    # A second moment of rows and columns only: that is what Adafactor is for.
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 0.02 * params[path].size


def test_stacks_of_different_depths_share_one_adafactor():
    config = OptimizerConfig(name="adafactor", learning_rate=0.1, **PLAIN)
    params, gradients = arrays(0), [arrays(1), arrays(2)]
    together, _, _ = run(config, params, gradients)
    for path in ("text.layers.self_attn.q_proj.bias", "vision.blocks.mlp.up_proj.weight"):
        alone, _, _ = run(config, {path: params[path]}, [{path: g[path]} for g in gradients])
        np.testing.assert_allclose(together[path], alone[path], rtol=1e-6)


def test_bfloat16_parameters_are_updated_in_float32():
    config = OptimizerConfig(learning_rate=0.01, weight_decay=0.3, max_grad_norm=3.0)
    params, gradients = (
        {path: value.astype(jnp.bfloat16) for path, value in arrays(seed, FEW).items()}
        for seed in (0, 1)
    )
    wide = lambda tree: {path: value.astype(jnp.float32) for path, value in tree.items()}  # noqa: E731
    got, state, stats = run(config, params, [gradients])
    want, want_state, expected = run(config, wide(params), [wide(gradients)])
    assert_same_bits(got, {path: value.astype(jnp.bfloat16) for path, value in want.items()})
    assert_same_bits(state, want_state)
    assert stats[0]["optimizer/grad_norm"] == expected[0]["optimizer/grad_norm"]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_the_first_moment_is_kept_in_bfloat16_if_asked(name):
    params, gradients = arrays(0, FEW), [arrays(seed, FEW) for seed in (1, 2)]
    config = OptimizerConfig(name=name, learning_rate=0.1, state_dtype="bfloat16")
    narrow, state, _ = run(config, params, gradients)
    wide, _, _ = run(OptimizerConfig(name=name, learning_rate=0.1), params, gradients)
    dtypes = {
        jax.tree_util.keystr(path): leaf.dtype
        for path, leaf in jax.tree.leaves_with_path(state)
        if leaf.ndim and "ns_coeffs" not in jax.tree_util.keystr(path)
    }
    assert {dtype for key, dtype in dtypes.items() if ".mu" in key} == {jnp.dtype("bfloat16")}
    assert {dtype for key, dtype in dtypes.items() if ".nu" in key} == {jnp.dtype("float32")}
    for path in FEW:
        np.testing.assert_allclose(narrow[path], wide[path], atol=0.02)
        assert not np.array_equal(narrow[path], wide[path])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": math.nan}, "learning_rate: expected a positive number; got nan"),
        ({"learning_rate": -1.0}, r"learning_rate: expected a positive number; got -1\.0"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number; got 0"),
        ({"learning_rate": math.inf}, "learning_rate: expected a positive number; got inf"),
        ({"learning_rate": "1e-6"}, "learning_rate: expected a positive number; got '1e-6'"),
        ({"learning_rate": True}, "learning_rate: expected a positive number; got True"),
        ({"b1": 1.0}, r"b1: expected a number from 0 to below 1; got 1\.0"),
        ({"b2": -0.1}, r"b2: expected a number from 0 to below 1; got -0\.1"),
        ({"epsilon": 0.0}, r"epsilon: expected a number of at least 1e-37; got 0\.0"),
        ({"weight_decay": math.nan}, "weight_decay: expected a number of at least 0; got nan"),
        ({"final_scale": 1.5}, r"final_scale: expected a share from 0 to 1; got 1\.5"),
        ({"max_grad_norm": math.nan}, "max_grad_norm: expected a positive number or None; got nan"),
        ({"max_grad_norm": 0}, "max_grad_norm: expected a positive number or None; got 0"),
        ({"warmup_updates": 2.5}, r"warmup_updates: expected an integer of at least 0; got 2\.5"),
        ({"warmup_updates": math.inf}, "warmup_updates: expected an integer of at least 0; got i"),
        ({"max_skipped": 0}, "max_skipped: expected an integer of at least 1; got 0"),
        ({"name": "adamv"}, r"name: expected one of .*got 'adamv' \(did you mean 'adamw'\?\)"),
        ({"schedule": "linaer"}, r"schedule: .*got 'linaer' \(did you mean 'linear'\?\)"),
        (
            {"state_dtype": "float16"},
            "state_dtype: expected one of float32, bfloat16; got 'float16",
        ),
        ({"no_decay": ("(",)}, r"no_decay: expected regular expressions; got '\('"),
        ({"no_decay": r".*\.bias"}, "no_decay: expected a list of patterns; got"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        OptimizerConfig(**settings)


def test_gradients_that_do_not_fit_the_parameters_are_refused():
    params = arrays(0)
    optimizer = make_optimizer(OptimizerConfig(), 10, params)
    state = optimizer.init(params)
    missing = {path: value for path, value in params.items() if path != "lm_head.weight"}
    with pytest.raises(ValueError, match=r"'lm_head\.weight' is among the parameters only"):
        apply_gradients(optimizer, params, state, missing)
    with pytest.raises(ValueError, match="'more' is among the gradients only"):
        apply_gradients(optimizer, params, state, {**params, "more": jnp.zeros(1)})
    wrong = {**params, "text.norm.weight": jnp.zeros(5)}
    with pytest.raises(ValueError, match=r"text\.norm\.weight: expected shape \[6\]; got \[5\]"):
        apply_gradients(optimizer, params, state, wrong)
    with pytest.raises(ValueError, match="params: expected at least one trainable parameter"):
        make_optimizer(OptimizerConfig(), 10, {})


LARGE = {
    "text.embed_tokens.weight": (64, 1024),
    "text.layers.self_attn.q_proj.weight": (3, 256, 256),
    "text.layers.self_attn.q_proj.bias": (3, 256),
}


def large():
    config = OptimizerConfig(**USUAL)
    params = arrays(0, LARGE)
    return make_optimizer(config, 10, params), params, arrays(1, LARGE)


def test_an_update_in_blocks_is_the_same_and_its_norm_too():
    optimizer, params, gradients = large()
    assert optimizer.blocks > 1
    state = optimizer.init(params)
    cut = jax.jit(functools.partial(apply_gradients, optimizer))(params, state, gradients)
    whole = jax.jit(functools.partial(apply_gradients, optimizer._replace(blocks=1)))
    expected = whole(params, state, gradients)
    for one, other in zip(jax.tree.leaves(cut[:2]), jax.tree.leaves(expected[:2]), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, value in expected[2].items():
        np.testing.assert_allclose(cut[2][name], value, rtol=1e-6)


def test_a_number_that_is_not_finite_is_found_in_every_block():
    optimizer, params, gradients = large()
    update = jax.jit(functools.partial(apply_gradients, optimizer))
    state = optimizer.init(params)
    for place in (0, -1):
        # The gradients are finite; a moment of the state is not.
        nu = state[1].nu["text.embed_tokens.weight"].reshape(-1).at[place].set(jnp.nan)
        broken = {**state[1].nu, "text.embed_tokens.weight": nu.reshape(64, 1024)}
        _, _, stats = update(
            params, (state[0], state[1]._replace(nu=broken), *state[2:]), gradients
        )
        assert int(stats["optimizer/skipped"]) == 1


def test_an_update_moves_donated_arrays_in_place_and_holds_a_block_of_its_own():
    optimizer, params, gradients = large()
    update = functools.partial(apply_gradients, optimizer._replace(blocks=64))
    arguments = (params, optimizer.init(params), gradients)
    compiled = jax.jit(update, donate_argnums=(0, 1)).lower(*arguments).compile()
    size = sum(leaf.nbytes for leaf in params.values())
    assert compiled.memory_analysis().temp_size_in_bytes < size / 16


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_elementwise_updates_are_computed_twice_or_in_blocks(name):
    optimizer = make_optimizer(OptimizerConfig(name=name), 10, arrays(0, LARGE))
    assert optimizer.twice == (name == "adamw")
    assert (optimizer.blocks > 1) == (name == "adamw")


def test_arrays_that_are_split_over_devices_are_not_cut():
    mesh = make_mesh(fsdp=8)
    sharding = NamedSharding(mesh, PartitionSpec("fsdp", None))
    split = {"text.embed_tokens.weight": jax.device_put(jnp.zeros((64, 1024)), sharding)}
    assert make_optimizer(OptimizerConfig(), 10, split).blocks == 1


def test_gradients_are_clipped_as_optax_clips_them():
    _, _, gradients = large()
    expected, _ = optax.clip_by_global_norm(1.0).update(gradients, optax.EmptyState())
    params = jax.tree.map(jnp.zeros_like, gradients)
    optimizer = make_optimizer(
        OptimizerConfig(learning_rate=1.0, b1=0.0, b2=0.0, epsilon=1e3, weight_decay=0), 10, params
    )
    # With so large an epsilon the update is the clipped gradient, scaled.
    moved, _, _ = apply_gradients(optimizer, params, optimizer.init(params), gradients)
    for path, value in moved.items():
        np.testing.assert_allclose(value, -expected[path] / 1e3, rtol=1e-4)
