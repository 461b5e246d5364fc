"""Pictures show what the arrays say: every tick at its place, silent neurons said, units right."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import lfcs
from lfcs.config import EncoderConfig
from lfcs.envs import make_encoder
from lfcs.errors import UserError
from lfcs.pictures import film, membrane, passes, raster, style, weights

SPIKES = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]], np.float32)  # mean times: 2, 0.5, never, 3


def episode(steps=4, neurons=4, dims=3, **more):
    """Return an episode of noise with given arrays."""
    rng = np.random.default_rng(0)
    out = {
        "observation": rng.normal(size=(steps, dims)),
        "spikes": (rng.random((steps, neurons)) < 0.3).astype(np.float32),
        "membrane": rng.normal(size=(steps, neurons)), "value": rng.normal(size=steps),
        "reward": rng.normal(size=steps), "action": rng.integers(2, size=steps),
    }  # fmt: skip
    return out | more


def drawn(**given):
    figure = style.figure(*raster.SIZE)
    raster.draw_raster(figure, episode(**given))
    return figure


def ticks(axis):
    """Return the (step, row) of every drawn spike."""
    return {tuple(map(int, point)) for line in axis.lines for point in line.get_xydata()}


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_known_labels_keep_their_colour_and_others_take_none_of_theirs():
    known = ["a", "b", "c"]
    some, others = style.colours_of(["mine", "b"], known), style.colours_of(["c", "b", "yours"], known)
    assert some["b"] == others["b"] and some["mine"] not in style.colours_of(known, known).values()
    assert len(set(style.colours_of([str(i) for i in range(16)], known).values())) == 16


def test_colours_can_be_told_apart_without_seeing_red_and_green():
    """Under simulated deuteranopia (Machado et al., 2009, in linear RGB) the first six differ as much as neighbours."""
    matrix = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = [matrix @ np.array(colour) ** 2.2 for colour in style.colours_of("abcdef").values()]
    assert min(np.abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]) > 0.1


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89P")]
)
def test_a_picture_is_what_its_ending_says(tmp_path, ending, start):
    path = style.save(drawn(), tmp_path / "deep" / f"it.{ending}")
    assert path.read_bytes().startswith(start)


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"it.jpg: a picture ends in .png, .svg or .pdf"):
        style.save(drawn(), tmp_path / "it.jpg")
    assert not list(tmp_path.iterdir())


def test_a_missing_matplotlib_is_one_line(monkeypatch):
    monkeypatch.setattr(style.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'lfcs\[plots\]'"):
        style.figure()


def test_neurons_are_sorted_by_their_mean_spike_time_and_silent_ones_come_last():
    order = raster.ordered(SPIKES)
    assert order.neurons.tolist() == [1, 0, 3, 2] and order.firing == 3 and order.by == "mean spike time"


def test_neurons_are_sorted_by_the_action_that_they_speak_for():
    order = raster.ordered(SPIKES, np.array([[0.5, 0.1, 9.0, 0.7], [0.1, 0.3, 0.0, 0.6]]))
    assert order.neurons.tolist() == [3, 0, 1, 2] and order.group.tolist() == [0, 1, 0, 0] and not order.single
    one = raster.ordered(SPIKES, np.array([[0.5, -0.3, 9.0, -0.7]]))
    assert one.neurons.tolist() == [0, 3, 1, 2] and one.single
    with pytest.raises(ValueError, match="are not of 4 neurons"):
        raster.ordered(SPIKES, np.zeros((2, 3)))


def test_every_spike_is_a_tick_in_its_neurons_row():
    axis = drawn(spikes=SPIKES).axes[1]
    rows = {1: 0, 0: 1, 3: 2, 2: 3}  # of the order above
    assert ticks(axis) == {(t, rows[n]) for t, n in zip(*np.nonzero(SPIKES), strict=True)}
    assert texts(axis) == ["1 never spike"] and axis.get_ylim() == (3.5, -0.5)


def test_a_silent_network_is_said():
    assert texts(drawn(spikes=np.zeros((4, 4))).axes[1]) == ["no neuron spikes"]


def test_a_long_episode_is_counted_in_bins():
    steps = 2 * raster.LONG + 1
    spikes = np.zeros((steps, 2), np.float32)
    spikes[:7, 0], spikes[-1, 1] = 1, 1
    axis = drawn(steps=steps, neurons=2, spikes=spikes).axes[1]
    image = np.asarray(axis.images[0].get_array())
    np.testing.assert_allclose(image[0, :3], [1, 2 / 5, 0])  # 5 steps a bin
    assert image[1, -1] == 1 and not image[1, :-1].any() and "bins of 5 steps" in axis.get_title()


def test_all_panels_share_the_axis_of_time():
    figure = drawn(steps=50)
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels == ["observation", "neuron, by mean spike time", "action", "value", "reward"]
    assert {axis.get_xlim() for axis in figure.axes} == {(-0.5, 49.5)}


@pytest.mark.parametrize(("dims", "lines"), [(8, 8), (9, 0)])
def test_many_numbers_are_a_heat_map(dims, lines):
    axis = drawn(dims=dims).axes[0]
    assert (len(axis.lines), len(axis.images)) == (lines, 0 if lines else 1)


def test_observations_of_any_shape_and_actions_of_any_parts_are_drawn():
    more = {"action/0": np.zeros((4, 2), np.float32), "action/speed": np.arange(4)}
    shown = episode(observation=np.zeros((4, 3, 2))) | more
    del shown["action"]
    figure = style.figure()
    raster.draw_raster(figure, shown)
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["0/0", "0/1", "speed"]
    assert len(figure.axes[0].lines) == 6


def test_discrete_actions_of_several_are_ticks_and_not_lines_between_them():
    line = drawn(steps=6, action=np.array([0, 4, 2, 0, 1, 3])).axes[2].lines[0]
    assert line.get_linestyle() == "None" and line.get_ydata().tolist() == [0, 4, 2, 0, 1, 3]


def test_membranes_are_drawn_with_the_threshold_that_they_met():
    shown = episode(steps=100)
    shown["threshold"] = 1 + np.arange(400).reshape(100, 4) / 400
    figure = style.figure(*membrane.SIZE)
    membrane.draw_membrane(figure, shown, neurons=[2, 0])
    for axis, n in zip(figure.axes, (2, 0), strict=True):
        u, threshold, spikes = axis.lines
        at = u.get_xdata()
        assert len(at) == membrane.SPAN and np.array_equal(u.get_ydata(), shown["membrane"][at, n])
        assert np.array_equal(threshold.get_ydata(), shown["threshold"][at, n])
        assert spikes.get_xdata().tolist() == [t for t in at if shown["spikes"][t, n]]


def test_the_stretch_with_most_neurons_spiking_is_chosen():
    spikes = np.zeros((300, 2))
    spikes[10:40, 0] = 1
    spikes[[200, 210], [0, 1]] = 1
    found = membrane.stretch(spikes)
    assert found.start <= 200 and found.stop > 210 and found.stop - found.start == membrane.SPAN
    spikes = np.zeros((9, 6))
    spikes[:, 1], spikes[0, 4], spikes[:3, 5] = 1, 1, 1
    assert membrane.chosen(spikes, 3).tolist() == [4, 5, 1]


BOX = gymnasium.spaces.Box(np.array([-2.0, -np.inf]), np.array([4.0, np.inf]), dtype=np.float64)


def test_the_ranges_of_a_population_code_are_where_its_outer_cells_are_most_active():
    encoder = make_encoder(BOX, EncoderConfig(kind="population", cells=5))
    encoder.observe(np.random.default_rng(0).normal(3.0, 2.0, (4000, 2)))
    low, high = encoder.ranges()
    assert low[0] == -2 and high[0] == 4 and abs(low[1] + 3) < 0.3 and abs(high[1] - 9) < 0.3
    for bound, cell in ((low, 0), (high, 4), ((low + high) / 2, 2)):
        np.testing.assert_allclose(encoder.encode(bound[None]).reshape(2, 5)[:, cell], 1, atol=1e-6)


def test_receptive_fields_are_what_flows_in_as_one_number_changes(tmp_path):
    quick = {"network.neurons": 8, "train.final_episodes": 1}
    policy = lfcs.train("CartPole-v1", steps=300, tuned=False, settings=quick, run_dir=tmp_path / "it").policy
    fields = weights.fields_of(policy)
    assert [field.number for field in fields] == [0, 1, 2, 3]
    w = policy.network.input.weight.detach().numpy()
    middle = np.add(*policy.encoder.ranges()) / 2
    for field in fields:
        rows = np.tile(middle, (len(field.values), 1))
        rows[:, field.number] = field.values
        whole = w @ policy.encoder.encode(rows).T
        np.testing.assert_allclose(np.diff(field.current), np.diff(whole), atol=1e-5)
        assert np.ptp(field.current) > 0
    figure = style.figure(*weights.FIELDS)
    weights.draw_fields(figure, fields)
    assert [axis.get_title() for axis in figure.axes[:4]] == [f"observation {i}" for i in range(4)]


def test_without_cells_there_are_no_receptive_fields(tmp_path):
    settings = {"network.neurons": 8, "train.final_episodes": 1, "encoder.kind": "standardised"}
    policy = lfcs.train("Pendulum-v1", steps=300, tuned=False, settings=settings, run_dir=tmp_path / "it").policy
    assert weights.fields_of(policy) == []
    with pytest.raises(ValueError, match="no receptive fields"):
        weights.draw_fields(style.figure(), [])
    assert weights.weights_of(policy)["policy"].shape == (2, 8)  # mean and deviation
    assert np.array_equal(weights.action_weights(policy), weights.weights_of(policy)["policy"][:1])


def drawn_passes(reference, acting, ratios):
    figure = style.figure(*passes.SIZE)
    gone = [passes.Gone(100, 104, np.array(reference), np.array(acting), True)]
    passes.draw_passes(figure, gone, [np.array(one) for one in ratios], np.zeros(len(ratios)), (0.8, 1.2))
    figure.canvas.draw()
    return figure.axes[0]


def test_an_infinite_divergence_is_a_triangle_at_the_edge():
    """A ratio of 0 in single precision: on BipedalWalker one window of ten has one."""
    axis = drawn_passes([0.1, np.inf], [0.2, 0.4], [[1.0, 0.0], [np.inf, 1.1]])
    assert axis.get_ylim() == (0.0, pytest.approx(1.45 * 0.4))
    triangles = [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == "^"]
    assert triangles == [[[104, pytest.approx(0.58)]], []]


def test_passes_are_drawn_where_nothing_is_finite():
    axis = drawn_passes([np.inf, np.inf], [np.inf, np.inf], [[np.inf, np.inf], [np.inf, np.inf]])
    assert axis.get_ylim() == (0.0, 1.0)
    assert [len(line.get_xydata()) for line in axis.lines if line.get_marker() == "^"] == [2, 2]


def test_histograms_leave_out_the_diagonal_that_is_zero():
    figure = style.figure(*weights.SIZE)
    weights.draw_weights(figure, {"input": np.ones((3, 2)), "recurrent": np.ones((3, 3)) - np.eye(3)})
    counts = [sum(bar.get_height() for bar in axis.patches) for axis in figure.axes]
    assert counts == [6, 6] and figure.axes[1].get_title() == "recurrent\n1 ± 0"


def test_spikes_scroll_with_the_newest_at_the_right():
    spikes = np.zeros((300, 4))
    spikes[150, 1], spikes[:, 0] = 1, 0
    scroller = film.Scroller(spikes, 320)
    rows, columns = scroller.box

    def ink(step):
        """Return the share of the width at which the spike is seen, None where it is not."""
        where = np.flatnonzero((scroller.at(step) != scroller.paper)[rows, columns].any(axis=(0, 2)))
        return where.mean() / (columns.stop - columns.start) if len(where) else None

    assert ink(149) is None and ink(150) > 0.98 and abs(ink(200) - 0.5) < 0.02 and ink(249) < 0.02 and ink(250) is None
    assert scroller.at(0).shape == (320, 320, 3)
    spikes[5, 1] = 1
    assert film.Scroller(spikes, 320).at(5)[rows, columns][:, -1].min() == 0  # at the right from the first steps on


def test_no_spike_is_lost_where_neurons_are_more_than_pixels():
    spikes = np.zeros((3, 3000))
    spikes[0, 1234] = spikes[1, :] = 1
    scroller = film.Scroller(spikes, 320)
    assert (scroller.at(0) != scroller.paper).any()


def test_frames_are_made_large_even_and_told():
    frames = [np.zeros((111, 201, 3), np.uint8)] * 3
    found = list(film.frames_of(frames, np.array([1.0, 0.5]), "episode 0", np.ones((2, 5))))
    assert len(found) == 3 and found[0].shape == (333 + film.LINE, 603 + 333, 3)
    assert film.even(found[0]).shape == (358, 936, 3)
    plain = list(film.frames_of(frames, np.array([1.0, 0.5]), "episode 0", None))
    assert plain[0].shape == (333 + film.LINE, 603, 3) and not np.array_equal(plain[1], plain[2])  # the return
