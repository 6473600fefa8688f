"""The protocol in a played world: whatever happens in whatever order, every effect comes once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from .simulation import World, undisturbed

NAMES = st.sampled_from(["a", "b"])


class Disturbed(RuleBasedStateMachine):
    """Hypothesis chooses what happens, and shortens what fails."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(seed)

    @rule(rounds=st.integers(1, 8))
    def work(self, rounds: int) -> None:
        self.world.work(rounds)

    @rule(name=NAMES)
    def drive(self, name: str) -> None:
        self.world.drive(name)

    @rule(name=NAMES)
    def write(self, name: str) -> None:
        self.world.write(name)

    @rule(place=st.integers(0, 5))
    def deliver(self, place: int) -> None:
        self.world.deliver(place)

    @rule(count=st.integers(2, 20))
    def deliver_many(self, count: int) -> None:
        for _ in range(count):
            self.world.deliver()

    @rule()
    def double(self) -> None:
        self.world.double()

    @rule()
    def lose(self) -> None:
        self.world.lose()

    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule(name=NAMES)
    def tear(self, name: str) -> None:
        self.world.write(name, torn=True)

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        self.world.kill(name)

    @rule(name=NAMES)
    def restart(self, name: str) -> None:
        self.world.restart(name)

    @rule(name=NAMES)
    def checkpoint(self, name: str) -> None:
        self.world.checkpoint(name)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    def teardown(self) -> None:
        self.world.finish()
        assert {name: party.digest for name, party in self.world.parties.items()} == undisturbed()


def test_whatever_happens_every_effect_comes_once() -> None:
    run_state_machine_as_test(
        Disturbed,
        settings=settings(
            max_examples=60,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("seed", range(60))
def test_bad_days(seed: int) -> None:
    """Long walks get deeper than short ones that can be shortened: hundreds of messages, dozens of deaths."""
    world = World(seed, 120)
    world.walk(2500)
    epochs = {name: party.epoch for name, party in world.parties.items()}
    assert min(epochs.values()) > 5
    world.finish()
    assert {name: party.digest for name, party in world.parties.items()} == undisturbed(120)


@pytest.mark.parametrize("seed", range(5))
def test_one_packet_in_five_is_lost_and_others_are_doubled_and_overtaken(seed: int) -> None:
    """Row 7."""
    world = World(seed, 120)
    for _ in range(40_000):
        for name in world.parties:
            world.drive(name)
            world.write(name)
        if world.rng.random() < 0.1:
            world.double()
        for _ in range(3):
            if world.rng.random() < 0.2:
                world.lose()
            else:
                world.deliver(world.rng.randrange(4))
        world.pass_time(0.1)
        if all(party.done for party in world.parties.values()):
            break
    assert {name: party.digest for name, party in world.parties.items()} == undisturbed(120)


def test_a_party_killed_between_making_durable_and_acknowledging() -> None:
    """Row 2: the message is sent again, and dropped as a duplicate."""
    world = World(1, 3)
    a, b = world.parties.values()
    world.work(3)
    for name in ("a", "b"):
        world.parties[name].checkpoint()
    stored = b.box.link.into[0].stored
    assert stored > 0
    b.crash()
    world.flying.clear()  # with every acknowledgement
    a.box.link.out[0].go_back()
    world.restart("b")
    assert b.box.link.into[0].stored == stored
    world.finish()
    assert {name: party.digest for name, party in world.parties.items()} == undisturbed(3)
