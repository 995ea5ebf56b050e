"""Pictures of what is anomalous show it, whole and not too large."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import DataError
from edge_ad.runtime.crops import crop_jpeg
from edge_ad.runtime.events import Where
from edge_ad.runtime.images import import_cv2


def decoded(jpeg: bytes) -> np.ndarray:
    cv2 = import_cv2()
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_box_is_in_the_middle_in_its_colours() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[100:180, 200:300] = (250, 10, 10)
    picture = decoded(crop_jpeg(image, Where(box=(200, 100, 100, 80), peak=(250, 140))))
    assert picture.shape == (120, 150, 3)
    assert picture[60, 75, 0] > 200 and picture[60, 75, 2] < 60 and picture[3, 3].max() < 60


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_every_box_gives_a_picture_inside_of_the_image(height: int, width: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    shape = decoded(crop_jpeg(np.zeros((height, width, 3), np.uint8), Where(box=box), max_px=100)).shape
    assert max(shape[:2]) <= 100
    assert shape[0] >= min(height, 64, box[3]) * min(1, 100 / max(height, width)) * 0.9


def test_without_a_box_it_is_the_whole_image_scaled_down() -> None:
    assert decoded(crop_jpeg(np.zeros((1000, 2000, 3), np.uint8), None)).shape == (320, 640, 3)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(DataError, match="an image"):
        crop_jpeg(np.zeros((4, 4), np.uint8), None)
