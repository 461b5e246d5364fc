"""What a profile counts, held to a count over every synapse and tick, to NeuroBench's, and to what learning does."""

from __future__ import annotations

import importlib
import itertools
import json

import gymnasium
import numpy as np
import pytest
import snntorch
import torch
import toys
from conftest import make_policy
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.testing import assert_close

import lfcs
from lfcs import cli, rules
from lfcs import run as runs
from lfcs.configure import build_config
from lfcs.engines import BpttEngine, TensorEngine, make_engine
from lfcs.errors import UserError
from lfcs.hardware import costs, profile
from lfcs.network import NetState

SMALL = {
    "network.neurons": 13, "train.num_envs": 2, "rule.window": 16, "rule.tau_s": 16, "train.final_episodes": 2,
    "train.env_workers": 0, "encoder.cells": 4, "train.watch": "none",
}  # fmt: skip
KINDS = [
    ("population", 1, "lif", True),
    ("population", 3, "alif", True),
    ("bernoulli", 2, "lif", True),
    ("latency", 2, "lif", False),
]


def policy_of(kind="population", ticks=1, neuron="lif", memory=True, engine="snntorch"):
    """Return a policy for CartPole that fires, of whose weights some are zero, on the engine of the loops below."""
    settings = SMALL | {
        "encoder.kind": kind, "network.ticks": ticks, "network.neuron": neuron, "network.memory": memory,
        "network.input_gain": 4.0,
    }  # fmt: skip
    trainer = runs.make_trainer(build_config("CartPole-v1", steps=64, overrides=settings))
    trainer.rollout.refresh(0)
    trainer.rollout.collect(8)
    trainer.close()
    policy = trainer.policy
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in (policy.network.hidden, policy.network.readout[:-1, :-1]):
            weight *= torch.rand(weight.shape, generator=generator) > 0.3
        policy.network.hidden[:, 0] = 0.0  # a neuron that nothing reaches: its membrane is updated once an episode
    policy.engine = make_engine(engine, policy.network)
    return policy


def by_hand(policy, seeds):
    """Play greedy episodes tick by tick; count every synapse of every tick."""
    network, env, count = policy.network, gymnasium.make("CartPole-v1"), profile.Counts()
    weights = [w.tolist() for w in profile.weights_of(network).values()]
    returns = []

    def present(layer, weight, entering):
        entering = entering[0].tolist()
        spiking = all(number in (0.0, 1.0, -1.0) for number in entering)
        where = (count.acs if spiking else count.macs) if any(entering) else {layer: 0}
        for row in weight:
            for w, number in zip(row, entering, strict=True):
                count.dense[layer] += 1
                where[layer] += w != 0.0 and number != 0.0
        if layer == "input" and spiking:
            count.input_spikes += sum(number != 0 for number in entering)

    for seed in seeds:
        obs, _ = env.reset(seed=seed)
        state, total, over, begins = network.initial_state(1), 0.0, False, True
        while not over:
            x = policy.encode(obs[None])
            if not network.config.memory:
                state, begins = network.initial_state(1), True
            for _ in range(network.config.ticks):
                present("input", weights[0], x)
                present("recurrent", weights[1], state.spk)
                with torch.no_grad():
                    after = network.tick(x, state)
                pairs = zip(after.mem[0].tolist(), state.mem[0].tolist(), strict=True)
                count.membrane_updates += sum(begins or new != old for new, old in pairs)
                count.spikes += sum(z == 1.0 for z in after.spk[0].tolist())
                count.ticks += 1
                state, begins = after, False
            present("readout", weights[2], state.readout)
            count.steps += 1
            action = policy.head.greedy(network.read(state, x)[0]).item()
            obs, reward, terminated, truncated, _ = env.step(action)
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return count, returns


