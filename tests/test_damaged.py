"""Files of a run that were damaged, cut, forged or made to harm: one line, or the right result, and nothing else."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lfcs
from lfcs import checkpoint, directory, machine, monitor
from lfcs import run as runs
from lfcs.errors import Interrupted, UserError
from lfcs.report.facts import Facts
from lfcs.study import runs as found_runs
from lfcs.study import sources

SMALL = {
    "network.neurons": 6, "train.num_envs": 2, "rule.window": 8, "rule.tau_s": 8, "train.eval_every": 100,
    "train.checkpoint_every": 100, "train.eval_episodes": 1, "train.final_episodes": 2, "train.watch": "none",
}  # fmt: skip
ODD = [
    None,
    True,
    -1,
    0,
    2**70,
    10**400,
    1e308,
    math.nan,
    math.inf,
    "",
    "x" * 300,
    "\u0000\ud7ff",
    [],
    {},
    [[]],
    {"a": []},
]
PLAN = {
    "env": "CartPole-v1", "agents": {"a": {"agent": "lf-cs", "settings": {"rule.lam": 0.9}}, "e-prop": {}},
    "replays": [1, 2], "seeds": [10, 11], "rates": [0.01, 0.02], "steps": 1000, "grid_seeds": [3], "baseline": "a",
    "note": "why", "settings": {"network.neurons": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, one that was cut, a policy, a recording and a plan."""
    root = tmp_path_factory.mktemp("whole")
    settings = SMALL | {"encoder.kind": "standardised"}
    done = lfcs.train("toys:Guess-v0", steps=300, settings=settings, run_dir=root / "run", watch="none")
    cut = runs.begin(done.config, root / "cut", progress=False)
    window = cut.window

    def cut_at_240():
        metrics = window()
        if cut.env_steps == 240:
            cut.interrupt()
        return metrics

    cut.window = cut_at_240
    with pytest.raises(Interrupted):
        runs.complete(cut)
    done.policy.save(root / "run" / "policy.npz")
    done.policy.record("toys:Guess-v0", episodes=2).save(root / "run" / "recording.npz")
    (root / "run" / "plan.json").write_text(json.dumps(PLAN))
    return root


def leaves(tree, name=""):
    """Yield what a nested state holds, but for times, as bytes."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if "seconds" not in str(key):
                yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{name}/{number}")
    else:
        array = np.asarray(tree)
        yield name, str(array.dtype), array.shape, array.tobytes() if array.dtype != object else repr(tree)


def weighed(policy):
    return list(leaves(policy.state_dict()))


def resumed(path):
    trainer = runs.proceed(path, progress=False)
    try:
        return list(leaves(trainer.state_dict()))
    finally:
        trainer.close()


def reported(path):
    facts = Facts.read(path)
    return repr((facts.flat, facts.told, facts.summary, facts.metrics, facts.again(), facts.steps))


def plotted(path):
    (found,) = found_runs.find([path])
    label = found_runs.grouped([found])[0].label
    return repr((label, found.series("eval/mean_reward").tolist(), found.series("train/entropy").tolist()))


def evaluated(path):
    found, steps = runs.evaluate(path, 2, 1)
    return repr(({name: returns.tolist() for name, returns in found.items()}, steps))


READERS = {
    "config.json": [("run", evaluated), ("cut", resumed), ("run", reported), ("run", plotted)],
    "summary.json": [("run", reported), ("run", plotted), ("run", lambda path: repr(lfcs.resume(path)))],
    "metrics.csv": [("run", reported), ("run", plotted)],
    "newest": [("run", evaluated), ("cut", resumed), ("run", lambda path: weighed(lfcs.load(path)))],
    "policy.npz": [("run", lambda path: weighed(lfcs.load(path / "policy.npz")))],
    "recording.npz": [("run", lambda path: list(leaves(list(lfcs.Recording.load(path / "recording.npz")))))],
    "plan.json": [("run", lambda path: repr(sources.load(str(path / "plan.json"))))],
}


# --- what may become of a file -----------------------------------------------------------------------------------


def bytes_changed(path, rng):
    data = bytearray(path.read_bytes())
    at, kind = rng.randrange(len(data)), rng.choice(("flip", "flip", "cut", "empty", "zeros", "more", "moved", "gone"))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == "more":
        data += rng.randbytes(rng.choice((1, 3, 400)))
    elif kind == "moved":
        data[at : at + 40], data[:40] = data[:40], data[at : at + 40]
    path.write_bytes(data[:at] if kind == "cut" else b"" if kind == "empty" else data)
    if kind == "gone":
        path.unlink()
    return kind


def places(tree, path=()):
    """Yield the ways to everything in a nested dictionary or list."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], dict | list):
            yield from places(tree[key], (*path, key))


