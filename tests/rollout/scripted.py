"""The sampler's programs, without their arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.rollout.runner import Runner


class ScriptedRunner(Runner):
    """Programs that only have shapes; every chunk ends some responses."""

    def __init__(self, model, calls, ends=lambda place, n: True):
        super().__init__(model, calls)
        self.ends, self.tables = ends, []

    def run(self, program, *arguments):
        name = program.__name__
        shape = jax.ShapeDtypeStruct
        if name == "encode":
            patches = arguments[3].patches
            return shape((1, patches.shape[1] // 4, 8), jnp.float32)
        if name == "join_features":
            return shape(arguments[1], jnp.float32)
        if name == "empty_state":
            return jax.eval_shape(lambda: program(*arguments))
        if name == "prefill":
            rows = len(arguments[4].tokens)
            return shape((rows, self.config.vocab_size), jnp.float32), None
        if name == "admit":
            return arguments[2], *self._drawn(*arguments[6].shape[:2], (), arguments[-1])
        if name == "decode":
            chunk, state, drawing = arguments[3], arguments[5], arguments[-1]
            # The devices know what they still compute.
            done = np.asarray(getattr(arguments[7].done, "value", arguments[7].done))
            steps = 0 if done.all() else chunk
            if steps:
                self.tables.append(state.tokens.shape)
            tokens, logprobs = self._drawn(*state.tokens.shape, (chunk,), drawing)
            done = done | (tokens[..., -1] == drawing.stops[0])
            return state, tokens, logprobs, np.int32(steps), done
        if name == "compact":
            return jax.eval_shape(lambda state: program(None, state, *arguments[2:]), arguments[1])
        return jax.eval_shape(lambda *given: program(*arguments[:2], *given), *arguments[2:])

    def _drawn(self, places, columns, more, drawing):
        tokens = np.full((places, columns, *more), 5, np.int32)
        if more:
            for place in range(places):
                for n in range(columns):
                    if self.ends(place, n):
                        tokens[place, n, -1] = drawing.stops[0]
        return tokens, np.zeros(tokens.shape, np.float32)


class Pending:
    """A result that the devices still compute: whoever reads it too early fails."""

    def __init__(self, value, runner):
        self.value, self.runner = value, runner
        self.shape, self.dtype = value.shape, value.dtype

    def __array__(self, dtype=None, copy=None):
        assert self.runner.may_wait
        return self.value

    def __int__(self):
        return int(self.__array__())


class PendingRunner(ScriptedRunner):
    """Programs whose results must not be read but while the sampler ``may_wait``."""

    may_wait = False

    def run(self, program, *arguments):
        results = super().run(program, *arguments)
        if program.__name__ in ("admit", "decode"):
            state, *drawn = results
            return state, *(Pending(one, self) for one in drawn)
        return results