@pytest.mark.parametrize("kind,ticks,neuron,memory", KINDS)
def test_a_profile_equals_a_count_over_every_synapse_and_tick(kind, ticks, neuron, memory):
    policy = policy_of(kind, ticks, neuron, memory)
    before = policy.network.hidden.clone(), policy.generator.get_state()
    found = lfcs.profile(policy, "CartPole-v1", episodes=3, seed=5)
    assert torch.equal(before[0], policy.network.hidden) and torch.equal(before[1], policy.generator.get_state())
    expected, returns = by_hand(policy, (5, 6, 7))
    assert found.counts == expected and found.returns.tolist() == returns
    assert expected.spikes > 20 and expected.acs["recurrent"] > 100 and expected.macs["readout"] > 0
    assert (expected.macs["input"] == 0) == (expected.input_spikes > 0) == (kind != "population")
    metrics, steps = found.metrics, expected.steps
    ops = metrics["synaptic_operations"]
    assert ops["dense"] * steps == pytest.approx(sum(expected.dense.values()))
    assert ops["dense"] == ticks * 13 * (policy.encoder.size + 13) + 2 * 13
    assert ops["effective_macs"] * steps == pytest.approx(sum(expected.macs.values()))
    assert ops["effective_acs"] * steps == pytest.approx(sum(expected.acs.values()))
    assert metrics["activation_sparsity"] == 1 - expected.spikes / (13 * expected.ticks)
    zeros, size = (sum(of(w) for w in profile.weights_of(policy.network).values()) for of in (n_zeros, np.size))
    assert metrics["connection_sparsity"] == zeros / size > 0.3 and metrics["parameter_count"] == size + 13 + 2
    assert metrics["footprint"] == 4 * (size + 13 + 2) + 4 * 13 * (4 if neuron == "alif" else 3)
    assert metrics["execution_rate"] == pytest.approx(50 * ticks)
    synops = sum(expected.macs.values()) + sum(expected.acs.values())
    assert metrics["return_per_million_synops"] == pytest.approx(1e6 * sum(returns) / synops)


def n_zeros(weight):
    return int((weight == 0).sum())


def test_a_profile_of_a_run_is_of_the_episodes_of_its_evaluation(tmp_path):
    run = lfcs.train("CartPole-v1", steps=300, settings=SMALL, run_dir=tmp_path / "run", tuned=False)
    found = profile.of_run(run.path, episodes=4, seed=3)
    assert np.array_equal(found.returns, runs.evaluate(run.path, 4, 3)[0]["greedy"])
    again, drawn = (profile.of_run(run.path, 4, 3, greedy) for greedy in (True, False))
    assert again.counts == found.counts and drawn.counts != found.counts
    assert profile.of_run(run.path, 4, 3, False).counts == drawn.counts
    assert set(found.learning) == {"local", "bptt_chunk", "bptt_window"} and "return" in repr(found)
    assert lfcs.profile(run.policy, "CartPole-v1", 2).learning == {}  # a policy does not say how it learned


def test_episodes_side_by_side_are_counted_once():
    policy = policy_of()
    make = [lambda: gymnasium.make("CartPole-v1")] * 3
    side_by_side = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
    together = lfcs.profile(policy, side_by_side, episodes=3, seed=5)
    assert len(set(together.lengths)) > 1  # some went on after their end
    assert together.counts == lfcs.profile(policy, "CartPole-v1", episodes=3, seed=5).counts
    with pytest.raises(UserError, match="3 environments play as many episodes at a time: 4 are not whole"):
        lfcs.profile(policy, side_by_side, episodes=4)
    side_by_side.step(np.zeros(3, int))  # which was given is left open


STATE = "spk", "mem", "readout"


class Cell(snntorch.SpikingNeuron):
    """Our neuron as NeuroBench's hooks want one: a membrane of its own, an output of spikes."""

    def __init__(self, neuron, neurons):
        super().__init__(init_hidden=True, output=True)
        self.neuron, self.neurons = neuron, neurons
        for name in STATE:
            self.register_buffer(name, torch.zeros(1, neurons))

    def forward(self, current):
        self.spk, self.mem = self.neuron.tick(current, (self.spk, self.mem))
        return self.spk, self.mem