def value_changed(tree, rng):
    """Change something in a nested dictionary, in place."""
    *way, last = rng.choice(list(places(tree)))
    owner = tree
    for key in way:
        owner = owner[key]
    kind = rng.choice(("drop", "odd", "odd", "swap", "new"))
    if kind == "drop":
        del owner[last]
    elif kind == "odd":
        owner[last] = copy.deepcopy(rng.choice(ODD))
    elif kind == "new" and isinstance(owner, dict):
        owner["unknown"] = 1
    else:
        keys = list(owner) if isinstance(owner, dict) else range(len(owner))
        other = rng.choice(list(keys))
        owner[last], owner[other] = owner[other], owner[last]
    return kind


def json_changed(path, rng):
    data = json.loads(path.read_text())
    if rng.random() < 0.1:
        text = json.dumps(data)
        path.write_text("{" + f'"{rng.choice(list(data))}": 1, ' + text[1:])
        return "twice"
    forged = path.name != "plan.json" and rng.random() < 0.5
    kind = value_changed(data, rng)
    if forged:
        data = {key: value for key, value in data.items() if key not in ("format", "digest")}
        checkpoint.write_sealed(path, data)
        return f"forged {kind}"
    path.write_text(json.dumps(data))
    return kind


def csv_changed(path, rng):
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    kind = rng.choice(("drop", "twice", "odd", "swap", "blank"))
    if kind == "drop":
        del lines[at]
    elif kind == "twice":
        lines.insert(at, lines[at])
    elif kind == "blank":
        lines.insert(at, "")
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(("nan", "x", "1e999", "-", "0x1", "١", "1,2", '"'))
        lines[at] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return kind


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def sealed(content):
    """Make manifest and seal those of the arrays, as one would who wants to deceive."""
    arrays = {name[:-4]: np.load(io.BytesIO(data), allow_pickle=True) for name, data in content.items()}
    tree = json.loads(arrays.pop("tree").tobytes())
    arrays.pop("seal", None)
    tree["arrays"] = {
        name: [a.dtype.str, list(a.shape), checkpoint._digest(checkpoint._in_order(a))]
        for name, a in arrays.items()
        if a.dtype != object
    }
    text = json.dumps(tree).encode()
    seal = checkpoint._digest(text).encode()
    return content | {"tree.npy": packed(np.frombuffer(text, "u1")), "seal.npy": packed(np.frombuffer(seal, "u1"))}


