"""Hosts that are threads of one process, each with a pipeline of its own, which tell by a table."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from perl_jax.data import Pipeline, PipelineConfig
from perl_jax.mesh import BatchSharding
from tests.data.pipeline.numbers import unchanged

# Feeds with their shards, and the feed of each host.
LAYOUTS = {
    "one host": (((0,),), (0,)),
    "one host of four shards": (((0, 1, 2, 3),), (0,)),
    "two hosts": (((0,), (1,)), (0, 1)),
    "four hosts": (((0,), (1,), (2,), (3,)), (0, 1, 2, 3)),
    "two hosts of two shards": (((0, 2), (1, 3)), (1, 0)),
    "two hosts of unequal shards": (((0, 1, 2), (3,)), (0, 1)),
    "two hosts of the same shards": (((0, 1),), (0, 0)),
    "two feeds of two hosts": (((0,), (1,)), (0, 1, 1, 0)),
}


class HostGone(Exception):
    """A host ended, so that the others wait in vain."""


class Table:
    """Every host lays something on it, and takes all that lies there, as text.

    Attributes:
        meetings: What lay there at each meeting, by host.
    """

    def __init__(self, num_hosts):
        self.meetings = []
        self.num_hosts = num_hosts
        self.gone = False
        self.changed = threading.Condition()

    def exchange(self, host):
        numbers = itertools.count()

        def tell(value, what):
            number = next(numbers)
            with self.changed:
                if number == len(self.meetings):
                    self.meetings.append({})
                laid = self.meetings[number]
                laid[host] = json.dumps([what, value])
                self.changed.notify_all()
                full = lambda: len(laid) == self.num_hosts  # noqa: E731
                assert self.changed.wait_for(lambda: full() or self.gone, timeout=300)
                if not full():
                    raise HostGone
            taken = [json.loads(laid[other]) for other in range(self.num_hosts)]
            assert [other for other, _ in taken] == [what] * self.num_hosts
            return [value for _, value in taken]

        return tell

    def leave(self):
        """Says that a host is gone."""
        with self.changed:
            self.gone = True
            self.changed.notify_all()


class Hosts:
    """The pipelines of all hosts; a context manager."""

    def __init__(self, layout, source, prepare=unchanged, *, seed=5, skip_log=None, **config):
        shards, of_host = LAYOUTS[layout]
        repeat = config.pop("repeat", True)
        config = PipelineConfig(**{"max_bad_fraction": 0.5, "prefetch": 4} | config)
        sources = source if isinstance(source, list) else [source] * len(of_host)
        self.shardings = [BatchSharding(shards, of_host, host) for host in range(len(of_host))]
        self.table = Table(len(of_host))
        self.stack = ExitStack()
        self.pipelines = [
            self.stack.enter_context(
                Pipeline(
                    sources[sharding.host],
                    prepare,
                    config,
                    seed=seed,
                    sharding=sharding,
                    exchange=self.table.exchange(sharding.host),
                    repeat=repeat,
                    skip_log=skip_log if sharding.host == 0 else None,
                )
            )
            for sharding in self.shardings
        ]

    def do(self, action):
        """What an action of a pipeline gives on every host; an error where it raises."""

        def on(host):
            try:
                return action(self.pipelines[host])
            except Exception as error:
                self.table.leave()
                return error

        with ThreadPoolExecutor(len(self.pipelines)) as threads:
            return list(threads.map(on, range(len(self.pipelines))))

    def take(self, count):
        """The ids that all hosts together take, after a look at who holds which."""
        taken = self.do(lambda pipeline: pipeline.take(count))
        for one in taken:
            if isinstance(one, Exception):
                raise one
        ids = []
        for number, feed in enumerate(taken[0].feeds):
            held = [one.examples[number] for one in taken]
            assert [example is not None for example in held] == [
                sharding.own_feed == feed for sharding in self.shardings
            ]
            assert {one.feeds[number] for one in taken} == {feed}
            (id,) = {example.id for example in held if example is not None}
            ids.append(id)
        assert {len(one.examples) for one in taken} == {len(ids)}
        return ids

    def state(self):
        """The state, which is the same on all hosts, through JSON."""
        states = [pipeline.state() for pipeline in self.pipelines]
        assert all(state == states[0] for state in states)
        return json.loads(json.dumps(states[0]))

    def restore(self, state):
        for pipeline in self.pipelines:
            pipeline.restore(state)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
