"""The demonstration goes through all its stages, whatever simulators there are, and leaves one page."""

from __future__ import annotations

import pytest

import lfcs
from lfcs.experiments import literals

pytest.importorskip("nir")
deploy = pytest.importorskip("lfcs.study.deploy")

STAGES = "Trained", "Profiled", "Quantised", "What Xylo says", "Exported", "In other simulators", "When the pole"


def test_every_stage_is_on_the_page(tmp_path, capsys):
    plan = literals("DEPLOY")["deploy_cartpole"]
    page = deploy.deploy(plan | {"bits": [8]}, tmp_path / "out", steps=256, episodes=1).read_text()
    places = [page.index(f"## {stage}") for stage in STAGES]
    assert places == sorted(places)
    assert "Xylo would take it" in page and "REFUSED" not in page
    with pytest.raises(lfcs.UserError, match="holds something already"):
        deploy.deploy(plan, tmp_path / "out")


def test_a_bad_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("")
    plan = literals("DEPLOY")["deploy_cartpole"]
    assert deploy.main(plan, ["--out", str(tmp_path / "out")]) == 1
    assert "holds something already" in capsys.readouterr().err