def arrays_changed(path, rng):
    content = members(path)
    names = [name for name in content if name not in ("tree.npy", "seal.npy")]
    name, other = rng.choice(names), rng.choice(names)
    array = np.load(io.BytesIO(content[name]))
    kinds = ("swap", "not finite", "shape", "dtype", "drop", "pickle", "tree", "huge header", "compressed", "twice")
    kind = rng.choice(kinds if "tree.npy" in content else tuple(k for k in kinds if k != "tree"))
    if kind == "swap":
        content[name], content[other] = content[other], content[name]
    elif kind == "not finite":
        bad = array.astype(np.float32)
        bad.reshape(-1)[:1] = rng.choice((math.nan, math.inf))
        content[name] = packed(bad)
    elif kind == "shape":
        content[name] = packed(rng.choice((array.ravel()[:1], array[None], array[..., None], array.ravel()[:0])))
    elif kind == "dtype":
        content[name] = packed(array.astype(rng.choice(("f8", "f4", "i8", "u1", "U3", "c8"))))
    elif kind == "drop":
        del content[name]
    elif kind == "pickle":
        content[name] = packed(np.array([{"a": 1}], object))
    elif kind == "tree":
        tree = json.loads(np.load(io.BytesIO(content["tree.npy"])).tobytes())
        value_changed(tree["state"], rng)
        content["tree.npy"] = packed(np.frombuffer(json.dumps(tree).encode(), np.uint8))
    elif kind == "huge header":
        content[name] = content[name].replace(b"'shape': (", b"'shape': (9999999,", 1)
    forged = "tree.npy" in content and kind != "huge header" and rng.random() < 0.5
    content = sealed(content) if forged else content
    how = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as archive:
        for key, data in content.items():
            archive.writestr(key, data)
        if kind == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(name, content[name])
    return f"forged {kind}" if forged else kind


def changed(path, rng):
    if rng.random() < 0.5:
        return bytes_changed(path, rng)
    return {".json": json_changed, ".csv": csv_changed, ".npz": arrays_changed}[path.suffix](path, rng)


# --- the outcome -------------------------------------------------------------------------------------------------


def attempt(whole, tmp_path, rng, capsys, wanted):
    """Change a file of a copy and read it; return what was done to what, and what came of it."""
    target = rng.choice(list(READERS))
    where, read = rng.choice(READERS[target])
    copied = tmp_path / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(whole / where, copied)
    path = checkpoint.latest(copied / "checkpoints") if target == "newest" else copied / target
    how = changed(path, rng)
    capsys.readouterr()
    key = where, target, READERS[target].index((where, read))
    try:
        result = read(copied)
    except (UserError, OSError) as error:
        assert len(str(error).splitlines()) == 1 and str(error).isprintable(), (target, how, str(error))
        return target, how, "refused"
    said = capsys.readouterr().err
    if result == wanted(key, read, whole / where):
        return target, how, "the same"
    older = target == "newest" and (said.count("\n") == 1 or (how == "gone" and where == "cut"))
    free = how.startswith("forged") or target == "plan.json" or (target, how) == ("summary.json", "gone")
    free |= target == "recording.npz" and how in ("swap", "dtype", "not finite", "shape", "drop")  # it has no digest
    return target, how, "said" if older else "as told" if free else "SILENT"


def campaign(whole, tmp_path, capsys, count, seed):
    rng, known, tally = random.Random(seed), {}, {}

    def wanted(key, read, path):
        if key not in known:
            shutil.rmtree(tmp_path / "copy")
            shutil.copytree(path, tmp_path / "copy")  # messages and reports have the path
            known[key] = read(tmp_path / "copy")
        return known[key]

    for number in range(count):
        try:
            target, how, came = attempt(whole, tmp_path, rng, capsys, wanted)
        except Exception as error:
            raise AssertionError(f"case {number} of seed {seed}: {type(error).__name__}: {error}") from error
        assert came != "SILENT", f"case {number} of seed {seed}: {target}, {how}: another result, without a word"
        tally[came] = tally.get(came, 0) + 1
    return tally


def test_a_damaged_file_is_one_line_or_changes_nothing(whole, tmp_path, capsys):
    tally = campaign(whole, tmp_path, capsys, 300, seed=1)
    assert tally["refused"] > 150 and tally["said"] > 5


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_ten_thousand_damaged_files(whole, tmp_path, capsys, seed):
    tally = campaign(whole, tmp_path, capsys, 500, seed)
    with capsys.disabled():
        print(f"\nseed {seed}: {tally}")


# --- each kind of harm by itself ---------------------------------------------------------------------------------


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole / "run", tmp_path / "run"))


