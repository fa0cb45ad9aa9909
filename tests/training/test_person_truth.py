"""Truth of who is where: MOT's files and ours, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import DatasetError
from streamer.training.ground_truth import Segment
from streamer.training.person_truth import has_boxes, read_boxes, read_mot

HEAD = "start,end,label,track,left,top,width,height\n"
TIMES = (0.0, 0.1, 0.2)


def file(folder: Path, text: str) -> Path:
    path = folder / "truth.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        (HEAD, True),
        ("label, track,start,end,left,top, width,height\n", True),
        ("1,1,912,484,97,109,1,1,1\n", True),
        ("1,-1,912.5,484,97,109,0.9,-1,-1,-1\n", True),
        ("start,end,label\n", False),
        ("path,label\n", False),
        ("", False),
    ],
)
def test_which_files_tell_where_people_are(tmp_path: Path, text: str, boxes: bool) -> None:
    assert has_boxes(file(tmp_path, text)) == boxes


def test_rows_of_one_person_that_touch_are_one_action(tmp_path: Path) -> None:
    truth = read_boxes(
        file(
            tmp_path,
            HEAD
            + "0.5,1.0,waving,ann,0.12,0.1,0.1,0.5\n"
            + "0.0,0.5,waving,ann,0.1,0.1,0.1,0.5\n"
            + "1.0,2.0,,ann,0.1,0.1,0.1,0.5\n"
            + "2.0,3.0,waving,ann,0.1,0.1,0.1,0.5\n"
            + "0.0,9.0,,bob,0.6,0.1,0.1,0.5\n",
        )
    )
    assert [(box.start, box.track) for box in truth.boxes] == [
        (0.0, "ann"), (0.0, "bob"), (0.5, "ann"), (1.0, "ann"), (2.0, "ann"),
    ]  # fmt: skip
    assert truth.boxes[0].box == (0.1, 0.1, 0.1, 0.5)
    assert truth.actions == {"ann": (Segment(0.0, 1.0, "waving"), Segment(2.0, 3.0, "waving")), "bob": ()}


def test_mots_rows_are_pixels_of_numbered_frames(tmp_path: Path) -> None:
    truth = read_mot(
        file(
            tmp_path,
            "2,1,64,48,32,96,1,1,1\n1,1,60,48,32,96,1,1,1\n\n"
            "1,2,0,0,10,10,0,1,1\n1,3,0,0,10,10,1,7,1\n3,4,320,240,64,48,1,-1,-1,-1\n",
        ),
        TIMES,
        (480, 640),
    )
    assert [(box.start, box.end, box.track) for box in truth.boxes] == [
        (0.0, 0.1, "1"), (0.1, 0.2, "1"), (0.2, pytest.approx(0.3), "4"),
    ]  # fmt: skip
    assert truth.boxes[1].box == pytest.approx((0.1, 0.1, 0.05, 0.2))
    assert truth.actions is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0,1,waving,,0,0,0.1,0.1", "a row is"),
        ("1,1,waving,a,0,0,0.1,0.1", "a row is"),
        ("0,1,waving,a,0,0,0,0.1", "a row is"),
        ("0,1,waving,a,0,0,64,0.1", "width must be a part"),
        ("0,1,waving,a,nan,0,0.1,0.1", "left must be a part"),
        ("x,1,waving,a,0,0,0.1,0.1", "start must be a number"),
    ],
)
def test_a_wrong_row_is_one_line_with_its_place(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said) as error:
        read_boxes(file(tmp_path, HEAD + row + "\n"))
    assert "line 2" in str(error.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [("4,1,0,0,1,1,1,1,1", "the video has 3"), ("1,a,0,0,1,1", "not a row"), ("1,2,3", "not a row")],
)
def test_a_wrong_row_of_mot(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_mot(file(tmp_path, "1,1,0,0,1,1,1,1,1\n" + row + "\n"), TIMES, (480, 640))