class Twin(nn.Module):
    """The acting network of layers that NeuroBench knows."""

    def __init__(self, network):
        super().__init__()
        d, n, k = network.input.in_features, network.config.neurons, network.policy_readout.out_features
        self.input, self.recurrent, self.readout = nn.Linear(d, n), nn.Linear(n, n, False), nn.Linear(n, k)
        self.cell = Cell(network.neuron, n)
        pairs = (self.input, network.input), (self.recurrent, network.cell.recurrent)
        for own, theirs in (*pairs, (self.readout, network.policy_readout)):
            own.load_state_dict({key: part.clone() for key, part in theirs.state_dict().items()})
        self.of = [network]  # not a module of this one

    def forward(self, x):
        config = self.of[0].config
        for _ in range(config.ticks):
            current = self.input(x) + self.recurrent(self.cell.spk)
            spk, _ = self.cell(current)
            self.cell.readout = rules.leaky_readout(self.cell.readout, spk, config.kappa)
        return self.readout(self.cell.readout)


@pytest.mark.parametrize("kind,ticks", [("population", 1), ("bernoulli", 2), ("latency", 1)])
def test_a_profile_equals_neurobench(kind, ticks):
    pytest.importorskip("neurobench", reason="needs the extra 'neurobench'")
    workload = importlib.import_module("neurobench.metrics.workload")
    static = importlib.import_module("neurobench.metrics.static")
    base = importlib.import_module("neurobench.models.neurobench_model").NeuroBenchModel

    class Model(base):
        def __init__(self, net):
            super().__init__()
            self.net = net
            self.add_activation_module(snntorch.SpikingNeuron)

        def __net__(self):
            return self.net

        def __call__(self, batch):
            return self.net(batch)

    policy = policy_of(kind, ticks)
    found = lfcs.profile(policy, "CartPole-v1", episodes=2, seed=5)
    model, env, given = Model(Twin(policy.network)), gymnasium.make("CartPole-v1"), []
    model.register_hooks()
    operations, updates = workload.SynapticOperations(), workload.MembraneUpdates()
    outputs, returns = [], []
    for seed in (5, 6):
        obs, _ = env.reset(seed=seed)
        total, over = 0, False
        for name in STATE:
            setattr(model.net.cell, name, torch.zeros(1, 13))
        model.reset_hooks()
        with torch.no_grad():
            while not over:
                action = policy.head.greedy(model(policy.encode(obs[None]))).item()
                obs, reward, terminated, truncated, _ = env.step(action)
                total, over = total + reward, terminated or truncated
        sample = (
            torch.from_numpy(obs[None]),
            None,
        )  # an episode is a sample of NeuroBench's here: totals over it are what is compared
        operations(model, None, sample)
        updates(model, None, sample)
        outputs += model.activation_hooks[0].activation_outputs
        returns.append(total)
        given.append(sample)
    assert found.returns.tolist() == returns
    counts, theirs = found.counts, operations.compute()
    for ours, name in ((counts.macs, "Effective_MACs"), (counts.acs, "Effective_ACs"), (counts.dense, "Dense")):
        assert sum(ours.values()) == theirs[name] * len(given)
    assert counts.membrane_updates == updates.compute() * len(given)
    model.activation_hooks[0].activation_outputs = outputs
    assert found.metrics["activation_sparsity"] == workload.ActivationSparsity()(model, None, given[0])
    assert round(found.metrics["connection_sparsity"], 4) == static.ConnectionSparsity()(model)
    scalars = [b for name, b in model.net.cell.named_buffers() if name not in STATE]  # snntorch keeps its constants so
    assert found.metrics["footprint"] == static.Footprint()(model) - sum(b.nbytes for b in scalars)
    assert found.metrics["parameter_count"] == static.ParameterCount()(model)


S, B, TICKS, N, D, K, TAIL = 3, 2, 2, 4, 3, 2, 1


def learned():
    """Return a network, what it ran through, and what the output layer wants, in double precision."""
    network, _ = make_policy(N, D, K, ticks=TICKS)
    g = torch.Generator().manual_seed(3)
    x, reset = torch.randn(S + 1, B, D, generator=g, dtype=torch.float64), torch.zeros(S + 1, B, dtype=torch.bool)
    error, feedback = (
        torch.randn(S, B, K + 1, generator=g, dtype=torch.float64),
        torch.randn(K + 1, N, generator=g, dtype=torch.float64),
    )
    return network, x, reset, error, feedback


