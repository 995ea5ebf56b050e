import hashlib
import json

import numpy as np
import pytest
import torch

from edge_ad.detectors.efficientad import make_teacher
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.episodes import CROP_PX, Counts, draw_episode
from edge_ad.detectors.efficientad.teacher import load_parts

COUNTS = Counts(support=4, normal=2, defective=3)


def test_an_episode_holds_what_was_asked_and_repeats_by_seed():
    episode = draw_episode(11, COUNTS)
    assert episode.crops.shape == (9, CROP_PX, CROP_PX, 3) and episode.crops.dtype == np.float32
    assert episode.masks.shape == (3, CROP_PX, CROP_PX) and episode.masks.any((1, 2)).all()
    assert episode.crops.min() >= 0 and episode.crops.max() <= 1
    assert np.array_equal(episode.crops, draw_episode(11, COUNTS).crops)
    assert not np.array_equal(episode.crops, draw_episode(12, COUNTS).crops)


def test_the_ranking_loss_is_at_chance_for_equal_scores_and_falls_when_defects_score_higher():
    affected = torch.ones(3, 50, dtype=torch.bool)
    even, auroc = make_teacher._ranking_loss(torch.zeros(2, 50), torch.zeros(3, 50), affected)
    assert float(even) == pytest.approx(1.5 * np.log(2)) and auroc == 0
    better, auroc = make_teacher._ranking_loss(torch.zeros(2, 50), torch.ones(3, 50), affected)
    assert float(better) < 0.1 * float(even) and auroc == 1


def test_only_affected_positions_of_a_defective_crop_count():
    affected = torch.zeros(1, 50, dtype=torch.bool)
    affected[0, :3] = True
    scores = torch.full((1, 50), 9.0)
    scores[0, :3] = -1.0
    assert make_teacher._ranking_loss(torch.zeros(2, 50), scores, affected)[1] == 0


def test_a_training_repeats_and_its_file_loads_as_the_teacher_it_was(tmp_path):
    torch.set_num_threads(1)
    parts, log = make_teacher.train("micro", 3, 5, log_every=2)
    again, _ = make_teacher.train("micro", 3, 5, log_every=2)
    for a, b in zip(parts.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [entry["step"] for entry in log] == [2, 3]
    config, path = PRESETS["micro"], tmp_path / "t.safetensors"
    make_teacher.write(parts, path, {"seed": 5})
    card = json.loads(path.with_suffix(".json").read_bytes())
    assert card == {"seed": 5, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    for part, loaded in zip(parts, load_parts(path, config.widths, config.channels), strict=True):
        torch.testing.assert_close(loaded.conv4.weight, part.conv4.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_short_training_ranks_defects_better_on_tasks_it_has_not_seen():
    torch.set_num_threads(1)
    parts, _ = make_teacher.train("micro", 300, 0)
    before, after = make_teacher.evaluate(make_teacher.untrained("micro")), make_teacher.evaluate(parts)
    assert after["loss"] < 0.95 * before["loss"] and after["auroc"] > before["auroc"]