def rewritten(path, change, how=zipfile.ZIP_STORED):
    """Change the members of an archive and make its manifest fit."""
    content = members(path)
    change(content)
    with zipfile.ZipFile(path, "w", how) as archive:
        for key, data in sealed(content).items():
            archive.writestr(key, data)


def weights_of(path):
    """Return the array's name of the input weights in a saved policy."""
    tree = json.loads(np.load(io.BytesIO(members(path)["tree.npy"])).tobytes())
    policy = dict(dict(tree["state"]["dict"])["policy"]["dict"])
    return {key: name["tensor"] for key, name in policy["weights"]["dict"]}, dict(policy["statistics"]["dict"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(copied, bad):
    for path in (copied / "policy.npz", *(copied / "checkpoints").iterdir()):
        name = weights_of(path)[0]["input.weight"]

        def spoil(content, name=name):
            array = np.load(io.BytesIO(content[f"{name}.npy"]))
            array[0, 0] = bad
            content[f"{name}.npy"] = packed(array)

        rewritten(path, spoil)
    for read in (lambda: lfcs.load(copied / "policy.npz"), lambda: evaluated(copied)):
        with pytest.raises(UserError, match=r"holds no policy that can act: weights\.input\.weight is not finite"):
            read()


def test_an_encoders_arrays_of_another_shape_are_refused(copied):
    path = copied / "policy.npz"
    name = weights_of(path)[1]["mean"]["array"]
    rewritten(path, lambda content: content.update({f"{name}.npy": packed(np.zeros(1))}))
    with pytest.raises(UserError, match=r"statistics\.mean is float64 \(1,\), not float64 \(3,\)"):
        lfcs.load(path)


def test_arrays_that_changed_places_are_noticed(copied):
    path = copied / "policy.npz"
    content = members(path)
    content["a0.npy"], content["a1.npy"] = content["a1.npy"], content["a0.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for key, data in content.items():
            archive.writestr(key, data)
    with pytest.raises(UserError, match="array a0 is not what was written"):
        lfcs.load(path)


def test_a_bomb_is_refused_before_it_is_inflated(copied, monkeypatch):
    path = copied / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("tree.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    read = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *given: read.append(given))
    with pytest.raises(UserError, match="it is compressed"):
        lfcs.load(path)
    monkeypatch.setattr(machine, "available_memory", lambda: 1 << 25)
    with pytest.raises(UserError, match=r"needs about 0\.1 GB, and this machine has 0\.0 GB left"):
        lfcs.Recording.load(path)
    assert not read


def test_a_pickle_is_never_opened(copied, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("a pickle was opened")

    for path in (copied / "policy.npz", copied / "recording.npz"):
        rewritten(path, lambda content: content.update({"a0.npy": packed(np.array([{}], object))})) if path.stem == (
            "policy"
        ) else _with_pickle(path)
        with monkeypatch.context() as patched, pytest.raises(UserError, match="is damaged or not"):
            patched.setattr(pickle, "load", opened)
            patched.setattr(pickle, "loads", opened)
            (lfcs.load if path.stem == "policy" else lfcs.Recording.load)(path)


def _with_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0/spikes.npy", packed(np.array([{}], object)))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path, capsys):
    cut = Path(shutil.copytree(whole / "cut", tmp_path / "cut"))
    first, second = sorted((cut / "checkpoints").iterdir())
    second.write_bytes(second.read_bytes()[:-100])
    trainer = runs.proceed(cut, progress=False)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"using {first.name}, which is intact" in err and second.name in err
    assert trainer.env_steps == checkpoint.steps_of(first)
    runs.complete(trainer)
    assert directory.read_summary(cut)["mean_return"] == directory.read_summary(whole / "run")["mean_return"]
    assert len(list((cut / "checkpoints").iterdir())) == 2
    for path in (cut / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint is intact"):
        runs.proceed(cut, progress=False)


def test_a_later_checkpoint_that_was_damaged_goes_when_another_is_written(whole, tmp_path):
    cut = Path(shutil.copytree(whole / "cut", tmp_path / "cut"))
    first, second = sorted((cut / "checkpoints").iterdir())
    second.write_bytes(b"")
    trainer = runs.proceed(cut, progress=False)
    trainer.interrupt()
    with pytest.raises(Interrupted):
        runs.complete(trainer)
    kept = sorted((cut / "checkpoints").iterdir())
    assert kept[0] == first and checkpoint.steps_of(first) < checkpoint.steps_of(kept[1]) < checkpoint.steps_of(second)


@pytest.mark.parametrize("section, key", [("rule", "lam"), ("encoder", "width"), ("options", "eps"), (None, "engine")])
def test_a_setting_that_is_missing_is_an_error(copied, section, key):
    path = copied / "config.json"
    data = checkpoint.read_sealed(path)
    (data if section is None else data[section]).pop(key)
    for write in (checkpoint.write_sealed, checkpoint.write_json):  # with a digest, and as before there were any
        write(path, data)
        for read in (evaluated, plotted, reported) if section is None else (evaluated, reported):
            with pytest.raises(UserError, match=rf"config\.json is not the settings of a run: .*{key} is missing"):
                read(copied)


def test_a_setting_that_is_unknown_is_an_error(copied):
    data = checkpoint.read_sealed(copied / "config.json")
    data["rule"]["gama"] = 0.9
    checkpoint.write_sealed(copied / "config.json", data)
    with pytest.raises(UserError, match=r"unknown setting 'rule.gama'; did you mean rule\.gamma"):
        runs.load_config(copied)


def test_files_of_before_there_were_digests_are_read(copied):
    wanted = evaluated(copied)
    for name in ("config.json", "summary.json"):
        data = checkpoint.read_sealed(copied / name)
        data.pop("metrics_digest", None)
        checkpoint.write_json(copied / name, data)
    for path in (copied / "checkpoints").iterdir():
        content = members(path)
        tree = json.loads(np.load(io.BytesIO(content["tree.npy"])).tobytes())
        del tree["arrays"], content["seal.npy"]
        tree["format"] = checkpoint.UNSEALED
        content["tree.npy"] = packed(np.frombuffer(json.dumps(tree).encode(), np.uint8))
        with zipfile.ZipFile(path, "w") as archive:
            for key, data in content.items():
                archive.writestr(key, data)
    assert evaluated(copied) == wanted and Facts.read(copied).metrics


def test_a_row_of_metrics_that_was_changed_is_noticed(copied):
    path = copied / "metrics.csv"
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1))
    with pytest.raises(UserError, match="its digest does not fit"):
        monitor.read_metrics(copied)
    (copied / "summary.json").unlink()
    rows = text.splitlines()
    for bad in ([*rows[:3], "1,2"], [*rows[:3], rows[1]], ["", *rows], [rows[0], rows[1].replace(".", ",,", 1)]):
        path.write_text("\n".join(bad) + "\n")
        with pytest.raises(UserError, match=r"metrics\.csv is damaged"):
            monitor.read_metrics(copied)


def test_a_policy_of_before_a_setting_is_what_it_was_then(copied):
    """The default of ``network.critic_path`` has changed since: an older policy has none, whatever it is now."""
    policy = lfcs.load(copied / "policy.npz")
    saved = policy.state_dict()
    del saved["network"]["critic_path"], saved["weights"]["value_path.weight"]
    checkpoint.save(copied / "older.npz", {"policy": saved})
    older = lfcs.load(copied / "older.npz")
    assert not older.network.config.critic_path and older.network.hidden.equal(policy.network.hidden)
    del saved["network"]["tau_m"]
    checkpoint.save(copied / "older.npz", {"policy": saved})
    with pytest.raises(UserError, match=r"setting network\.tau_m is missing"):
        lfcs.load(copied / "older.npz")
