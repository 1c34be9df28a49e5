"""Compilations as JAX tells of them: a program's name, and its time from tracing to the end."""

import threading

import jax
import jax.numpy as jnp
from jax import monitoring

from perl_jax.training.display.compilations import CompilationWatch

TRACE = "/jax/core/compile/jaxpr_trace_duration"
LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILE = "/jax/core/compile/backend_compile_duration"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def span(clock, event, name, seconds, inside=lambda: None):
    monitoring.record_scalar(event, 0.0, fun_name=name)
    clock.now += seconds
    inside()
    monitoring.record_event_duration_secs(event, seconds, fun_name=name)


def test_a_program_takes_from_the_start_of_its_trace_to_the_end_of_the_compiler():
    clock, told = Clock(), []
    with CompilationWatch(clock, lambda *what: told.append(what)) as watch:
        # Tracing it traces another one, which does not count twice.
        span(clock, TRACE, "decode", 2.0, lambda: span(clock, TRACE, "inner", 1.0))
        span(clock, LOWER, "jit(decode)", 4.0)
        span(clock, COMPILE, "jit(decode)", 8.0)
        clock.now += 100
        span(clock, COMPILE, "jit(encode)", 1.0)
    assert told == [("decode", 15.0), ("encode", 1.0)]
    assert watch.seconds == 16.0


def test_an_earlier_trace_of_the_same_name_does_not_count_after_a_pause():
    clock, told = Clock(), []
    with CompilationWatch(clock, lambda *what: told.append(what)):
        span(clock, TRACE, "f", 2.0)
        clock.now += 50
        span(clock, COMPILE, "jit(f)", 1.0)
    assert told == [("f", 1.0)]


def test_what_is_under_way_is_known_by_name_and_time():
    clock, seen = Clock(), []
    with CompilationWatch(clock) as watch:
        span(clock, COMPILE, "jit(f)", 3.0, lambda: seen.append((watch.name, watch.under_way)))
        assert (seen, watch.under_way) == ([("f", 3.0)], 0)
    span(clock, COMPILE, "jit(g)", 3.0)
    assert watch.seconds == 3.0


def test_other_threads_compile_unheard():
    clock = Clock()
    with CompilationWatch(clock) as watch:
        thread = threading.Thread(target=span, args=(clock, COMPILE, "jit(f)", 3.0))
        thread.start()
        thread.join()
    assert watch.seconds == 0


def test_jax_tells_of_its_compilations_so():
    """If a version of JAX names its events otherwise, this fails."""

    def some_program(x):
        return jnp.tanh(x) * 3

    told = []
    with CompilationWatch(compiled=lambda *what: told.append(what)) as watch:
        jax.jit(some_program)(jnp.ones(3))
    assert "some_program" in [name for name, _ in told]
    assert 0 < watch.seconds < 600