def scalar_forward(network, x, state):
    """Run S steps by loops over synapses; return membranes and spikes by tick, outputs, and how many products."""
    hidden, readout, config, products = network.hidden.tolist(), network.readout.tolist(), network.config, 0
    z, u, y = (part.tolist() for part in (state.spk, state.mem, state.readout))
    mems, spikes, out = [], [], []
    for x_t in x.tolist():
        for _ in range(TICKS):
            before = [list(row) for row in z]
            for b, i in itertools.product(range(B), range(N)):
                total = hidden[D][i]
                for j in range(D):
                    total, products = total + hidden[j][i] * x_t[b][j], products + 1
                for j in range(N):
                    total, products = total + hidden[D + 1 + j][i] * before[b][j], products + 1
                u[b][i] = config.beta * u[b][i] + total - before[b][i]
            z = [[float(number > 1.0) for number in row] for row in u]
            y = [[config.kappa * a + (1 - config.kappa) * c for a, c in zip(*pair, strict=True)]
                 for pair in zip(y, z, strict=True)]  # fmt: skip
            mems.append([list(row) for row in u])
            spikes.append(z)
        row = [[readout[k][N] for k in range(K + 1)] for _ in range(B)]
        for b, k, i in itertools.product(range(B), range(K + 1), range(N)):
            row[b][k], products = row[b][k] + readout[k][i] * y[b][i], products + 1
        for b, j in itertools.product(range(B), range(D)):
            row[b][K], products = row[b][K] + network.path[j].item() * x_t[b][j], products + 1
        out.append(row)
    return (
        torch.tensor(mems, dtype=torch.float64),
        torch.tensor(spikes, dtype=torch.float64),
        torch.tensor(out, dtype=torch.float64),
        products,
    )


def scalar_signal(error, feedback):
    signal, products = torch.zeros(S, B, N, dtype=torch.float64), 0
    for s, b, k, i in itertools.product(range(S), range(B), range(K + 1), range(N)):
        signal[s, b, i] += error[s, b, k] * feedback[k, i]
        products += 1
    return signal, products


def scalar_outer(post, pre, error, y, x):
    """Return gradients of hidden and readout weights and of the critic's path by loops, and how many products."""
    hidden, readout, path, products = (
        torch.zeros(D + 1 + N, N, dtype=torch.float64),
        torch.zeros(K + 1, N + 1, dtype=torch.float64),
        torch.zeros(D, dtype=torch.float64),
        0,
    )
    for t, b, j, i in itertools.product(range(len(post)), range(B), range(D + 1 + N), range(N)):
        hidden[j, i] += pre[t, b, j] * post[t, b, i]
        products += 1
    extended = torch.cat((y, torch.ones(S, B, 1, dtype=torch.float64)), dim=2)
    for s, b, k, i in itertools.product(range(S), range(B), range(K + 1), range(N + 1)):
        readout[k, i] += error[s, b, k] * extended[s, b, i]
        products += 1
    for s, b, j in itertools.product(range(S), range(B), range(D)):
        path[j] += error[s, b, K] * x[s, b, j]
        products += 1
    hidden[D + 1 :].fill_diagonal_(0.0)
    return hidden, readout, path, products


def numbers_kept(network, seen, columns):
    """Return how many numbers of the states by tick are kept, and one for each weight."""
    return seen.data[..., :columns].numel() + sum(weight.numel() for weight in network.packed)


SIZES = costs.Sizes(D, N, K, fields=2, groups=1, path=True, ticks=TICKS, envs=B)


