"""What a learner's programs are made of and compiled with; none is compiled."""

import jax
import optax
import pytest

from perl_jax.mesh import BatchSharding, make_mesh
from perl_jax.models import abstract_model
from perl_jax.update import programs
from perl_jax.update.forward import Head
from perl_jax.update.state import SplitPolicy
from tests.update.update_on_topology import small_config


def made(mesh, remat="none"):
    """The function and options of each program by its name, and the policy."""
    model = abstract_model(small_config(), dtype="float32", mesh=mesh)
    policy, found = SplitPolicy(model), {}

    def compile(name, function, **options):
        found[name] = function, options

    programs.Programs(
        policy,
        policy.split(model),
        loss=None,
        head=Head(remat=remat, mesh=mesh),
        optimizer=optax.sgd(1.0),
        schedule=optax.constant_schedule(1.0),
        sharding=BatchSharding.of(mesh),
        compile=compile,
    )
    return found, policy


def test_those_that_run_the_model_are_compiled_with_the_options_of_its_devices(monkeypatch):
    asked = []
    monkeypatch.setattr(
        programs, "compiler_options", lambda *given: asked.append(given) or {"of": "devices"}
    )
    mesh = make_mesh(1, 4, 2)
    found, _ = made(mesh)
    options = {name: given.get("compiler_options") for name, (_, given) in found.items()}
    assert {name for name, given in options.items() if given} == {"add", "score"}
    assert asked == [(set(jax.devices()), mesh)]


@pytest.mark.parametrize(
    ("remat", "in_place"), [("none", False), ("wide", False), ("inputs", True), ("layers", True)]
)
def test_gradients_are_added_up_layer_by_layer_where_layers_keep_their_inputs_alone(
    remat, in_place
):
    found, policy = made(make_mesh(1, 4, 2), remat)
    add, _ = found["add"]
    assert len(policy.text_layers) > 10
    assert add.args[2] == (policy.text_layers if in_place else ())