def test_the_cost_of_a_local_update_is_that_of_loops_over_its_synapses(double):
    network, x, reset, error, feedback = learned()
    engine = TensorEngine(network)
    seen = engine.run(x, network.initial_state(B), reset).states
    first = seen.at(TICKS - 1)
    mem, spk, out, forward = scalar_forward(network, x[1:], first)
    run = engine.run(x[1:], first, reset[1:])
    assert_close(mem, run.states.mem)
    assert_close(out, torch.cat((run.params, run.value[..., None]), dim=2))
    assert torch.equal(spk, run.states.spk) and spk.any()
    chunk = seen.at(slice(TICKS - TAIL, None))
    signal, products = scalar_signal(error, feedback)
    filtered = torch.zeros(len(chunk.data), B, N, dtype=torch.float64)
    filtered[TAIL + TICKS - 1 :: TICKS] = signal
    filtered = rules.filter_backwards(filtered, network.config.kappa, torch.zeros(len(filtered), B, dtype=torch.bool))
    post = filtered * rules.surrogate_derivative(chunk.mem - 1.0, network.config.dampening)
    *found, outer = scalar_outer(post, chunk.trace, error, run.states.readout[TICKS - 1 :: TICKS], x[1:])
    by_tick = torch.zeros(len(chunk.data), B, dtype=torch.bool)
    expected = engine.gradients(chunk, by_tick, error, feedback, torch.zeros(N, dtype=torch.float64))
    for ours, theirs in zip(found, expected, strict=False):
        assert_close(ours, theirs)
    told = costs.local_update(SIZES, S, TAIL)
    assert (told.forward, told.signal, told.backward, told.gradient) == (forward, products, 0, outer)
    assert told.operations == forward + products + outer and told.experience == S * B
    assert told.memory == numbers_kept(network, chunk, None)


def test_the_cost_of_bptt_is_that_of_loops_over_its_synapses(double):
    network, x, reset, error, feedback = learned()
    engine, start = BpttEngine(network), TensorEngine(network).run(x[:1], network.initial_state(B), reset[:1])
    first = NetState(start.states.data[-1], N)
    run = engine.run(x[1:], first, reset[1:], differentiable=True)
    signal, products = scalar_signal(error, feedback)
    config, w_rec, backward = network.config, network.hidden[D + 1 :], 0
    psi = rules.surrogate_derivative(run.states.mem - 1.0, config.dampening)
    later, of_y, post = (
        torch.zeros(B, N, dtype=torch.float64),
        torch.zeros(B, N, dtype=torch.float64),
        torch.zeros(S * TICKS, B, N, dtype=torch.float64),
    )
    for t in reversed(range(S * TICKS)):
        of_y = config.kappa * of_y + (signal[t // TICKS] if t % TICKS == TICKS - 1 else 0.0)
        of_z = (1 - config.kappa) * of_y
        if t < S * TICKS - 1:
            for b, j, i in itertools.product(range(B), range(N), range(N)):
                of_z[b, j] += w_rec[j, i] * later[b, i]
                backward += 1
        later = post[t] = psi[t] * of_z + config.beta * later
    ones, held = torch.ones(S * TICKS, B, 1, dtype=torch.float64), x[1:].repeat_interleave(TICKS, 0)
    before = torch.cat((first.spk[None], run.states.spk[:-1]))
    pre = torch.cat((held, ones, before), dim=2)
    *found, outer = scalar_outer(post, pre, error, run.states.readout[TICKS - 1 :: TICKS], x[1:])
    by_tick = torch.zeros(S * TICKS, B, dtype=torch.bool)
    expected = engine.gradients(run.states, by_tick, error, feedback, torch.zeros(N, dtype=torch.float64))
    for ours, theirs in zip(found, expected, strict=False):
        assert_close(ours, theirs)
    told = costs.bptt_update(SIZES, S)
    forward = costs.local_update(SIZES, S, TAIL).forward
    assert (told.forward, told.signal, told.backward, told.gradient) == (forward, products, backward, outer)
    assert told.memory == numbers_kept(network, run.states, 3 * N + D)


def numbers(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize("actions,outputs,spread", [(Discrete(2), 2, 0), (Box(-1, 1, (3,)), 3, 3)])
def test_peers_are_counted_from_their_shapes(actions, outputs, spread):
    mlp, lstm = costs.peers(Box(-1, 1, (4,)), actions)
    layers = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, outputs)
    after = nn.Linear(256, 64), nn.Linear(64, 64), nn.Linear(64, outputs)
    assert mlp.macs == sum(layer.weight.numel() for layer in layers) and mlp.parameters == numbers(*layers) + spread
    cell = nn.LSTMCell(4, 256)
    gates = cell.weight_ih.numel() + cell.weight_hh.numel()
    assert lstm.macs == gates + 3 * 256 + sum(layer.weight.numel() for layer in after)
    assert lstm.parameters == numbers(cell, *after) + spread


def test_an_lstm_is_counted_as_by_neurobench():
    macs = pytest.importorskip("neurobench.metrics.utils.layers", reason="needs the extra 'neurobench'")
    x, state = torch.rand(1, 4), (torch.rand(1, 256), torch.rand(1, 256))
    counted, spiking = macs.single_layer_MACs((x, state), nn.LSTMCell(4, 256))
    after = 256 * 64 + 64 * 64 + 64 * 2
    assert not spiking and costs.peers(Box(-1, 1, (4,)), Discrete(2))[1].macs == counted + after


def test_peers_are_those_of_stable_baselines3():
    peers = pytest.importorskip("sb3_contrib", reason="needs the extra 'peers'")
    from stable_baselines3 import PPO

    found = costs.peers(Box(-1, 1, (4,)), Discrete(2))
    for model, peer, kind in ((PPO, found[0], "MlpPolicy"), (peers.RecurrentPPO, found[1], "MlpLstmPolicy")):
        policy = model(kind, "CartPole-v1", device="cpu").policy
        own = [policy.mlp_extractor.policy_net, policy.action_net, getattr(policy, "lstm_actor", nn.Identity())]
        assert numbers(*own) == peer.parameters


def test_the_command_line_prints_writes_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name, kind in (("a", "population"), ("b", "bernoulli")):
        settings = SMALL | {"encoder.kind": kind}
        lfcs.train("CartPole-v1", steps=64, settings=settings, run_dir=tmp_path / name, tuned=False)
    argv = ["profile", str(tmp_path / "a"), str(tmp_path / "b"), "--episodes", "2", "--energy", "float32"]
    assert cli.main([*argv, "--out", str(tmp_path / "p.svg")]) == 0
    out = capsys.readouterr().out
    assert out.count("effective ACs") == 2 and "operations x energy per operation, not a measurement" in out
    assert "joule" not in out.lower() and "45 nm" in out
    drawn = (tmp_path / "p.svg").read_text()
    assert "MLP, from its shape" in drawn and "LSTM, from its shape" in drawn and ">b<" in drawn
    for name, spikes in (("a", False), ("b", True)):
        found = json.loads((tmp_path / name / "profile.json").read_text())
        assert found["counts"]["steps"] == sum(found["lengths"]) and (found["metrics"]["input_spikes"] > 0) == spikes
        ops = found["metrics"]["synaptic_operations"]
        energy = 4.6 * ops["effective_macs"] + 0.9 * ops["effective_acs"]
        assert found["energy"]["pJ_per_step"] == pytest.approx(energy)
        assert found["energy"]["what"] == "operations x energy per operation, not a measurement"
    assert cli.main(["profile", str(tmp_path / "a"), "--episodes", "1", "--sampled"]) == 0
    assert (tmp_path / "a" / "profile.png").exists() and "not a measurement" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "given,message",
    [
        (["--energy", "float23"], "energies are stated for float32, int32, int8, got 'float23'"),
        (["--episodes", "0"], "profile wants at least one episode and a seed of at least 0, got 0 and 0"),
        (["--seed", "-1"], "profile wants at least one episode and a seed of at least 0, got 20 and -1"),
        (["--out", "a.bmp"], "a picture ends in .png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_counted_is_one_line(tmp_path, capsys, given, message):
    pytest.importorskip("matplotlib")
    lfcs.train("CartPole-v1", steps=32, settings=SMALL, run_dir=tmp_path / "run", tuned=False)
    assert cli.main(["profile", str(tmp_path / "run"), *given]) == 1
    assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="the policy observes"):
        lfcs.profile(lfcs.load(tmp_path / "run"), toys.Guess)
